/// What a channel is doing (grpc/doc/connectivity-semantics-and-api.md).
package enum ConnectivityState: String, Sendable, CaseIterable {
  /// Not connected, and not trying: the next call makes it try. -> connecting, shutdown
  case idle = "IDLE"
  /// Finding addresses, connecting, or waiting for the server's SETTINGS. -> ready, transientFailure, shutdown
  case connecting = "CONNECTING"
  /// Calls can be made. -> idle, connecting, shutdown
  case ready = "READY"
  /// Every address has failed; it goes on trying, and stays in this state until it is ready. -> ready, shutdown
  case transientFailure = "TRANSIENT_FAILURE"
  /// Closed for good.
  case shutdown = "SHUTDOWN"
}
