internal import RPC
internal import Synchronization

/// A streaming call of a channel. What it sends is kept until the server has answered, so that the call can be repeated where that is
/// allowed; from then on it is its one attempt and nothing more.
final class ChannelStream: ClientStream {
  private struct State {
    var attempt: ClientCall
    var kept: [Kept] = []
    var keptBytes = 0
    var isFinished = false
    /// There will be no other attempt: an answer has come, or more was sent than is kept.
    var isCommitted = false
    var isOver = false
    var retry: RetryMachine
    /// One for all who found the attempt failed.
    var recovery: Task<Void, any Error>?
  }

  private struct Kept {
    let message: [UInt8]
    let compress: Bool?
  }

  private let channel: Channel
  private let request: ClientCall.Request
  private let options: CallOptions
  private let intercepted: InterceptedCall?
  private let state: Mutex<State>

  init(
    _ channel: Channel, _ request: ClientCall.Request, _ options: CallOptions,
    _ first: ClientCall, _ intercepted: InterceptedCall?
  ) {
    self.channel = channel
    self.request = request
    self.options = options
    self.intercepted = intercepted
    state = Mutex(
      State(attempt: first, retry: RetryMachine(channel.configuration.retry, request.method)))
  }

  deinit {
    let (attempt, isOver) = state.withLock { ($0.attempt, $0.isOver) }
    if isOver { return }
    // Nobody can read its end any more.
    attempt.cancel()
    over(RPCError(.cancelled, "the call was let go"))
  }

  func next() async throws -> [UInt8]? {
    while true {
      let attempt = state.withLock { $0.attempt }
      do {
        let message = try await attempt.next()
        message == nil ? over(nil) : commit()
        return message
      } catch {
        try await recover(attempt, Channel.rpcError(error))
      }
    }
  }

  func send(_ message: [UInt8]) async throws { try await send(message, compress: nil) }

  func send(_ message: [UInt8], compress: Bool?) async throws {
    let (attempt, isKept) = state.withLock { state in
      (state.attempt, keep(Kept(message: message, compress: compress), &state))
    }
    do {
      try await attempt.send(message, compress: compress)
    } catch {
      let error = Channel.rpcError(error)
      // A message that is not kept is not repeated; the call's end is for its reader to find.
      guard isKept else { throw numbered(error) }
      try await recover(attempt, error)
    }
  }

  func finishSending() async throws {
    let attempt = state.withLock { state in
      state.isFinished = true
      return state.attempt
    }
    attempt.endRequests()
  }

  func cancel() {
    let (attempt, recovery) = state.withLock { ($0.attempt, $0.recovery) }
    recovery?.cancel()
    attempt.cancel()
    over(RPCError(.cancelled, "the call was cancelled"))
  }

  // MARK: - Keeping

  private func keep(_ message: Kept, _ state: inout State) -> Bool {
    if state.isCommitted { return false }
    let bytes = state.keptBytes + message.message.count
    if state.attempt.hasAnswer || bytes > channel.configuration.limits.retryBytesMax {
      Self.commit(&state)
      return false
    }
    state.keptBytes = bytes
    state.kept.append(message)
    return true
  }

  private func commit() {
    state.withLock { if !$0.isCommitted { Self.commit(&$0) } }
  }

  private static func commit(_ state: inout State) {
    state.isCommitted = true
    state.kept = []
    state.keptBytes = 0
  }

  // MARK: - Repeating

  /// Returns when there is another attempt in place of one that failed.
  ///
  /// - Throws: the failure, where there is to be none.
  private func recover(_ attempt: ClientCall, _ error: RPCError) async throws {
    let recovery: Task<Void, any Error>? = state.withLock { state in
      // Somebody else has seen it fail, and there is another by now.
      if state.attempt !== attempt { return nil }
      if let recovery = state.recovery { return recovery }
      let isCommitted = state.isCommitted || state.isOver
      let recovery = Task { try await self.repeatCall(attempt, error, isCommitted) }
      state.recovery = recovery
      return recovery
    }
    guard let recovery else { return }
    do {
      try await withTaskCancellationHandler {
        try await recovery.value
      } onCancel: {
        cancel()
      }
    } catch {
      let failure = numbered(Channel.rpcError(error))
      over(failure)
      throw failure
    }
  }

  private func repeatCall(
    _ failed: ClientCall, _ error: RPCError, _ isCommitted: Bool
  ) async throws {
    var retry = state.withLock { $0.retry }
    let failure = Channel.AttemptFailure(error: error, call: failed, isCommitted: isCommitted)
    try await channel.wait(after: failure, &retry, request.deadline)
    let next = try await channel.begin(request, options, previousAttempts: retry.attempts - 1)
    try state.withLock { state in
      if state.isOver { throw RPCError(.cancelled, "the call was cancelled") }
      for kept in state.kept { try next.queue(kept.message, compress: kept.compress) }
      if state.isFinished { next.endRequests() }
      state.retry = retry
      state.recovery = nil
      state.attempt = next
    }
    next.start()
  }

  private func numbered(_ error: RPCError) -> RPCError {
    var error = error
    error.attempts = state.withLock { $0.retry.attempts }
    return error
  }

  /// Tells the call's end, once.
  private func over(_ error: RPCError?) {
    let attempts: Int? = state.withLock { state in
      if state.isOver { return nil }
      state.isOver = true
      Self.commit(&state)
      return state.retry.attempts
    }
    if let attempts { channel.ended(error, attempts, intercepted) }
  }
}
