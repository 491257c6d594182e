/// The failure of one call, as the peer sees it. An error of any other type that a handler throws is logged whole and
/// answered as UNKNOWN, without its text.
package struct RPCError: Error, Sendable, CustomStringConvertible {
  /// How far a call got that failed at the client.
  package enum Delivery: UInt8, Sendable {
    /// Nothing of it has left this process.
    case notSent
    /// The server has said that it did not run it: REFUSED_STREAM, or a GOAWAY before it.
    case notRun
    /// The server ran it, or nobody knows.
    case mayHaveRun
  }

  package var code: StatusCode
  /// For people: names the field, the limit and the value.
  package var message: String
  /// Of a server's error: sent as trailers beside the status, `grpc-retry-pushback-ms` for instance. Of a client's: the custom
  /// trailers that came.
  package var metadata: Metadata
  /// An encoded `google.rpc.Status`, sent as `grpc-status-details-bin`. Empty: none.
  package var details: [UInt8]
  /// What led to it. Never sent.
  package var cause: (any Error)?
  /// Of a client's failed call. Never sent.
  package var delivery = Delivery.mayHaveRun
  /// Attempts that a client's call has made, the first included. 0: not a client's call, or none. Never sent.
  package var attempts = 0

  package init(
    _ code: StatusCode, _ message: String, metadata: Metadata = Metadata(), details: [UInt8] = [],
    cause: (any Error)? = nil
  ) {
    self.code = code
    self.message = message
    self.metadata = metadata
    self.details = details
    self.cause = cause
  }

  /// A failure of a client's call that the server did not run.
  package init(_ code: StatusCode, _ message: String, delivery: Delivery, cause: (any Error)? = nil) {
    self.init(code, message, cause: cause)
    self.delivery = delivery
  }

  package var description: String {
    cause.map { "\(code): \(message) (\($0))" } ?? "\(code): \(message)"
  }
}
