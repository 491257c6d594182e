import Dispatch
import RPC
import Synchronization

/// The threads that queries run on: few, so that they leave room for calls and for the log; the others wait their turn.
final class QueryPool: Sendable {
  private struct State {
    var running = 0
    var waiting: [@Sendable () -> Void] = []
  }

  private let threads: Int
  private let waitingMax: Int
  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "footfall.query", attributes: .concurrent)

  init(threads: Int, waitingMax: Int) {
    precondition(threads > 0 && waitingMax >= 0)
    self.threads = threads
    self.waitingMax = waitingMax
  }

  /// Runs a query on one of the threads. Cancelling the task ends it early.
  ///
  /// - Throws: RESOURCE_EXHAUSTED where too many wait already, or what the query threw.
  func run<Answer: Sendable>(
    _ control: QueryControl, _ query: @escaping @Sendable () throws -> Answer
  ) async throws -> Answer {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let accepted = submit {
          continuation.resume(
            with: Result {
              try control.check()
              return try query()
            })
        }
        if !accepted {
          continuation.resume(
            throwing: QueryError(
              .resourceExhausted,
              "\(waitingMax) queries wait already: ask again later"))
        }
      }
    } onCancel: {
      control.cancel()
    }
  }

  private func submit(_ work: @escaping @Sendable () -> Void) -> Bool {
    let (starts, accepted) = state.withLock { state in
      if state.running < threads {
        state.running += 1
        return (true, true)
      }
      guard state.waiting.count < waitingMax else { return (false, false) }
      state.waiting.append(work)
      return (false, true)
    }
    if starts { queue.async { self.work(work) } }
    return accepted
  }

  private func work(_ first: @escaping @Sendable () -> Void) {
    var next: (@Sendable () -> Void)? = first
    while let current = next {
      current()
      next = state.withLock { state in
        if state.waiting.isEmpty {
          state.running -= 1
          return nil
        }
        return state.waiting.removeFirst()
      }
    }
  }
}
