import Synchronization

/// The log's durable end, and who waits for it to move.
final class LogHead: Sendable {
  private struct State {
    var head: UInt64
    var nextWaiter = 0
    var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
  }

  private let state: Mutex<State>

  init(_ head: UInt64) { state = Mutex(State(head: head)) }

  var value: UInt64 { state.withLock { $0.head } }

  /// The log is durable up to here.
  func advance(to head: UInt64) {
    let waiters = state.withLock { state in
      precondition(head >= state.head, "the log never shrinks")
      guard head > state.head else { return [CheckedContinuation<Void, Never>]() }
      state.head = head
      return Self.takeAll(&state)
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Wakes all who wait, so that they look at the clock.
  func tick() {
    for waiter in state.withLock({ Self.takeAll(&$0) }) { waiter.resume() }
  }

  /// Returns once the log's end lies beyond the offset, on a tick, or when the task is cancelled.
  func wait(beyond offset: UInt64) async {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if state.head > offset || Task.isCancelled { return true }
          state.waiters[id] = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
    }
  }

  private static func takeAll(_ state: inout State) -> [CheckedContinuation<Void, Never>] {
    defer { state.waiters = [:] }
    return Array(state.waiters.values)
  }
}
