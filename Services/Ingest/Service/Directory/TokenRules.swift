import Foundation
import Messages
import RPC
import ServiceKit

/// What a token may be, and how one is made.
enum TokenRules {
  /// Scopes that reach beyond one app. Those of the tracking plan do not: a token that keeps the events of one app, in a
  /// pipeline for instance, must not be able to touch another, and `admin` cannot be bound to an app.
  private static let wideScopes: Set<String> = [Scope.admin, Scope.eventsRead]

  /// - Throws: INVALID_ARGUMENT that names the field.
  static func check(_ request: ProtoCreateTokenRequest, now: Int64) throws(RPCError) {
    guard !request.scopes.isEmpty else {
      throw IngestErrors.invalid("scopes", "at least one of \(Scope.all.joined(separator: " "))")
    }
    guard request.scopes.count <= Limits.scopesMax else {
      throw IngestErrors.invalid(
        "scopes", "at most \(Limits.scopesMax); got \(request.scopes.count)")
    }
    for scope in request.scopes {
      guard Scope.all.contains(scope) else {
        throw IngestErrors.invalid(
          "scopes", "\"\(scope.prefix(64))\" is none of \(Scope.all.joined(separator: " "))")
      }
      guard request.appID.isEmpty || !wideScopes.contains(scope) else {
        throw IngestErrors.invalid(
          "scopes", "\"\(scope)\" speaks for all apps: a token with it has no app_id")
      }
    }
    try AppRules.checkLength("label", request.label)
    try check(request.limits)
    guard request.expiresMs == 0 || request.expiresMs > now else {
      throw IngestErrors.invalid(
        "expires_ms", "0 or later than now (\(now)); got \(request.expiresMs)")
    }
  }

  /// - Throws: INVALID_ARGUMENT that names the field.
  static func check(_ limits: ProtoKeyLimits) throws(RPCError) {
    for (field, value, most) in [
      ("limits.events_per_second", limits.eventsPerSecond, Limits.keyEventsPerSecondMax),
      ("limits.bytes_per_second", limits.bytesPerSecond, Limits.keyBytesPerSecondMax),
    ] where value > most {
      throw IngestErrors.invalid(field, "at most \(most), 0 for no limit; got \(value)")
    }
  }

  /// A new token and its secret.
  static func make(
    appID: String, scopes: [String], label: String, created: Int64, expires: Int64,
    limits: ProtoKeyLimits = ProtoKeyLimits()
  ) -> (record: ProtoTokenRecord, secret: String) {
    let secret = TokenSecret.generate()
    var record = ProtoTokenRecord()
    record.token.tokenID = secret.tokenID
    record.token.appID = appID
    record.token.scopes = scopes.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    record.token.label = label
    record.token.createdMs = created
    record.token.expiresMs = expires
    if limits != ProtoKeyLimits() { record.token.limits = limits }
    record.secretHash = Data(secret.hash)
    return (record, secret.text)
  }
}
