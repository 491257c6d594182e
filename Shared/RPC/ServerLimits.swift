package import HTTP2

/// Every bound of a server, in one place. All finite; a time of 0 turns its rule off where that is said.
package struct ServerLimits: Sendable {
  /// Streams, header fields and bytes, windows, frames, and how often a client may do what is of no use.
  package var http2 = HTTP2Limits()

  // MARK: Connections

  /// Connections at once; one more is closed on arrival.
  package var connectionsMax = 1_024
  /// Connections of one address at once; one more is closed on arrival.
  package var connectionsPerAddressMax = 256
  /// Whether loopback addresses are held to it too: a proxy on this machine brings everybody from there.
  package var connectionsPerAddressHoldForLoopback = false

  // MARK: Calls

  /// Calls of one connection whose handlers run at once; one more is answered RESOURCE_EXHAUSTED.
  package var runningHandlersMax = 128
  /// Calls of the whole server that run at once. Priorities take shares of it: see `Admission`.
  package var runningCallsMax = 4_096
  /// The share of `runningCallsMax` that one app may hold once half of it is taken, percent.
  package var runningCallsPerAppPercent = 25
  /// A client that was refused is asked to wait this long, and up to twice as long, ms.
  package var pushbackMilliseconds = 200
  /// Receive window of a connection on which calls are refused, bytes: what it sends on for calls that are refused too waits
  /// at the client, not before us, and a refusal comes soon. Larger where such connections are few; given back in turns, see
  /// `CreditPace`; as at first a second after the last refusal.
  package var refusingWindowBytes = 16 * 1024
  /// Receive window that a connection begins with: the protocol's own (RFC 9113, 6.9.2). Up to `http2.connectionWindowBytes` where
  /// it is used up: many clients that come at once with all they have would fill megabytes each before the first is refused.
  static let firstWindowBytes = 65_535

  // MARK: Messages

  /// Bytes of one request message, unpacked.
  package var messageBytesMax = 4 * 1024 * 1024
  /// A packed message that unpacks to more than a megabyte may be at most so many times its packed size. DEFLATE makes 1,032 of one.
  package var unpackedRatioMax = 200
  /// Bytes of one response message, before it is packed.
  package var responseBytesMax = 64 * 1024 * 1024
  /// Responses of at least this many bytes are compressed where the client takes gzip. `Int.max`: only those whose handlers ask
  /// for it.
  package var compressResponsesFromBytes = Int.max
  /// Bytes that a handler may have unsent on one stream before `send` waits.
  package var unsentBytesMax = 256 * 1024
  /// Bytes that one connection may have unsent on all its streams; beyond it calls are refused.
  package var connectionUnsentBytesMax = 64 * 1024 * 1024
  /// Bytes of the trailers that we send: status, message, details and metadata, each field counted with 32 more.
  package var trailerBytesMax = 8 * 1024
  /// Messages of this many bytes and more are decoded and encoded off the event loop.
  package var loopMessageBytesMax = 64 * 1024

  // MARK: Timers. They are looked at every `sweepMilliseconds`, so each may be late by as much.

  package var sweepMilliseconds = 500
  /// A client that has not sent its preface and SETTINGS by then is cut, ms.
  package var prefaceMilliseconds = 5_000
  /// A client that has not acknowledged our SETTINGS by then is cut, ms.
  package var settingsMilliseconds = 10_000
  /// A header block that takes longer ends its connection, ms.
  package var headerBlockMilliseconds = 5_000
  /// A message that is not whole and of which nothing more has come for this long ends its call, ms.
  package var messageIdleMilliseconds = 60_000
  /// A client that takes less than `writeRateMin` bytes per second for this long, while more waits for it, loses the stream, or the
  /// connection where nothing passes on it, ms.
  package var writeStallMilliseconds = 30_000
  package var writeRateMin = 1_024
  /// A connection from which nothing has come for this long is sent a PING, ms (gRFC A8: 2 hours) ...
  package var keepaliveMilliseconds = 7_200_000
  /// ... and is cut if nothing comes within this time, ms.
  package var keepaliveTimeoutMilliseconds = 20_000
  /// A connection without a call for this long is ended gracefully, ms. 0: never (gRFC A9).
  package var connectionIdleMilliseconds = 0
  /// A connection this old, +-10 %, is ended gracefully, ms. 0: never (gRFC A9) ...
  package var connectionAgeMilliseconds = 0
  /// ... and its calls are cut after this time more, ms. 0: never.
  package var connectionAgeGraceMilliseconds = 0
  /// A client that does not answer our PING does not hold a graceful end up for longer, ms.
  package var drainRoundTripMilliseconds = 1_000
  /// The identifier of streams from which on a connection is ended gracefully: they end at 2^31.
  package var lastStreamID: Int32 = 1 << 30

  package init() {}

  var unpackLimit: UnpackLimit { UnpackLimit(bytes: messageBytesMax, ratio: unpackedRatioMax) }

  /// Relations between bounds that other code relies on.
  func check() {
    precondition(runningCallsMax >= 16, "runningCallsMax: at least 16, for the shares of priorities")
    precondition((1...100).contains(runningCallsPerAppPercent), "runningCallsPerAppPercent: 1 to 100")
    precondition(refusingWindowBytes >= 16_384, "refusingWindowBytes: at least a frame")
    precondition(sweepMilliseconds >= 1, "sweepMilliseconds: at least 1")
    precondition(
      unsentBytesMax < connectionUnsentBytesMax, "connectionUnsentBytesMax: more than one stream's")
    precondition(trailerBytesMax >= 512, "trailerBytesMax: room for a status and a message")
  }
}
