package import Messages
package import RPC

/// The calls over quarantine.
package final class QuarantineService: QuarantineHandlers {
  private let core: IngestCore

  package init(core: IngestCore) { self.core = core }

  package func listQuarantined(
    _ request: ProtoListQuarantinedRequest, context: CallContext
  ) async throws -> ProtoListQuarantinedResponse {
    try await core.listQuarantined(request, principal: context.principal)
  }

  package func countQuarantined(
    _ request: ProtoCountQuarantinedRequest, context: CallContext
  ) async throws -> ProtoCountQuarantinedResponse {
    try await core.countQuarantined(request, principal: context.principal)
  }

  package func getQuarantined(
    _ request: ProtoGetQuarantinedRequest, context: CallContext
  ) async throws -> ProtoQuarantinedEvent {
    try await core.getQuarantined(request, principal: context.principal)
  }

  package func replayQuarantined(
    _ request: ProtoReplayQuarantinedRequest, context: CallContext
  ) async throws -> ProtoReplayQuarantinedResponse {
    try await core.replayQuarantined(request, principal: context.principal)
  }

  package func discardQuarantined(
    _ request: ProtoDiscardQuarantinedRequest, context: CallContext
  ) async throws -> ProtoDiscardQuarantinedResponse {
    try await core.discardQuarantined(request, principal: context.principal)
  }
}
