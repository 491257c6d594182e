package import Messages
package import RPC
package import RPCTransport
internal import SwiftProtobuf

/// `grpc.channelz.v1.Channelz`: the servers, channels and connections of this process. A channel has a subchannel for each address, and
/// that one connection at most.
package struct ChannelzService: Grpc_Channelz_V1_ChannelzHandlers {
  /// Entries of one page.
  static let resultsMax = 100

  private let directory: ProcessDirectory

  package init(directory: ProcessDirectory = .shared) { self.directory = directory }

  package func getTopChannels(
    _ request: Grpc_Channelz_V1_GetTopChannelsRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetTopChannelsResponse {
    let (channels, isEnd) = try Self.page(
      directory.channels(from: Self.start(request.startChannelID, "start_channel_id")),
      request.maxResults)
    var response = Grpc_Channelz_V1_GetTopChannelsResponse()
    for channel in channels { response.channel.append(await Self.message(channel)) }
    response.end = isEnd
    return response
  }

  package func getServers(
    _ request: Grpc_Channelz_V1_GetServersRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetServersResponse {
    let (servers, isEnd) = try Self.page(
      directory.servers(from: Self.start(request.startServerID, "start_server_id")),
      request.maxResults)
    return .with {
      $0.server = servers.map(Self.message)
      $0.end = isEnd
    }
  }

  package func getServer(
    _ request: Grpc_Channelz_V1_GetServerRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetServerResponse {
    let server = try server(request.serverID)
    return .with { $0.server = Self.message(server) }
  }

  package func getServerSockets(
    _ request: Grpc_Channelz_V1_GetServerSocketsRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetServerSocketsResponse {
    let start = try Self.start(request.startSocketID, "start_socket_id")
    let (ids, isEnd) = try Self.page(
      server(request.serverID).connectionIDs(from: start), request.maxResults)
    return .with {
      $0.socketRef = ids.map { id in .with { $0.socketID = Int64(id) } }
      $0.end = isEnd
    }
  }

  package func getChannel(
    _ request: Grpc_Channelz_V1_GetChannelRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetChannelResponse {
    let found = directory.channels(from: 0).first { Int64($0.id) == request.channelID }
    guard let found else { throw Self.unknown("channel", request.channelID) }
    var response = Grpc_Channelz_V1_GetChannelResponse()
    response.channel = await Self.message(found)
    return response
  }

  package func getSubchannel(
    _ request: Grpc_Channelz_V1_GetSubchannelRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetSubchannelResponse {
    for channel in directory.channels(from: 0) {
      for subchannel in await channel.subchannels where Int64(subchannel.id) == request.subchannelID {
        return .with { $0.subchannel = Self.message(subchannel) }
      }
    }
    throw Self.unknown("subchannel", request.subchannelID)
  }

  package func getSocket(
    _ request: Grpc_Channelz_V1_GetSocketRequest, context: CallContext
  ) async throws -> Grpc_Channelz_V1_GetSocketResponse {
    guard let id = Int(exactly: request.socketID), let found = await directory.connection(id) else {
      throw Self.unknown("socket", request.socketID)
    }
    return .with { $0.socket = Self.message(found) }
  }

  // MARK: - Pages

  private static func start(_ id: Int64, _ name: String) throws -> Int {
    guard id >= 0 else { throw RPCError(.invalidArgument, "\(name): must not be negative, is \(id)") }
    return Int(id)
  }

  private static func page<Entry>(
    _ all: [Entry], _ wanted: Int64
  ) throws -> (page: [Entry], isEnd: Bool) {
    guard wanted >= 0 else {
      throw RPCError(.invalidArgument, "max_results: must not be negative, is \(wanted)")
    }
    let count = wanted == 0 ? resultsMax : min(resultsMax, Int(wanted))
    return (Array(all.prefix(count)), all.count <= count)
  }

  private static func unknown(_ kind: String, _ id: Int64) -> RPCError {
    RPCError(.notFound, "\(kind)_id: there is no \(kind) \(id)")
  }

  private func server(_ id: Int64) throws -> RPCServer {
    guard let found = directory.servers(from: 0).first(where: { Int64($0.id) == id }) else {
      throw Self.unknown("server", id)
    }
    return found
  }
}
