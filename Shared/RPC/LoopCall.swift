/// A unary call on its event loop, with the request's bytes in place. Valid during the handler only: a handler that cannot
/// answer at once takes `park()` with it. Exactly one of `reply`, `fail`, `park` must be called.
package struct LoopCall {
  /// The encoded request, valid during the handler only.
  package let message: UnsafeRawBufferPointer
  package let principal: Principal
  unowned(unsafe) let connection: ServerConnection
  let stream: UnsafeMutableRawPointer

  init(message: UnsafeRawBufferPointer, principal: Principal) { fatalError() }

  package func reply(_ message: UnsafeRawBufferPointer) {}
  package func reply(_ message: [UInt8]) {}
  package func fail(_ error: RPCError) {}
  /// Metadata, deadline and peer. Allocates: not for hot paths.
  package var context: CallContext { fatalError() }
  package func park() -> ParkedCall { fatalError() }
}

/// A unary call that is answered later, from any thread. Dropped without an answer, it answers INTERNAL.
package final class ParkedCall: Sendable {
  package func reply(_ message: [UInt8]) {}
  package func fail(_ error: RPCError) {}
  /// Answers many calls with one hop per event loop.
  package static func complete(_ answers: [(ParkedCall, Result<[UInt8], RPCError>)]) {}
}

package final class ServerConnection {}
