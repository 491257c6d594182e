package import HTTP2

/// Bounds of a client's connection and of the calls on it. All finite.
package struct ClientLimits: Sendable {
  /// Of a response: `headerFieldsMax` and `headerBytesMax`; the windows: what a server may send before it has been read.
  package var http2 = HTTP2Limits()
  /// Bytes of one response message, on the wire and unpacked.
  package var messageBytesMax = 4 * 1024 * 1024
  /// A packed message that unpacks to more than a megabyte may be at most so many times its packed size. DEFLATE makes 1,032 of one.
  package var unpackedRatioMax = 200
  /// Bytes of one request message, before it is packed.
  package var requestBytesMax = 64 * 1024 * 1024
  /// Bytes that a call may have unsent before `send` waits.
  package var unsentBytesMax = 256 * 1024
  /// Calls of one connection that wait for a place among the streams that its server allows. More fail with
  /// RESOURCE_EXHAUSTED. Each waits until its deadline at most.
  package var queuedCallsMax = 10_000
  /// Calls of one connection that run at once, whatever more its server allows.
  package var openCallsMax = 10_000
  /// Bytes of one call's requests that are kept for a repetition. A call that has sent more is not repeated.
  package var retryBytesMax = 256 * 1024

  package init() {
    http2.streamWindowBytes = 4 * 1024 * 1024
    http2.connectionWindowBytes = 16 * 1024 * 1024
  }

  var unpackLimit: UnpackLimit { UnpackLimit(bytes: messageBytesMax, ratio: unpackedRatioMax) }
}

/// When a client asks whether its server is still there (grpc/doc/keepalive.md, proposal A8).
package struct ClientKeepalive: Sendable {
  /// What A8 allows at least, ms: more frequent PINGs are an attack to many servers.
  package static let timeMillisecondsMin = 10_000

  /// After so long without a byte from the server a PING is sent, ms; at least `timeMillisecondsMin`. nil: never.
  package var timeMilliseconds: Int?
  /// A PING that is not answered for so long ends the connection, ms. Also the socket's TCP_USER_TIMEOUT.
  package var timeoutMilliseconds = 20_000
  /// PINGs also while no call runs.
  package var isWithoutCalls = false

  package init(timeMilliseconds: Int? = nil) { self.timeMilliseconds = timeMilliseconds }

  /// The time that holds, ms.
  package var effectiveTimeMilliseconds: Int? {
    timeMilliseconds.map { max($0, Self.timeMillisecondsMin) }
  }
}
