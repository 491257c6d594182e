package import Messages
package import RPC

/// The calls about consent and privacy rules.
package final class PrivacyService: PrivacyHandlers {
  private let core: IngestCore
  /// ms since 1970.
  private let now: @Sendable () -> Int64

  package init(core: IngestCore, now: @escaping @Sendable () -> Int64) {
    self.core = core
    self.now = now
  }

  package func setConsent(
    _ request: ProtoSetConsentRequest, context: CallContext
  ) async throws -> ProtoConsent {
    try await core.setConsent(
      request, appID: context.appID(requested: request.appID), by: context.principal.tokenID,
      now: now())
  }

  package func getConsent(
    _ request: ProtoGetConsentRequest, context: CallContext
  ) async throws -> ProtoGetConsentResponse {
    let app = try core.entry(try context.appID(requested: request.appID))
    return try await core.privacy.consent(request.openID, app: app)
  }

  package func setPrivacyRules(
    _ request: ProtoSetPrivacyRulesRequest, context: CallContext
  ) async throws -> ProtoPrivacyRules {
    try await core.setPrivacyRules(
      request.rules, appID: context.appID(requested: request.rules.appID),
      by: context.principal.tokenID, now: now())
  }

  package func getPrivacyRules(
    _ request: ProtoGetPrivacyRulesRequest, context: CallContext
  ) async throws -> ProtoPrivacyRules {
    let app = try core.entry(try context.appID(requested: request.appID))
    return try await core.privacy.rules(of: app)
  }
}
