internal import HTTP2
internal import Synchronization

/// Who moves a pipe's bytes between its queues and the connection. Called on the event loop.
protocol PipeOwner: AnyObject, Sendable {
  func pipeHasOutput(_ pipe: MessagePipe)
  func pipeHasConsumed(_ pipe: MessagePipe, bytes: Int)
}

/// The two queues of a streaming call, between a handler on any thread and the connection on its loop.
///
/// Inbound is bounded by the flow-control window, which opens only as messages are read; outbound by `unsentBytesMax`: beyond it
/// `send` waits.
final class MessagePipe: MessageSource, MessageSink, Sendable {
  private struct State {
    var inbound: [[UInt8]] = []
    var inboundHead = 0
    var inboundCosts: [Int] = []
    var inboundEnded = false
    /// Set once: the call is over for the reader (after the queue) and the writer.
    var failure: RPCError?
    var reader: CheckedContinuation<[UInt8]?, any Error>?

    var outbound: [UInt8] = []
    /// Bytes given to the connection and not yet taken by the wire.
    var unsent = 0
    var outputScheduled = false
    var outboundEnded = false
    var writers: [CheckedContinuation<Void, any Error>] = []

    /// Bytes of read messages that the peer's window has not been given back for.
    var consumed = 0
    var consumeScheduled = false
  }

  private let state = Mutex(State())
  private let driver: any ConnectionDriver
  private let owner: any PipeOwner
  private let unsentBytesMax: Int
  /// The stream, from its beginning until it is closed.
  // nonisolated(unsafe): touched on the event loop only.
  nonisolated(unsafe) var stream: StreamPointer?

  init(
    driver: any ConnectionDriver, owner: any PipeOwner, stream: StreamPointer?,
    unsentBytesMax: Int
  ) {
    self.driver = driver
    self.owner = owner
    self.unsentBytesMax = unsentBytesMax
    self.stream = stream
  }

  // MARK: - The handler's side

  func next() async throws -> [UInt8]? {
    enum Step {
      case done([UInt8]?, scheduleConsume: Bool)
      case failed(RPCError)
      case wait
    }
    let step: Step = state.withLock { state in
      if state.inboundHead < state.inbound.count {
        let (message, schedule) = Self.take(&state)
        return .done(message, scheduleConsume: schedule)
      }
      if let failure = state.failure { return .failed(failure) }
      return state.inboundEnded ? .done(nil, scheduleConsume: false) : .wait
    }
    switch step {
    case .done(let message, let schedule):
      if schedule { scheduleConsume() }
      return message
    case .failed(let error): throw error
    case .wait: return try await waitForMessage()
    }
  }

  private func waitForMessage() async throws -> [UInt8]? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<[UInt8]?, any Error>) in
        enum Answer {
          case value([UInt8]?, Bool)
          case error(any Error)
          case parked
        }
        let answer: Answer = state.withLock { state in
          precondition(state.reader == nil, "two readers of one stream")
          if state.inboundHead < state.inbound.count {
            let (message, schedule) = Self.take(&state)
            return .value(message, schedule)
          }
          if let failure = state.failure { return .error(failure) }
          if state.inboundEnded { return .value(nil, false) }
          if Task.isCancelled { return .error(CancellationError()) }
          state.reader = continuation
          return .parked
        }
        switch answer {
        case .value(let message, let schedule):
          if schedule { scheduleConsume() }
          continuation.resume(returning: message)
        case .error(let error): continuation.resume(throwing: error)
        case .parked: break
        }
      }
    } onCancel: {
      let reader = state.withLock { state in
        defer { state.reader = nil }
        return state.reader
      }
      reader?.resume(throwing: CancellationError())
    }
  }

  private static func take(_ state: inout State) -> ([UInt8], scheduleConsume: Bool) {
    let message = state.inbound[state.inboundHead]
    state.consumed += state.inboundCosts[state.inboundHead]
    state.inbound[state.inboundHead] = []
    state.inboundHead += 1
    if state.inboundHead == state.inbound.count {
      state.inbound.removeAll(keepingCapacity: true)
      state.inboundCosts.removeAll(keepingCapacity: true)
      state.inboundHead = 0
    }
    let schedule = !state.consumeScheduled && state.consumed > 0
    if schedule { state.consumeScheduled = true }
    return (message, schedule)
  }

  private func scheduleConsume() {
    onLoop { pipe in
      let bytes = pipe.state.withLock { state in
        defer {
          state.consumed = 0
          state.consumeScheduled = false
        }
        return state.consumed
      }
      pipe.owner.pipeHasConsumed(pipe, bytes: bytes)
    }
  }

  func send(_ message: [UInt8]) async throws {
    if try enqueue(message) { try await waitForRoom() }
  }

  /// Queues a message; true: there is more than the bound now, the sender should wait.
  func enqueue(_ message: [UInt8]) throws -> Bool {
    guard message.count <= Int(UInt32.max) else {
      throw RPCError(.resourceExhausted, "message: at most \(UInt32.max) bytes")
    }
    let (schedule, wait): (Bool, Bool) = try state.withLock { state in
      if let failure = state.failure { throw failure }
      precondition(!state.outboundEnded, "a message was sent after the end")
      Self.append(message, to: &state.outbound)
      let schedule = !state.outputScheduled
      state.outputScheduled = true
      return (schedule, state.outbound.count + state.unsent > unsentBytesMax)
    }
    if schedule { onLoop { $0.owner.pipeHasOutput($0) } }
    return wait
  }

  private static func append(_ message: [UInt8], to buffer: inout [UInt8]) {
    let count = UInt32(message.count)
    buffer.append(0)
    withUnsafeBytes(of: count.bigEndian) { buffer.append(contentsOf: $0) }
    buffer.append(contentsOf: message)
  }

  private func waitForRoom() async throws {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<Void, any Error>) in
        let answer: Result<Void, any Error>? = state.withLock { state in
          if let failure = state.failure { return .failure(failure) }
          if state.outbound.count + state.unsent <= unsentBytesMax { return .success(()) }
          if Task.isCancelled { return .failure(CancellationError()) }
          state.writers.append(continuation)
          return nil
        }
        if let answer { continuation.resume(with: answer) }
      }
    } onCancel: {
      let writers = state.withLock { state in
        defer { state.writers = [] }
        return state.writers
      }
      for writer in writers { writer.resume(throwing: CancellationError()) }
    }
  }

  /// No more messages will be sent.
  func finishSending() {
    let schedule = state.withLock { state in
      if state.outboundEnded || state.failure != nil { return false }
      state.outboundEnded = true
      defer { state.outputScheduled = true }
      return !state.outputScheduled
    }
    if schedule { onLoop { $0.owner.pipeHasOutput($0) } }
  }

  private func onLoop(_ work: @escaping @Sendable (MessagePipe) -> Void) {
    if driver.isOnLoop {
      work(self)
    } else {
      driver.execute { work(self) }
    }
  }

  // MARK: - The connection's side, on its loop

  /// Takes what waits to be sent; the bytes count as unsent until `outputTaken`.
  func takeOutput(_ body: (UnsafeRawBufferPointer) -> Void) -> (ended: Bool, bytes: Int) {
    let (bytes, ended): ([UInt8], Bool) = state.withLock { state in
      let bytes = state.outbound
      state.outbound = []
      state.unsent += bytes.count
      state.outputScheduled = false
      return (bytes, state.outboundEnded)
    }
    bytes.withUnsafeBytes(body)
    return (ended, bytes.count)
  }

  /// Everything that was taken is on its way.
  func outputTaken() {
    let writers: [CheckedContinuation<Void, any Error>] = state.withLock { state in
      state.unsent = 0
      guard state.outbound.count <= unsentBytesMax else { return [] }
      defer { state.writers = [] }
      return state.writers
    }
    for writer in writers { writer.resume() }
  }

  /// A whole message has come. `cost`: its part of the window.
  func deliver(_ message: [UInt8], cost: Int) {
    let (reader, schedule): (CheckedContinuation<[UInt8]?, any Error>?, Bool) = state.withLock {
      state in
      guard let reader = state.reader else {
        state.inbound.append(message)
        state.inboundCosts.append(cost)
        return (nil, false)
      }
      state.reader = nil
      state.consumed += cost
      let schedule = !state.consumeScheduled && state.consumed > 0
      if schedule { state.consumeScheduled = true }
      return (reader, schedule)
    }
    if schedule { scheduleConsume() }
    reader?.resume(returning: message)
  }

  /// The peer has ended its side.
  func deliverEnd() {
    let reader = state.withLock { state in
      state.inboundEnded = true
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume(returning: nil)
  }

  /// The call is over: readers get what has come and then the error, writers the error.
  func fail(_ error: RPCError) {
    let (reader, writers): (CheckedContinuation<[UInt8]?, any Error>?, [CheckedContinuation<Void, any Error>]) =
      state.withLock { state in
        if state.failure == nil { state.failure = error }
        state.outbound = []
        defer {
          state.reader = nil
          state.writers = []
        }
        return (state.reader, state.writers)
      }
    reader?.resume(throwing: error)
    for writer in writers { writer.resume(throwing: error) }
  }
}
