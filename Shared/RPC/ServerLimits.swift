package import HTTP2

/// Every bound of a server, in one place. All finite.
package struct ServerLimits: Sendable {
  package var http2 = HTTP2Limits()
  /// Connections at once; one more is closed on arrival.
  package var connectionsMax = 1_024
  /// Calls of one connection whose handlers run at once; one more is answered RESOURCE_EXHAUSTED.
  package var runningHandlersMax = 128
  /// Bytes of one request message.
  package var messageBytesMax = 4 * 1024 * 1024
  /// Bytes that a handler may have unsent on one stream before `send` waits.
  package var unsentBytesMax = 256 * 1024
  /// A client that has not sent its preface and SETTINGS by then is cut, ms.
  package var prefaceMilliseconds = 10_000

  package init() {}
}
