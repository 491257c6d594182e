import Synchronization

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

/// What a handler knows about its call.
package struct CallContext: Sendable {
  package let method: MethodDescriptor
  package let principal: Principal
  /// The request's custom metadata.
  package let metadata: Metadata
  /// nil: the caller set none.
  package let deadline: Deadline?
  /// `127.0.0.1:51234`.
  package let peer: String
  package let response: ResponseMetadata
  /// Whether the one request of a unary call came compressed; see `RequestStream.lastWasCompressed` for the others.
  package let requestWasCompressed: Bool
  private let seed: CallSeed

  /// The call whose handler runs in this task. Calls made meanwhile carry its request id and trace on.
  @TaskLocal package static var current: CallContext?

  package init(
    method: MethodDescriptor, principal: Principal, metadata: Metadata = Metadata(),
    deadline: Deadline? = nil, peer: String = "", response: ResponseMetadata = ResponseMetadata(),
    requestWasCompressed: Bool = false, seed: CallSeed = CallSeed()
  ) {
    self.method = method
    self.principal = principal
    self.metadata = metadata
    self.deadline = deadline
    self.peer = peer
    self.response = response
    self.requestWasCompressed = requestWasCompressed
    self.seed = seed
  }

  /// The caller's name for the call (`x-request-id`) where it sent a valid one, else one of ours. Computed when it is asked for.
  package var requestID: String {
    let sent = metadata.entries.first {
      $0.name == RequestID.header && RequestID.isValid($0.value)
    }
    return sent.map { String(decoding: $0.value, as: UTF8.self) } ?? seed.requestID
  }

  /// The call's own place in the caller's chain of calls (`traceparent`), or in a new one. Computed when it is asked for.
  package var trace: CallTrace {
    let sent = metadata.entries.first { $0.name == RequestID.traceHeader }
    return seed.trace(
      under: sent.flatMap { $0.value.withUnsafeBytes { CallTrace(traceparent: $0) } })
  }

  /// The app that a request speaks for: the tenant comes from the token only.
  ///
  /// - Throws: PERMISSION_DENIED where the request names another app than the token's; INVALID_ARGUMENT where the token
  ///   speaks for any app and the request names none.
  package func appID(requested: String) throws(RPCError) -> String {
    guard let own = principal.appID else {
      if requested.isEmpty {
        throw RPCError(.invalidArgument, "app_id: required, because the token speaks for any app")
      }
      return requested
    }
    if requested.isEmpty || requested == own { return own }
    throw RPCError(.permissionDenied, "app_id: the token does not speak for \"\(requested)\"")
  }
}

/// Metadata that a handler adds to its answer. Safe from any thread.
package final class ResponseMetadata: Sendable {
  private let state = Mutex<(initial: Metadata, trailing: Metadata)>((Metadata(), Metadata()))
  private let compression = Atomic<Bool>(false)

  package init() {}

  /// Sent before the first message; ignored after it.
  package func addInitial(_ name: String, _ value: String) {
    state.withLock { $0.initial.add(name, value) }
  }

  /// Sent with the status.
  package func addTrailing(_ name: String, _ value: String) {
    state.withLock { $0.trailing.add(name, value) }
  }

  package func addTrailing(_ name: String, bytes: [UInt8]) {
    state.withLock { $0.trailing.add(name, bytes: bytes) }
  }

  package func addInitial(_ name: String, bytes: [UInt8]) {
    state.withLock { $0.initial.add(name, bytes: bytes) }
  }

  /// Asks for the call's messages to be compressed where the client takes gzip. Before the first of them.
  package func compressMessages() { compression.store(true, ordering: .relaxed) }

  var compressesMessages: Bool { compression.load(ordering: .relaxed) }

  package var snapshot: (initial: Metadata, trailing: Metadata) { state.withLock { $0 } }
}
