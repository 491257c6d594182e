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
  /// A message that has come. Packed ones are unpacked by whoever reads them, one at a time: the window bounds what waits by
  /// its size on the wire, and a queue of unpacked ones could be a thousand times that.
  private struct Inbound: Sendable {
    var bytes: [UInt8]
    var isPacked: Bool
  }

  private struct State {
    var inbound: [Inbound] = []
    var inboundHead = 0
    var inboundCosts: [Int] = []
    var inboundEnded = false
    /// Set once: the call is over for the reader (after the queue) and the writer.
    var failure: RPCError?
    var reader: CheckedContinuation<Inbound?, any Error>?

    var outbound: [UInt8] = []
    /// Bytes given to the connection and not yet taken by the wire.
    var unsent = 0
    var outputScheduled = false
    var outboundEnded = false
    var writers: [CheckedContinuation<Void, any Error>] = []
    /// Whether the headers name the encoding; settled by the first message, because they leave with it.
    var namesEncoding: Bool?
    /// Bytes of the largest message either way.
    var largest = 0

    /// Bytes of read messages that the peer's window has not been given back for.
    var consumed = 0
    var consumeScheduled = false
  }

  private let state = Mutex(State())
  private let driver: any ConnectionDriver
  private let owner: any PipeOwner
  private let unsentBytesMax: Int
  private let inboundLimit: UnpackLimit
  let outboundCoding: OutboundCoding
  private let lastPacked = Atomic<Bool>(false)
  /// The stream, from its beginning until it is closed.
  // nonisolated(unsafe): touched on the event loop only.
  nonisolated(unsafe) var stream: StreamPointer?
  /// Whether more messages of the same read are about to be delivered: the reader is resumed once, behind the last.
  // nonisolated(unsafe): touched on the event loop only.
  nonisolated(unsafe) private var isBatching = false
  /// Whether the loop is resuming the handler: what that reads and sends is moved once, when it can go no further.
  // nonisolated(unsafe): touched on the event loop only.
  nonisolated(unsafe) private var isResuming = false
  /// Bytes of the message that has come in part whose window was given back already.
  // nonisolated(unsafe): touched on the event loop only.
  nonisolated(unsafe) private var opened = 0

  /// - Parameters:
  ///   - inbound: what one received message may unpack to.
  ///   - coding: how messages are sent. Where it never packs unasked, the first message tells whether the encoding is used.
  init(
    driver: any ConnectionDriver, owner: any PipeOwner, stream: StreamPointer?,
    unsentBytesMax: Int, inbound: UnpackLimit,
    coding: OutboundCoding = OutboundCoding()
  ) {
    inboundLimit = inbound
    outboundCoding = coding
    self.driver = driver
    self.owner = owner
    self.unsentBytesMax = unsentBytesMax
    self.stream = stream
  }

  // MARK: - The handler's side

  var lastWasCompressed: Bool { lastPacked.load(ordering: .relaxed) }

  func ready() throws -> ReadyMessage {
    switch step(takesPacked: false) {
    case .done(let message, let schedule):
      if schedule { scheduleConsume() }
      guard let message else { return .end }
      lastPacked.store(false, ordering: .relaxed)
      return .message(message.bytes)
    case .failed(let error): throw error
    case .wait: return .nothing
    }
  }

  func next() async throws -> [UInt8]? {
    guard let message = try await nextInbound() else { return nil }
    lastPacked.store(message.isPacked, ordering: .relaxed)
    guard message.isPacked else { return message.bytes }
    do {
      return try await unpacked(message)
    } catch let error as RPCError {
      state.withLock { if $0.failure == nil { $0.failure = error } }
      throw error
    }
  }

  /// On the spot what is small once unpacked; the rest where it holds no loop up.
  private func unpacked(_ message: Inbound) async throws -> [UInt8] {
    let small = inboundLimit.atMost(Self.unpackedHereBytesMax)
    do throws(RPCError) {
      return try Self.unpack(message, limit: small)
    } catch {
      guard error.code == .resourceExhausted, small.bytes < inboundLimit.bytes else { throw error }
    }
    let limit = inboundLimit
    let task = Task.detached(executorPreference: driver.backgroundExecutor) {
      try Task.checkCancellation()
      return try Self.unpack(message, limit: limit)
    }
    return try await withTaskCancellationHandler {
      try await task.value
    } onCancel: {
      task.cancel()
    }
  }

  private static let unpackedHereBytesMax = 64 * 1024

  private static func unpack(_ message: Inbound, limit: UnpackLimit) throws(RPCError) -> [UInt8] {
    let result = message.bytes.withUnsafeBytes { packed in
      Result { () throws(RPCError) in try MessageFraming.unpack(packed, limit: limit) }
    }
    return try result.get()
  }

  private enum Step {
    case done(Inbound?, scheduleConsume: Bool)
    case failed(RPCError)
    case wait
  }

  /// Takes what has come; nil: the end.
  private func step(takesPacked: Bool = true) -> Step {
    state.withLock { state in
      if state.inboundHead < state.inbound.count {
        if !takesPacked, state.inbound[state.inboundHead].isPacked { return .wait }
        let (message, schedule) = Self.take(&state)
        return .done(message, scheduleConsume: schedule)
      }
      if let failure = state.failure { return .failed(failure) }
      return state.inboundEnded ? .done(nil, scheduleConsume: false) : .wait
    }
  }

  private func nextInbound() async throws -> Inbound? {
    switch step() {
    case .done(let message, let schedule):
      if schedule { scheduleConsume() }
      return message
    case .failed(let error): throw error
    case .wait: return try await waitForMessage()
    }
  }

  private func waitForMessage() async throws -> Inbound? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<Inbound?, any Error>) in
        enum Answer {
          case value(Inbound?, Bool)
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

  private static func take(_ state: inout State) -> (Inbound, scheduleConsume: Bool) {
    let message = state.inbound[state.inboundHead]
    state.consumed += state.inboundCosts[state.inboundHead]
    state.inbound[state.inboundHead].bytes = []
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
      if bytes > 0 { pipe.owner.pipeHasConsumed(pipe, bytes: bytes) }
    }
  }

  func offer(_ message: [UInt8], compress: Bool?) throws -> Offer {
    try enqueue(message, compress: compress) ? .full : .taken
  }

  func send(_ message: [UInt8]) async throws { try await send(message, compress: nil) }

  func send(_ message: [UInt8], compress: Bool?) async throws {
    if try enqueue(message, compress: compress) { try await waitForRoom() }
  }

  /// Queues a message; true: there is more than the bound now, the sender should wait.
  ///
  /// - Parameter compress: whether to pack it, if the peer takes that; nil: as the call's coding says.
  /// - Throws: RESOURCE_EXHAUSTED where it is too large; the call's failure.
  func enqueue(_ message: [UInt8], compress: Bool? = nil) throws -> Bool {
    try outboundCoding.check(message.count)
    let packs = settleEncoding(outboundCoding.packs(message.count, wish: compress))
    return try enqueue(outboundCoding.encode(message, wish: packs), size: message.count)
  }

  /// Whether a message that should be packed may be: not if the headers have gone without naming the encoding.
  private func settleEncoding(_ packs: Bool) -> Bool {
    if outboundCoding.encoding == .identity { return false }
    return state.withLock { state in
      let names = state.namesEncoding ?? (packs || outboundCoding.fromBytes != Int.max)
      state.namesEncoding = names
      return names && packs
    }
  }

  /// Bytes of the largest message so far, either way.
  var largestMessage: Int { state.withLock { $0.largest } }

  /// Whether `grpc-encoding` has to name the encoding. Known once the first message is queued.
  var namesEncoding: Bool { state.withLock { $0.namesEncoding ?? false } }

  private func enqueue(_ message: EncodedMessage, size: Int) throws -> Bool {
    let (schedule, wait): (Bool, Bool) = try state.withLock { state in
      if let failure = state.failure { throw failure }
      precondition(!state.outboundEnded, "a message was sent after the end")
      MessageFraming.append(message.bytes, packed: message.isPacked, to: &state.outbound)
      state.largest = max(state.largest, size)
      let schedule = !state.outputScheduled
      state.outputScheduled = true
      return (schedule, state.outbound.count + state.unsent > unsentBytesMax)
    }
    if schedule { onLoop { $0.owner.pipeHasOutput($0) } }
    return wait
  }

  func waitForRoom() async throws {
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
      // `resuming` does it later, for all messages at once.
      if !isResuming { work(self) }
    } else {
      driver.execute { work(self) }
    }
  }

  // MARK: - The connection's side, on its loop

  /// Resumes a handler and then moves all that it has read and sent in one go.
  private func resuming(_ resume: () -> Void) {
    guard !isResuming else { return resume() }
    isResuming = true
    resume()
    isResuming = false
    let (consumes, sends) = state.withLock { ($0.consumeScheduled, $0.outputScheduled) }
    if consumes { scheduleConsume() }
    if sends { owner.pipeHasOutput(self) }
  }

  /// More than one message may follow: the reader waits for `endBatch`, so that a turn costs one hop and not one for each.
  func beginBatch() { isBatching = true }

  /// Resumes the reader with what was delivered.
  func endBatch() {
    isBatching = false
    let (reader, message): (CheckedContinuation<Inbound?, any Error>?, Inbound?) = state.withLock {
      state in
      guard let reader = state.reader, state.inboundHead < state.inbound.count else { return (nil, nil) }
      state.reader = nil
      // The consumption that it may schedule is seen by `resuming`.
      return (reader, Self.take(&state).0)
    }
    if let reader { resuming { reader.resume(returning: message) } }
  }

  /// Takes what waits to be sent; the bytes count as unsent until `outputTaken`. `body` runs under the lock.
  func takeOutput(_ body: (UnsafeRawBufferPointer) -> Void) -> (ended: Bool, bytes: Int) {
    state.withLock { state in
      let count = state.outbound.count
      state.outbound.withUnsafeBytes(body)
      state.outbound.removeAll(keepingCapacity: count <= Self.keptOutputBytesMax)
      state.unsent += count
      state.outputScheduled = false
      return (state.outboundEnded, count)
    }
  }

  /// A larger buffer goes back to the allocator once it is sent.
  private static let keptOutputBytesMax = 32 * 1024

  /// Everything that was taken is on its way.
  func outputTaken() {
    let writers: [CheckedContinuation<Void, any Error>] = state.withLock { state in
      state.unsent = 0
      guard state.outbound.count <= unsentBytesMax else { return [] }
      defer { state.writers = [] }
      return state.writers
    }
    guard !writers.isEmpty else { return }
    resuming { for writer in writers { writer.resume() } }
  }

  /// A message has come in part, so many bytes of it so far: the bytes whose window is to be given back now, for else one that is
  /// larger than the window would never come. None while messages before it have not been read: they fill the window.
  func open(waiting: Int) -> Int {
    let isRead = state.withLock { $0.inboundHead == $0.inbound.count }
    guard isRead, waiting > opened else { return 0 }
    defer { opened = waiting }
    return waiting - opened
  }

  /// A whole message has come. `size`: its bytes on the wire.
  func deliver(_ message: [UInt8], size: Int, packed: Bool = false) {
    let message = Inbound(bytes: message, isPacked: packed)
    let given = min(opened, size)
    opened -= given
    let cost = size - given
    let (reader, schedule): (CheckedContinuation<Inbound?, any Error>?, Bool) = state.withLock {
      state in
      state.largest = max(state.largest, message.bytes.count)
      guard !isBatching, let reader = state.reader else {
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
    let reader: CheckedContinuation<Inbound?, any Error>? = state.withLock { state in
      state.inboundEnded = true
      // In a batch its messages come first.
      guard state.inboundHead == state.inbound.count else { return nil }
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume(returning: nil)
  }

  /// The call is over: readers get what has come and then the error, writers the error.
  func fail(_ error: RPCError) {
    let (reader, writers): (CheckedContinuation<Inbound?, any Error>?, [CheckedContinuation<Void, any Error>]) =
      state.withLock { state in
        if state.failure == nil { state.failure = error }
        state.outbound = []
        // In a batch its messages come first.
        let waits = state.inboundHead == state.inbound.count
        defer {
          if waits { state.reader = nil }
          state.writers = []
        }
        return (waits ? state.reader : nil, state.writers)
      }
    reader?.resume(throwing: error)
    for writer in writers { writer.resume(throwing: error) }
  }
}
