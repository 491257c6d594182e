import Messages
import RPC
import ServiceKit
import SwiftProtobuf
import Testing

@Suite("Health")
struct HealthTests {
  typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

  private static func client(_ peer: ServerForTest) -> Grpc_Health_V1_HealthClient {
    Grpc_Health_V1_HealthClient(peer.channel)
  }

  private static func status(
    _ client: Grpc_Health_V1_HealthClient, _ service: String
  ) async throws -> Status {
    try await client.check(
      .with { $0.service = service }, options: CallOptions(timeoutMilliseconds: 60_000)
    ).status
  }

  @Test("The process answers where all its services do")
  func check() async throws {
    let board = HealthBoard()
    board.set("a", serving: true)
    board.set("b", serving: false)
    try await ServerForTest.with([HealthService(board: board)]) { peer in
      let client = Self.client(peer)
      #expect(try await Self.status(client, "a") == .serving)
      #expect(try await Self.status(client, "b") == .notServing)
      #expect(try await Self.status(client, "") == .notServing)
      board.set("b", serving: true)
      #expect(try await Self.status(client, "") == .serving)
      let all = try await client.list(
        Grpc_Health_V1_HealthListRequest(), options: CallOptions(timeoutMilliseconds: 60_000))
      #expect(Set(all.statuses.keys) == ["", "a", "b"])
      board.setApart("b", serving: false)
      #expect(try await Self.status(client, "b") == .notServing)
      #expect(try await Self.status(client, "") == .serving)
    }
  }

  @Test("An unknown service is NOT_FOUND")
  func unknown() async throws {
    try await ServerForTest.with([HealthService(board: HealthBoard())]) { peer in
      let error = await #expect(throws: RPCError.self) {
        try await Self.status(Self.client(peer), "nobody")
      }
      #expect(error?.code == .notFound)
    }
  }

  @Test("Watch tells the state, each change, and ends when the process drains")
  func watch() async throws {
    let board = HealthBoard()
    try await ServerForTest.with([HealthService(board: board)]) { peer in
      let stream = try await Self.client(peer).watch(.with { $0.service = "late" })
      var responses = stream.makeAsyncIterator()
      #expect(try await responses.next()?.status == .serviceUnknown)
      board.set("late", serving: true)
      #expect(try await responses.next()?.status == .serving)
      board.set("late", serving: false)
      #expect(try await responses.next()?.status == .notServing)
      board.set("late", serving: true)
      #expect(try await responses.next()?.status == .serving)
      board.drain()
      #expect(try await responses.next()?.status == .notServing)
      #expect(try await responses.next() == nil)
      #expect(!board.isServing)
    }
  }
}
