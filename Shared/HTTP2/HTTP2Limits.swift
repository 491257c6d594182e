/// Bounds of one HTTP/2 connection. All finite.
package struct HTTP2Limits: Sendable {
  /// Streams that the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS).
  package var concurrentStreamsMax: Int = 128
  /// Receive window of a stream, bytes: what a peer may send before the application has consumed it.
  package var streamWindowBytes: Int = 256 * 1024
  /// Receive window of the connection, bytes.
  package var connectionWindowBytes: Int = 4 * 1024 * 1024
  /// Fields of one header block, pseudo fields included.
  package var headerFieldsMax: Int = 64
  /// Bytes of one stream's header blocks together, each field counted as name + value + 32 (RFC 9113, 6.5.2).
  package var headerBytesMax: Int = 8 * 1024
  /// Frames waiting inside nghttp2 beyond which the connection is cut: a peer that provokes answers and does not read them.
  package var outboundFramesMax: Int = 10_000

  package init() {}
}

/// Why a connection cannot go on.
package enum HTTP2Error: Error, Sendable, Equatable {
  /// nghttp2 refused the peer's bytes; its text.
  case protocolViolation(String)
  /// The peer made us queue more control frames than `outboundFramesMax`.
  case outboundQueueFull(Int)
  /// nghttp2 could not get memory.
  case outOfMemory
}

/// RFC 9113, 7.
package enum HTTP2ErrorCode {
  package static let noError: UInt32 = 0x0
  package static let protocolError: UInt32 = 0x1
  package static let internalError: UInt32 = 0x2
  package static let refusedStream: UInt32 = 0x7
  package static let cancel: UInt32 = 0x8
  package static let enhanceYourCalm: UInt32 = 0xb
  package static let inadequateSecurity: UInt32 = 0xc
}
