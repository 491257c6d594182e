internal import HTTP2
internal import Synchronization

/// What one connection has done so far. Kept on its event loop.
package struct ConnectionFigures: Sendable {
  package var callsStarted = 0
  package var callsSucceeded = 0
  package var callsFailed = 0
  package var messagesReceived = 0
  package var messagesSent = 0
  /// Bytes of HTTP/2, without TLS.
  package var bytesReceived = 0
  /// On the monotonic clock, ns; 0: never.
  package var lastCallStarted: Int64 = 0
  package var lastMessageReceived: Int64 = 0
  package var lastMessageSent: Int64 = 0

  package init() {}

  /// The figures of several connections together.
  package mutating func add(_ other: ConnectionFigures) {
    callsStarted += other.callsStarted
    callsSucceeded += other.callsSucceeded
    callsFailed += other.callsFailed
    messagesReceived += other.messagesReceived
    messagesSent += other.messagesSent
    bytesReceived += other.bytesReceived
    lastCallStarted = max(lastCallStarted, other.lastCallStarted)
    lastMessageReceived = max(lastMessageReceived, other.lastMessageReceived)
    lastMessageSent = max(lastMessageSent, other.lastMessageSent)
  }
}

/// A connection at one moment, as channelz shows it.
package struct ConnectionSnapshot: Sendable {
  package let id: Int
  package let isServer: Bool
  /// `127.0.0.1:51234`; empty: unknown.
  package let local: String
  package let peer: String
  package let figures: ConnectionFigures
  /// Bytes that the peer lets us send on the whole connection.
  package let sendWindowBytes: Int
  /// Bytes that we let the peer send on the whole connection.
  package let receiveWindowBytes: Int
}

/// Numbers for what channelz shows: each is given once in a process.
package enum ChannelzID {
  private static let last = Atomic<Int>(0)

  package static func next() -> Int { last.wrappingAdd(1, ordering: .relaxed).newValue }
}

extension ServerConnection {
  /// On the event loop.
  package var snapshot: ConnectionSnapshot {
    ConnectionSnapshot(
      id: id, isServer: true, local: localAddress, peer: peer, figures: figures,
      sendWindowBytes: http2.sendWindowBytes, receiveWindowBytes: http2.receiveWindowBytes)
  }
}

extension ClientConnection {
  /// On the event loop.
  package var snapshot: ConnectionSnapshot {
    ConnectionSnapshot(
      id: id, isServer: false, local: localAddress, peer: peerAddress, figures: figures,
      sendWindowBytes: http2.sendWindowBytes, receiveWindowBytes: http2.receiveWindowBytes)
  }
}
