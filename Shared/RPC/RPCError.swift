/// The failure of one call, as the peer sees it. An error of any other type that a handler throws is logged whole and
/// answered as UNKNOWN, without its text.
package struct RPCError: Error, Sendable, CustomStringConvertible {
  package var code: StatusCode
  /// For people: names the field, the limit and the value.
  package var message: String
  /// Sent as trailers beside the status, `grpc-retry-pushback-ms` for instance.
  package var metadata: Metadata
  /// An encoded `google.rpc.Status`, sent as `grpc-status-details-bin`. Empty: none.
  package var details: [UInt8]
  /// What led to it. Never sent.
  package var cause: (any Error)?

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

  package var description: String {
    cause.map { "\(code): \(message) (\($0))" } ?? "\(code): \(message)"
  }
}
