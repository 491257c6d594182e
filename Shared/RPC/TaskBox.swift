internal import Synchronization

/// A task that may be cancelled before it has been stored.
struct TaskBox: ~Copyable, Sendable {
  struct State {
    var task: Task<Void, Never>?
    var cancelled = false
  }

  private let state = Mutex(State())

  /// Keeps a task that may have run already, in part or in whole.
  func keep(_ task: Task<Void, Never>) {
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
