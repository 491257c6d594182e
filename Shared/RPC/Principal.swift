/// Who makes a call, as its token says.
package final class Principal: Sendable {
  /// For logs: never the secret.
  package let tokenID: String
  /// The one app that it may speak for; nil: any, which each request then names.
  package let appID: String?
  package let scopes: Set<String>
  /// The same, for a search from front to back: comparing the few short names that a token has takes less than hashing one.
  private let names: [String]
  /// Which counter of `Admission` counts the app's calls; nil: it speaks for no app, and no share holds it.
  let admissionSlot: Int?

  package init(tokenID: String, appID: String?, scopes: Set<String>) {
    admissionSlot = appID.map { app in
      // FNV-1a: the same in every process, unlike `Hasher`, so that what a test finds is found again.
      let hash = app.utf8.reduce(0xCBF2_9CE4_8422_2325) { (hash: UInt64, byte) in
        (hash ^ UInt64(byte)) &* 0x100_0000_01B3
      }
      return Int(hash >> 32) % Admission.appSlots
    }
    self.tokenID = tokenID
    self.appID = appID
    self.scopes = scopes
    names = Array(scopes)
  }

  /// `admin` holds every scope.
  package func holds(_ scope: String) -> Bool { names.contains(scope) || names.contains("admin") }
}

/// Decides who a caller is and whether it may call a method.
package protocol Authorizer: AnyObject, Sendable {
  /// Runs on the event loop before the handler: it must not block, and should answer from a cache.
  ///
  /// - Parameters:
  ///   - authorization: the bytes of the `authorization` header, nil where there is none. Valid during the call only.
  /// - Throws: UNAUTHENTICATED (missing, malformed, unknown, expired or revoked token), PERMISSION_DENIED (lacks the scope).
  func authorize(_ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?) throws(RPCError)
    -> Principal
}

/// Lets everybody call everything; for tests of the transport.
package final class OpenAuthorizer: Authorizer {
  package let principal = Principal(tokenID: "open", appID: nil, scopes: ["admin"])
  package init() {}
  package func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal { principal }
}
