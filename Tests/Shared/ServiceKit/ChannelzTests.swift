import Messages
import RPC
import RPCTransport
import ServiceKit
import SwiftProtobuf
import Testing

@Suite("Channelz")
struct ChannelzTests {
  private typealias Client = Grpc_Channelz_V1_ChannelzClient

  /// Gives every call a minute: the whole suite may be busy beside it.
  private struct Patient: ClientTransport {
    let channel: Channel

    func unary(
      _ method: MethodDescriptor, _ request: [UInt8], options: CallOptions
    ) async throws -> [UInt8] {
      var options = options
      options.timeoutMilliseconds = 60_000
      return try await channel.unary(method, request, options: options)
    }

    func open(
      _ method: MethodDescriptor, options: CallOptions
    ) async throws -> any ClientStream {
      try await channel.open(method, options: options)
    }
  }

  /// A server with channelz and health, and a client of it.
  private func withServer(_ body: (Client, Channel) async throws -> Void) async throws {
    try await ServerForTest.with([ChannelzService(), HealthService(board: HealthBoard())]) {
      try await body(Client(Patient(channel: $0.channel)), $0.channel)
    }
  }

  /// The server that `channel` calls, found among all of this process by its socket.
  private func server(
    _ client: Client, _ channel: Channel
  ) async throws -> Grpc_Channelz_V1_Server {
    let mine = try #require(await channel.subchannels.first?.connection)
    var start: Int64 = 0
    while true {
      let page = try await client.getServers(
        .with {
          $0.startServerID = start
          $0.maxResults = 2
        })
      #expect(page.server.count <= 2)
      for server in page.server {
        // Another test's server may be gone by now.
        guard
          let sockets = try? await client.getServerSockets(
            .with { $0.serverID = server.ref.serverID })
        else { continue }
        for ref in sockets.socketRef {
          guard let socket = try? await client.getSocket(.with { $0.socketID = ref.socketID }).socket
          else { continue }
          if Int(socket.remote.tcpipAddress.port) == port(mine.local) { return server }
        }
      }
      let last = try #require(page.server.last)
      start = last.ref.serverID + 1
      if page.end { break }
    }
    throw RPCError(.notFound, "the test's own server is not among them")
  }

  private func port(_ address: String) -> Int? {
    address.split(separator: ":").last.flatMap { Int($0) }
  }

  @Test("A server and its socket show what this client did")
  func sockets() async throws {
    try await withServer { client, channel in
      let health = Grpc_Health_V1_HealthClient(Patient(channel: channel))
      for _ in 0..<3 { _ = try await health.check(.init()) }
      _ = try? await health.check(.with { $0.service = "unknown" })
      let id = try await server(client, channel).ref.serverID
      let before = try await client.getServer(.with { $0.serverID = id }).server.data
      _ = try await health.check(.init())
      let after = try await client.getServer(.with { $0.serverID = id }).server.data
      #expect(after.callsStarted == before.callsStarted + 2)
      #expect(after.callsSucceeded == before.callsSucceeded + 2)
      #expect(after.callsFailed >= 1 && after.callsFailed == before.callsFailed)
      #expect(after.lastCallStartedTimestamp.seconds > 1_600_000_000)

      let sockets = try await client.getServerSockets(.with { $0.serverID = id })
      #expect(sockets.end && sockets.socketRef.count == 1)
      let socket = try await client.getSocket(
        .with { $0.socketID = sockets.socketRef[0].socketID }
      ).socket
      #expect(socket.data.streamsStarted == after.callsStarted + 2)
      #expect(socket.data.messagesReceived == socket.data.streamsStarted)
      #expect(socket.data.messagesSent < socket.data.messagesReceived)
      #expect(socket.data.remoteFlowControlWindow.value > 0)
      #expect(Array(socket.local.tcpipAddress.ipAddress) == [127, 0, 0, 1])
      let mine = try #require(await channel.subchannels.first?.connection)
      #expect(Int(socket.remote.tcpipAddress.port) == port(mine.local))
      #expect(Int(socket.local.tcpipAddress.port) == port(mine.peer))
    }
  }

  @Test("A channel shows its target, its calls and its one subchannel with its socket")
  func channels() async throws {
    try await withServer { client, channel in
      _ = try await client.getServers(.init())
      let found = try await client.getTopChannels(
        .with {
          $0.startChannelID = Int64(channel.id)
          $0.maxResults = 1
        })
      let shown = try #require(found.channel.first)
      #expect(shown.ref.channelID == Int64(channel.id))
      #expect(shown.data.target == channel.target)
      #expect(shown.data.state.state == .ready)
      #expect(shown.data.callsStarted == 2 && shown.data.callsSucceeded == 1)
      #expect(
        try await client.getChannel(.with { $0.channelID = shown.ref.channelID }).channel.ref
          == shown.ref)
      let subchannel = try await client.getSubchannel(
        .with { $0.subchannelID = shown.subchannelRef[0].subchannelID }
      ).subchannel
      let socket = try await client.getSocket(
        .with { $0.socketID = subchannel.socketRef[0].socketID }
      ).socket
      let mine = try #require(await channel.subchannels.first?.connection)
      #expect(Int(socket.local.tcpipAddress.port) == port(mine.local))
      #expect(socket.data.lastLocalStreamCreatedTimestamp.seconds > 1_600_000_000)
    }
  }

  @Test("What does not exist is NOT_FOUND, what makes no sense INVALID_ARGUMENT")
  func refused() async throws {
    func code(_ body: () async throws -> Void) async -> StatusCode? {
      do {
        try await body()
        return nil
      } catch {
        return (error as? RPCError)?.code
      }
    }
    try await withServer { client, _ in
      for id in [Int64.max, 0, -1] {
        #expect(await code { _ = try await client.getServer(.with { $0.serverID = id }) } == .notFound)
        #expect(await code { _ = try await client.getChannel(.with { $0.channelID = id }) } == .notFound)
        #expect(await code { _ = try await client.getSocket(.with { $0.socketID = id }) } == .notFound)
        #expect(
          await code { _ = try await client.getSubchannel(.with { $0.subchannelID = id }) } == .notFound)
      }
      #expect(await code { _ = try await client.getServers(.with { $0.maxResults = -1 }) } == .invalidArgument)
      #expect(
        await code { _ = try await client.getTopChannels(.with { $0.startChannelID = -1 }) }
          == .invalidArgument)
      let none = try await client.getServers(.with { $0.startServerID = .max })
      #expect(none.end && none.server.isEmpty)
    }
  }
}
