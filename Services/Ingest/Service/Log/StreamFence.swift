import Synchronization

/// Ends one stream when another takes its name: one waits, one raises it.
final class StreamFence: Sendable {
  private enum State {
    case down
    case awaited(CheckedContinuation<Void, Never>)
    /// Raised, or nobody waits any more.
    case over
  }

  private let state = Mutex(State.down)

  init() {}

  /// The stream must end. Once is enough.
  func raise() {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      defer { state = .over }
      guard case .awaited(let continuation) = state else { return nil }
      return continuation
    }
    waiter?.resume()
  }

  /// Returns once it is raised, or the task is cancelled. One caller only.
  func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if case .over = state { return true }
          state = .awaited(continuation)
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      raise()
    }
  }
}
