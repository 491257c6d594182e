internal import Synchronization

/// Who makes a call, as its token says.
package final class Principal: Sendable {
  /// For logs: never the secret.
  package let tokenID: String
  /// The one app that it may speak for; nil: any, which each request then names.
  package let appID: String?
  package let scopes: Set<String>
  /// The same, for a search from front to back: comparing the few short names that a token has takes less than hashing one.
  private let names: [String]
  /// Its token has no end: who was let through with it once is, until the authorizer's `epoch` changes.
  let isLasting: Bool
  /// Which counter of `Admission` counts the app's calls; nil: it speaks for no app, and no share holds it.
  let admissionSlot: Int?

  package init(tokenID: String, appID: String?, scopes: Set<String>, isLasting: Bool = true) {
    self.isLasting = isLasting
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

  /// The app that a request speaks for: the tenant comes from the token only.
  ///
  /// - Throws: PERMISSION_DENIED where the request names another app than the token's; INVALID_ARGUMENT where the token
  ///   speaks for any app and the request names none.
  package func appID(requested: String) throws(RPCError) -> String {
    guard let own = appID else {
      if requested.isEmpty {
        throw RPCError(.invalidArgument, "app_id: required, because the token speaks for any app")
      }
      return requested
    }
    if requested.isEmpty || requested == own { return own }
    throw RPCError(.permissionDenied, "app_id: the token does not speak for \"\(requested)\"")
  }
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

  /// Until it changes, a connection does not ask again for the same header and method. nil: it asks for every call.
  var epoch: AuthorizationEpoch? { get }
}

extension Authorizer {
  package var epoch: AuthorizationEpoch? { nil }
}

/// Begins anew whenever an answer that an authorizer has given may not be given again.
package final class AuthorizationEpoch: Sendable {
  private let number = Atomic<Int>(0)

  package init() {}

  @inline(__always)
  var value: Int { number.load(ordering: .acquiring) }

  /// To be called once the new answers are given.
  package func advance() { number.wrappingAdd(1, ordering: .releasing) }
}

/// Lets everybody call everything; for tests of the transport.
package final class OpenAuthorizer: Authorizer {
  package let principal = Principal(tokenID: "open", appID: nil, scopes: ["admin"])
  package let epoch: AuthorizationEpoch? = AuthorizationEpoch()
  package init() {}
  package func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal { principal }
}
