internal import Foundation
internal import Messages
internal import NIOCore
internal import RPC
internal import RPCTransport
internal import SwiftProtobuf

/// From what the RPC layer counts to channelz' messages.
extension ChannelzService {
  static func message(_ server: RPCServer) -> Grpc_Channelz_V1_Server {
    let figures = server.callFigures
    return .with {
      $0.ref.serverID = Int64(server.id)
      $0.data.callsStarted = Int64(figures.callsStarted)
      $0.data.callsSucceeded = Int64(figures.callsSucceeded)
      $0.data.callsFailed = Int64(figures.callsFailed)
      if let time = timestamp(figures.lastCallStarted) { $0.data.lastCallStartedTimestamp = time }
    }
  }

  static func message(_ channel: RPCTransport.Channel) async -> Grpc_Channelz_V1_Channel {
    let subchannels = await channel.subchannels
    let statistics = channel.statistics
    return .with {
      $0.ref.channelID = Int64(channel.id)
      $0.ref.name = channel.target
      $0.data.target = channel.target
      $0.data.state.state = state(statistics.state)
      $0.data.callsStarted = Int64(statistics.callsStarted)
      $0.data.callsSucceeded = Int64(statistics.callsSucceeded)
      $0.data.callsFailed = Int64(statistics.callsFailed)
      let last = subchannels.map(\.figures.lastCallStarted).max() ?? 0
      if let time = timestamp(last) { $0.data.lastCallStartedTimestamp = time }
      $0.subchannelRef = subchannels.map { subchannel in
        .with {
          $0.subchannelID = Int64(subchannel.id)
          $0.name = subchannel.target
        }
      }
    }
  }

  static func message(_ subchannel: ChannelzSubchannel) -> Grpc_Channelz_V1_Subchannel {
    .with {
      $0.ref.subchannelID = Int64(subchannel.id)
      $0.ref.name = subchannel.target
      $0.data.target = subchannel.target
      $0.data.state.state = state(subchannel.state)
      $0.data.callsStarted = Int64(subchannel.figures.callsStarted)
      $0.data.callsSucceeded = Int64(subchannel.figures.callsSucceeded)
      $0.data.callsFailed = Int64(subchannel.figures.callsFailed)
      if let time = timestamp(subchannel.figures.lastCallStarted) {
        $0.data.lastCallStartedTimestamp = time
      }
      if let connection = subchannel.connection {
        $0.socketRef = [.with { $0.socketID = Int64(connection.id) }]
      }
    }
  }

  private static func state(
    _ connectivity: ConnectivityState
  ) -> Grpc_Channelz_V1_ChannelConnectivityState.State {
    switch connectivity {
    case .idle: .idle
    case .connecting: .connecting
    case .ready: .ready
    case .transientFailure: .transientFailure
    case .shutdown: .shutdown
    }
  }

  static func message(_ connection: ConnectionSnapshot) -> Grpc_Channelz_V1_Socket {
    let figures = connection.figures
    return .with {
      $0.ref.socketID = Int64(connection.id)
      $0.data.streamsStarted = Int64(figures.callsStarted)
      $0.data.streamsSucceeded = Int64(figures.callsSucceeded)
      $0.data.streamsFailed = Int64(figures.callsFailed)
      $0.data.messagesSent = Int64(figures.messagesSent)
      $0.data.messagesReceived = Int64(figures.messagesReceived)
      if let time = timestamp(figures.lastCallStarted) {
        if connection.isServer {
          $0.data.lastRemoteStreamCreatedTimestamp = time
        } else {
          $0.data.lastLocalStreamCreatedTimestamp = time
        }
      }
      if let time = timestamp(figures.lastMessageSent) { $0.data.lastMessageSentTimestamp = time }
      if let time = timestamp(figures.lastMessageReceived) {
        $0.data.lastMessageReceivedTimestamp = time
      }
      $0.data.localFlowControlWindow = .init(Int64(connection.sendWindowBytes))
      $0.data.remoteFlowControlWindow = .init(Int64(connection.receiveWindowBytes))
      $0.local = address(connection.local)
      $0.remote = address(connection.peer)
    }
  }

  /// `127.0.0.1:80` and `::1:80`, the text behind the last colon being the port; anything else as it is.
  static func address(_ text: String) -> Grpc_Channelz_V1_Address {
    guard let colon = text.lastIndex(of: ":"), let port = Int32(text[text.index(after: colon)...]),
      let ip = try? SocketAddress(ipAddress: String(text[..<colon]), port: Int(port))
    else { return .with { $0.otherAddress.name = text } }
    return .with {
      $0.tcpipAddress.ipAddress = bytes(ip)
      $0.tcpipAddress.port = port
    }
  }

  private static func bytes(_ address: SocketAddress) -> Data {
    // Where `sockaddr_in` and `sockaddr_in6` have the address itself.
    let place: (offset: Int, count: Int)
    switch address {
    case .v4: place = (4, 4)
    case .v6: place = (8, 16)
    case .unixDomainSocket: return Data()
    }
    return address.withSockAddr { base, _ in
      Data(bytes: UnsafeRawPointer(base) + place.offset, count: place.count)
    }
  }

  /// From the monotonic clock to the one on the wall; nil: never.
  private static func timestamp(_ monotonic: Int64) -> Google_Protobuf_Timestamp? {
    guard monotonic > 0 else { return nil }
    let age = (MonotonicClock.now - monotonic) / 1_000_000
    let milliseconds = WallClock.nowMilliseconds - age
    return Google_Protobuf_Timestamp(
      seconds: milliseconds / 1_000, nanos: Int32(milliseconds % 1_000) * 1_000_000)
  }
}
