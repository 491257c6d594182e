import Foundation
import Messages
import RPC
import ServiceKit
import SwiftProtobuf
import Synchronization
import Testing

/// Two methods of two scopes, which answer whose token it was and how often they were called.
private struct NamingService: ServiceHandlers {
  static let serviceName = "test.Naming"
  static let read = MethodDescriptor(service: serviceName, method: "Read", kind: .unary, access: .scope("query:read"))
  static let live = MethodDescriptor(service: serviceName, method: "Live", kind: .unary, access: .scope("live:read"))

  var methodHandlers: [MethodHandler] { [Self.handler(Self.read), Self.handler(Self.live)] }

  private static func handler(_ method: MethodDescriptor) -> MethodHandler {
    .eventLoop(method) { (request: ProtoGetProfileRequest, call: LoopCall) -> ProtoProfile in
      if request.openID == "with trailers" { call.context.response.addTrailing("x-seen", "yes") }
      if request.openID == "failure" { throw RPCError(.notFound, "nobody") }
      return .with { $0.openID = call.principal.tokenID }
    }
  }
}

/// A connection remembers whose token it saw last: that must never outlive what the token may do.
@Suite("Tokens of a connection")
struct TokenOfConnectionTests {
  private static func record(
    _ secret: TokenSecret, scopes: [String] = ["query:read"], expires: Int64 = 0, revoked: Int64 = 0
  ) -> ProtoTokenRecord {
    .with {
      $0.token.tokenID = secret.tokenID
      $0.token.appID = "shop"
      $0.token.scopes = scopes
      $0.token.expiresMs = expires
      $0.token.revokedMs = revoked
      $0.secretHash = Data(secret.hash)
    }
  }

  private static func with(
    _ table: TokenTable, _ secret: TokenSecret, _ body: (ServerForTest) async throws -> Void
  ) async throws {
    try await ServerForTest.with([NamingService()], authorizer: table, token: secret.text, body)
  }

  private static func caller(
    _ server: ServerForTest, _ method: MethodDescriptor = NamingService.read, _ text: String = "",
    received: ReceivedMetadata? = nil
  ) async throws -> String {
    let answer: ProtoProfile = try await server.channel.call(
      method, ProtoGetProfileRequest.with { $0.openID = text }, options: CallOptions(timeoutMilliseconds: 10_000, received: received))
    return answer.openID
  }

  private static func refusal(
    _ server: ServerForTest, _ method: MethodDescriptor = NamingService.read
  ) async -> StatusCode? {
    do {
      _ = try await caller(server, method)
      return nil
    } catch {
      return (error as? RPCError)?.code
    }
  }

  @Test("A token that is revoked is refused on the connection that has used it")
  func revoked() async throws {
    let (table, secret) = (TokenTable(), TokenSecret.generate())
    table.apply(Self.record(secret))
    try await Self.with(table, secret) { server in
      for _ in 0..<3 {
        let caller = try await Self.caller(server)
        #expect(caller == secret.tokenID)
      }
      table.apply(Self.record(secret, revoked: 1))
      let refusals = [await Self.refusal(server), await Self.refusal(server)]
      #expect(refusals == [.unauthenticated, .unauthenticated])
      table.apply(Self.record(secret))
      let again = try await Self.caller(server)
      #expect(again == secret.tokenID)
    }
  }

  @Test("A scope that is taken away, or was never there, is missed on the same connection")
  func scopes() async throws {
    let (table, secret) = (TokenTable(), TokenSecret.generate())
    table.apply(Self.record(secret))
    try await Self.with(table, secret) { server in
      for _ in 0..<2 {
        let seen = [await Self.refusal(server), await Self.refusal(server, NamingService.live)]
        #expect(seen == [nil, .permissionDenied])
      }
      table.apply(Self.record(secret, scopes: ["live:read"]))
      let seen = [await Self.refusal(server), await Self.refusal(server, NamingService.live)]
      #expect(seen == [.permissionDenied, nil])
    }
  }

  @Test("A token with an end is looked at for every call")
  func expired() async throws {
    let now = Mutex<Int64>(1_000)
    let secret = TokenSecret.generate()
    let table = TokenTable(now: { now.withLock { $0 } })
    table.apply(Self.record(secret, expires: 2_000))
    try await Self.with(table, secret) { server in
      let before = [await Self.refusal(server), await Self.refusal(server)]
      #expect(before == [nil, nil])
      now.withLock { $0 = 2_000 }
      let after = await Self.refusal(server)
      #expect(after == .unauthenticated)
    }
  }

  @Test("A handler on the loop fails, and adds to its answer, by the context that it asked for")
  func context() async throws {
    let (table, secret) = (TokenTable(), TokenSecret.generate())
    table.apply(Self.record(secret))
    try await Self.with(table, secret) { server in
      let received = ReceivedMetadata()
      let named = try await Self.caller(server, NamingService.read, "with trailers", received: received)
      #expect(named == secret.tokenID)
      #expect(received.trailing?["x-seen"] == "yes")
      await #expect(throws: RPCError.self) { try await Self.caller(server, NamingService.read, "failure") }
    }
  }
}
