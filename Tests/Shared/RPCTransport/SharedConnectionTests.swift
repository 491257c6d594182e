import HTTP2
import Logging
import RPC
import RPCTransport
import Testing

/// Whoever's name is the `authorization` field may call; an epoch lets connections remember that.
private final class NameAuthorizer: Authorizer {
  let epoch: AuthorizationEpoch? = AuthorizationEpoch()
  private let callers = ["alice-0123456789", "bob-0123456789ab"].map {
    Principal(tokenID: $0, appID: $0, scopes: ["admin"])
  }

  func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal {
    let name = authorization.map { String(decoding: $0, as: UTF8.self) }
    guard let caller = callers.first(where: { $0.tokenID == name }), name != "bob-0123456789ab" || method.method != "Other"
    else { throw RPCError(.unauthenticated, "nobody") }
    return caller
  }
}

/// Answers who called what, with which metadata and whether there is a deadline.
private struct WhoService: ServiceHandlers {
  static let serviceName = "who.Who"

  var methodHandlers: [MethodHandler] {
    ["Who", "Other"].map { name in
      let method = MethodDescriptor(
        service: Self.serviceName, method: name, kind: .unary, access: .scope("x"))
      return MethodHandler(
        method,
        .loop { call in
          let context = call.context
          let seen = context.metadata["x-seen"] ?? "-"
          let hasDeadline = context.deadline == nil ? "no" : "yes"
          call.reply(Array("\(name) \(call.principal.tokenID) \(seen) \(hasDeadline)".utf8))
        })
    }
  }
}

/// What a connection knows of one call's fields must never be taken for another's.
@Suite(.serialized) struct SharedConnectionTests {
  @Test func `calls of one connection are each their own caller's, whatever came before`() async throws {
    // Those who are refused must not cost the connection.
    var limits = ServerLimits()
    limits.http2.nuisancesBurst = 100_000
    let server = RPCServer(
      configuration: ServerConfiguration(port: 0, limits: limits), services: [WhoService()],
      authorizer: NameAuthorizer(), logger: Logger(label: "test"))
    let port = try await server.start()
    let client = try RawClient(port: port)
    var generator = SystemRandomNumberGenerator()
    var (refused, answered) = (0, 0)
    // Mostly the same call again, so that its fields are known, then another one.
    var (name, caller, seen, timeout) = ("Who", "alice-0123456789", "one", "10S")
    for _ in 0..<2_000 {
      switch Int.random(in: 0..<20, using: &generator) {
      case 0: name = name == "Who" ? "Other" : "Who"
      case 1: caller = caller.hasPrefix("alice") ? "bob-0123456789ab" : "alice-0123456789"
      case 2: seen = seen == "one" ? "two" : "one"
      case 3: timeout = timeout.isEmpty ? "10S" : ""
      case 4: caller = "mallory-01234567"
      case 5: (name, caller, seen, timeout) = ("Who", "alice-0123456789", "one", "10S")
      default: break
      }
      let more =
        [HeaderField("authorization", caller), HeaderField("x-seen", seen)]
        + (timeout.isEmpty ? [] : [HeaderField("grpc-timeout", timeout)])
      let answer = try client.call("/who.Who/\(name)", more, body: RawClient.framed([1]))
      if caller.hasPrefix("mallory") || caller.hasPrefix("bob") && name == "Other" {
        refused += 1
        #expect(answer.status == StatusCode.unauthenticated.rawValue)
      } else {
        answered += 1
        let wanted = "\(name) \(caller) \(seen) \(timeout.isEmpty ? "no" : "yes")"
        #expect(answer.status == 0 && String(decoding: answer.message, as: UTF8.self) == wanted)
      }
    }
    #expect(answered > 500 && refused > 20)
    withExtendedLifetime(client) {}
    await server.shutdown(graceMilliseconds: 0)
  }
}
