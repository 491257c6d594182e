/// What a connection needs of whoever does its I/O: its event loop, and a flush.
package protocol ConnectionDriver: AnyObject, Sendable {
  /// Whether the caller is on the connection's event loop.
  var isOnLoop: Bool { get }
  /// The same for all connections of one loop.
  var loopIdentity: ObjectIdentifier { get }
  /// Where tasks of handlers run: inline on the loop.
  var taskExecutor: any TaskExecutor { get }
  /// On the loop: cancels tasks. What that resumes must not run inline, within the cancellation.
  func cancelling(_ work: () -> Void)
  /// Where those run that would hold the loop up.
  var backgroundExecutor: any TaskExecutor { get }
  /// Runs work on the loop, in order.
  func execute(_ work: @escaping @Sendable () -> Void)
  /// Runs work on the loop once, after a time.
  func schedule(afterNanoseconds: Int64, _ work: @escaping @Sendable () -> Void)
  /// On the loop: output waits; it is written at the end of this turn at the latest.
  func flush()
  /// On the loop: the connection is over; closes it once the output is written.
  func close()
}

extension ConnectionDriver {
  package func cancelling(_ work: () -> Void) { work() }
}

/// Where a server reports what a caller must not see.
package protocol ServerObserver: Sendable {
  /// A handler threw something other than an `RPCError`; the caller got UNKNOWN.
  func handlerFailed(_ method: MethodDescriptor, _ error: any Error, requestID: String)

  /// A call is over that `CallSampling` chose or that failed by our fault. Called on the event loop: must not block for long.
  func callEnded(_ record: CallRecord)

  /// The server ended a connection; told once for each. `detail`: a value, where the cause has one.
  func connectionEnded(_ peer: String, _ end: ConnectionEnd, detail: String)
}
