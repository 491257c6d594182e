internal import Synchronization

/// A task that may be cancelled before it has been stored.
struct TaskBox: ~Copyable, Sendable {
  private struct State {
    var task: Task<Void, Never>?
    var cancelled = false
  }

  private let state = Mutex(State())

  /// Starts at once, on the caller's thread, until the first suspension: no hop for handlers that do not wait.
  func start(on executor: any TaskExecutor, _ body: @escaping @Sendable () async -> Void) {
    let task = Task.immediate(executorPreference: executor, operation: body)
    let cancelled = state.withLock { state in
      state.task = task
      return state.cancelled
    }
    if cancelled { task.cancel() }
  }

  /// Starts on the global pool: for work that would hold an event loop up.
  func startElsewhere(_ body: @escaping @Sendable () async -> Void) {
    let task = Task.detached(operation: body)
    let cancelled = state.withLock { state in
      state.task = task
      return state.cancelled
    }
    if cancelled { task.cancel() }
  }

  func cancel() {
    let task = state.withLock { state in
      state.cancelled = true
      return state.task
    }
    task?.cancel()
  }
}
