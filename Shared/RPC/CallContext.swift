/// A moment on the monotonic clock.
package struct Deadline: Sendable, Comparable {
  /// Nanoseconds on the monotonic clock.
  package let nanoseconds: Int64

  package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  package static func after(milliseconds: Int) -> Deadline {
    Deadline(nanoseconds: MonotonicClock.now &+ Int64(milliseconds) &* 1_000_000)
  }

  /// Milliseconds left; negative once it has passed.
  package var remainingMilliseconds: Int {
    Int((nanoseconds &- MonotonicClock.now) / 1_000_000)
  }

  package var hasPassed: Bool { MonotonicClock.now >= nanoseconds }

  package static func < (a: Deadline, b: Deadline) -> Bool { a.nanoseconds < b.nanoseconds }
}

/// What a handler knows about its call. A reference: copies cost nothing.
package struct CallContext: Sendable {
  let call: ServerCall

  package var method: MethodDescriptor { call.method }
  package var principal: Principal { call.principal }
  /// The request's custom metadata. Cost: taken apart anew each time.
  package var metadata: Metadata { call.metadata.metadata }
  /// nil: the caller set none.
  package var deadline: Deadline? {
    call.deadline == 0 ? nil : Deadline(nanoseconds: call.deadline)
  }
  /// `127.0.0.1:51234`.
  package var peer: String { call.peer }
  package var response: ResponseMetadata { ResponseMetadata(call: call) }
  /// Gives the answer of a unary call as bytes, by a handler that has them: the message that it returns, which must be the same, is not
  /// encoded again.
  package func answer(encoded bytes: [UInt8]) { call.answer(encoded: bytes) }
  /// What `answer(encoded:)` gave; the second time nil.
  package func takeEncoded() -> [UInt8]? { call.takeEncoded() }
  /// Whether the one request of a unary call came compressed; see `RequestStream.lastWasCompressed` for the others.
  package var requestWasCompressed: Bool { call.requestWasCompressed }

  /// The call whose handler runs in this task. Calls made meanwhile carry its request id and trace on.
  @TaskLocal package static var current: CallContext?

  init(_ call: ServerCall) { self.call = call }

  /// A context without a connection, for tests of handlers.
  package init(
    method: MethodDescriptor, principal: Principal, metadata: Metadata = Metadata(),
    deadline: Deadline? = nil, peer: String = "", requestWasCompressed: Bool = false,
    seed: CallSeed = CallSeed()
  ) {
    call = ServerCall(
      method: method, principal: principal, metadata: KeptMetadata(metadata),
      deadline: deadline?.nanoseconds ?? 0, peer: peer,
      requestWasCompressed: requestWasCompressed, seed: seed)
  }

  /// The caller's name for the call (`x-request-id`) where it sent a valid one, else one of ours. Computed when it is asked for.
  package var requestID: String {
    let sent = call.metadata.first(RequestID.header) {
      RequestID.isValid($0) ? String(decoding: $0, as: UTF8.self) : nil
    }
    return sent ?? call.seed.requestID
  }

  /// The call's own place in the caller's chain of calls (`traceparent`), or in a new one. Computed when it is asked for.
  package var trace: CallTrace {
    call.seed.trace(under: call.metadata.first(RequestID.traceHeader) { CallTrace(traceparent: $0) })
  }

  /// See `Principal.appID(requested:)`.
  package func appID(requested: String) throws(RPCError) -> String {
    try principal.appID(requested: requested)
  }
}

/// Metadata that a handler adds to its answer. Safe from any thread.
package struct ResponseMetadata: Sendable {
  fileprivate let call: ServerCall

  /// Sent before the first message; ignored after it.
  package func addInitial(_ name: String, _ value: String) { call.add(initial: name, Array(value.utf8)) }

  package func addInitial(_ name: String, bytes: [UInt8]) { call.add(initial: name, bytes) }

  /// Sent with the status.
  package func addTrailing(_ name: String, _ value: String) { call.add(trailing: name, Array(value.utf8)) }

  package func addTrailing(_ name: String, bytes: [UInt8]) { call.add(trailing: name, bytes) }

  /// Asks for the call's messages to be compressed where the client takes gzip. Before the first of them.
  package func compressMessages() { call.compressMessages() }
}
