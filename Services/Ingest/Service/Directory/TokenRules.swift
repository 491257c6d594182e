import Crypto
import Foundation
import Messages
import RPC

/// What a token may be, and how one is made.
enum TokenRules {
  /// Every scope that a method asks for, and `ingest:import`, which a part of one does.
  static let scopes = [
    "ingest:write", "ingest:import", "profile:read", "profile:write", "profile:erase", "query:read",
    "live:read", "events:read", "admin",
  ]
  /// Scopes that reach beyond one app.
  private static let wideScopes: Set<String> = ["admin", "events:read"]

  /// - Throws: INVALID_ARGUMENT that names the field.
  static func check(_ request: ProtoCreateTokenRequest, now: Int64) throws(RPCError) {
    guard !request.scopes.isEmpty else {
      throw IngestErrors.invalid("scopes", "at least one of \(scopes.joined(separator: " "))")
    }
    guard request.scopes.count <= Limits.scopesMax else {
      throw IngestErrors.invalid(
        "scopes", "at most \(Limits.scopesMax); got \(request.scopes.count)")
    }
    for scope in request.scopes {
      guard scopes.contains(scope) else {
        throw IngestErrors.invalid(
          "scopes", "\"\(scope.prefix(64))\" is none of \(scopes.joined(separator: " "))")
      }
      guard request.appID.isEmpty || !wideScopes.contains(scope) else {
        throw IngestErrors.invalid(
          "scopes", "\"\(scope)\" speaks for all apps: a token with it has no app_id")
      }
    }
    try AppRules.checkLength("label", request.label)
    guard request.expiresMs == 0 || request.expiresMs > now else {
      throw IngestErrors.invalid(
        "expires_ms", "0 or later than now (\(now)); got \(request.expiresMs)")
    }
  }

  /// A new token and its secret.
  static func make(
    appID: String, scopes: [String], label: String, created: Int64, expires: Int64
  ) -> (record: ProtoTokenRecord, secret: String) {
    var generator = SystemRandomNumberGenerator()
    let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789")
    let id = String((0..<12).map { _ in letters[Int.random(in: 0..<36, using: &generator)] })
    let random = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    let encoded = Data(random).base64EncodedString()
      .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
      .replacingOccurrences(of: "=", with: "")
    let secret = "ff_\(id)_\(encoded)"
    var record = ProtoTokenRecord()
    record.token.tokenID = id
    record.token.appID = appID
    record.token.scopes = scopes.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    record.token.label = label
    record.token.createdMs = created
    record.token.expiresMs = expires
    record.secretHash = Data(SHA256.hash(data: Data(secret.utf8)))
    return (record, secret)
  }
}
