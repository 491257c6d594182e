internal import NIOCore
internal import RPC
internal import Synchronization

/// Calls that wait for a connection.
extension Channel {
  /// - Throws: `RPCError`: UNAVAILABLE where there is no connection and the call does not wait for one; DEADLINE_EXCEEDED;
  ///   CANCELLED; RESOURCE_EXHAUSTED where too many wait.
  func connection(waitForReady: Bool, deadline: Deadline?) async throws -> ClientConnection {
    if let connection = state.withLock({ $0.balancer.readyConnection() }) { return connection }
    return try await waitForConnection(waitForReady, deadline)
  }

  private func waitForConnection(
    _ waitForReady: Bool, _ deadline: Deadline?
  ) async throws -> ClientConnection {
    let (pick, actions) = change {
      $0.pick(waitForReady: waitForReady, now: MonotonicClock.now)
    }
    perform(actions)
    if !actions.isEmpty { settle() }
    switch pick {
    case .connection(let connection): return connection
    case .fail(let error): throw error
    case .wait: break
    }
    let number = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        park(continuation, number, waitForReady, deadline)
      }
    } onCancel: {
      giveUp(number, RPCError(.cancelled, "the call was cancelled", delivery: .notSent))
    }
  }

  private func park(
    _ continuation: CheckedContinuation<ClientConnection, any Error>, _ number: Int,
    _ waitForReady: Bool, _ deadline: Deadline?
  ) {
    let timer = deadline.map { deadline in
      resources.loop.scheduleTask(
        in: .nanoseconds(max(0, deadline.nanoseconds - MonotonicClock.now))
      ) { [weak self] in self?.lateWaiter(number) ?? () }
    }
    let refusal: RPCError? = state.withLock { state in
      if Task.isCancelled {
        return RPCError(.cancelled, "the call was cancelled", delivery: .notSent)
      }
      if state.waiters.count >= configuration.waitingCallsMax {
        return RPCError(
          .resourceExhausted,
          "calls that wait for a connection: at most \(configuration.waitingCallsMax)",
          delivery: .notSent)
      }
      state.waiters[number] = Waiter(
        continuation: continuation, waitForReady: waitForReady, deadline: timer)
      return nil
    }
    guard let refusal else {
      // The state may have changed since it was asked.
      return settle()
    }
    timer?.cancel()
    continuation.resume(throwing: refusal)
  }

  private func lateWaiter(_ number: Int) {
    let error = state.withLock { $0.balancer.lastError }
    giveUp(
      number,
      RPCError(
        .deadlineExceeded, "no connection within the deadline; the last failure: \(error.message)",
        delivery: .notSent, cause: error.cause))
  }

  private func giveUp(_ number: Int, _ error: RPCError) {
    guard let waiter = state.withLock({ $0.waiters.removeValue(forKey: number) }) else { return }
    waiter.deadline?.cancel()
    waiter.continuation.resume(throwing: error)
  }

  /// Gives those who wait what the state has for them now, in their order.
  func settle() {
    var served: [(Waiter, Result<ClientConnection, any Error>)] = []
    state.withLock { serve(&$0, &served) }
    for (waiter, result) in served {
      waiter.deadline?.cancel()
      waiter.continuation.resume(with: result)
    }
    reconnectForWaiters()
  }

  private func serve(
    _ state: inout State, _ served: inout [(Waiter, Result<ClientConnection, any Error>)]
  ) {
    guard !state.waiters.isEmpty, state.balancer.state != .connecting, state.balancer.state != .idle
    else { return }
    for number in state.waiters.keys.sorted() {
      guard let waiter = state.waiters[number] else { continue }
      switch state.balancer.pick(waitForReady: waiter.waitForReady, now: 0).0 {
      case .wait: continue
      case .connection(let connection): served.append((waiter, .success(connection)))
      case .fail(let error): served.append((waiter, .failure(error)))
      }
      state.waiters[number] = nil
    }
  }

  /// A channel that became idle while calls wait goes on for them.
  private func reconnectForWaiters() {
    guard state.withLock({ !$0.waiters.isEmpty }) else { return }
    let actions = change { $0.exitIdle(MonotonicClock.now) }
    if !actions.isEmpty {
      perform(actions)
      settle()
    }
  }
}
