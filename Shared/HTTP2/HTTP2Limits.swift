/// Bounds of one HTTP/2 connection. All finite. Those of a peer's conduct hold for a server's peers only.
package struct HTTP2Limits: Sendable {
  /// Streams that the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS).
  package var concurrentStreamsMax: Int = 128
  /// Receive window of a stream, bytes: what a peer may send before the application has consumed it.
  package var streamWindowBytes: Int = 256 * 1024
  /// Receive window of the connection, bytes.
  package var connectionWindowBytes: Int = 4 * 1024 * 1024
  /// Fields of one stream's header blocks together, pseudo fields and trailers included.
  package var headerFieldsMax: Int = 64
  /// Bytes of one stream's header blocks together, each field counted as name + value + 32 (RFC 9113, 6.5.2). At most 65,535.
  package var headerBytesMax: Int = 8 * 1024
  /// A header block that goes beyond this many times a limit ends the connection: decoding it costs more than it is worth.
  package var headerFloodFactor: Int = 2
  /// Frames waiting inside nghttp2 beyond which a server cuts the connection: a peer that provokes answers and does not
  /// read them.
  package var outboundFramesMax: Int = 1_000
  /// Free streams that an event loop keeps for the next calls of all its connections, 2 KiB each.
  package var freeStreamsKept: Int = 512

  /// RST_STREAMs that the peer may send at once, and each second for ever. A client that cancels 50 calls/s stays below.
  package var resetsBurst: Int = 200
  package var resetsPerSecond: Int = 100
  /// Those of them that the peer may send at once whatever others do. Beyond, all peers of an event loop share a burst and a rate.
  package var ownResetsBurst: Int = 25
  package var commonResetsBurst: Int = 2_000
  package var commonResetsPerSecond: Int = 1_000
  /// Frames without use that the peer may send at once, and each second for ever: see `PeerAbuse`.
  package var nuisancesBurst: Int = 100
  package var nuisancesPerSecond: Int = 10

  /// PINGs may come this often while calls run, ms (gRFC A8: 5 minutes) ...
  package var pingPermitMilliseconds: Int = 300_000
  /// ... and this often while none does, unless `pingsWithoutCalls` (2 hours).
  package var pingPermitIdleMilliseconds: Int = 7_200_000
  package var pingsWithoutCalls = false
  /// PINGs that may come sooner; the next one ends the connection with `too_many_pings`.
  package var pingStrikesMax: Int = 2

  package init() {}

  /// Relations between bounds that other code relies on.
  func check() {
    precondition(
      (1...65_535).contains(headerBytesMax), "headerBytesMax: lengths are kept in 16 bits")
    precondition(headerFloodFactor >= 1, "headerFloodFactor: at least 1")
    precondition(
      outboundFramesMax > concurrentStreamsMax, "outboundFramesMax: more than one answer per stream")
  }
}

/// Why a connection cannot go on.
package enum HTTP2Error: Error, Sendable, Equatable {
  /// nghttp2 refused the peer's bytes; its text.
  case protocolViolation(String)
  /// The peer did something too often.
  case abuse(PeerAbuse)
  /// nghttp2 could not get memory.
  case outOfMemory
}

/// RFC 9113, 7.
package enum HTTP2ErrorCode {
  package static let noError: UInt32 = 0x0
  package static let protocolError: UInt32 = 0x1
  package static let internalError: UInt32 = 0x2
  package static let settingsTimeout: UInt32 = 0x4
  package static let refusedStream: UInt32 = 0x7
  package static let cancel: UInt32 = 0x8
  package static let enhanceYourCalm: UInt32 = 0xb
  package static let inadequateSecurity: UInt32 = 0xc
}
