import Dispatch
package import RPC
import Synchronization

/// The threads that queries run on: few, so that they leave room for calls and for the log; the others wait their turn. Apps
/// take turns: one that asks much waits for itself, not the others for it.
package final class QueryPool: Sendable {
  fileprivate typealias Work = @Sendable () -> Void

  fileprivate struct State {
    var running: [String: Int] = [:]
    var runningCount = 0
    /// By app, the oldest first; none is empty.
    var waiting: [String: [Work]] = [:]
    var waitingCount = 0
    /// When the app's last query began, as a count of all; of apps that run or wait.
    var lastBegin: [String: UInt64] = [:]
    var begun: UInt64 = 0
  }

  private let threads: Int
  private let waitingMax: Int
  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "footfall.query", attributes: .concurrent)

  package init(threads: Int, waitingMax: Int) {
    precondition(threads > 0 && waitingMax >= 0)
    self.threads = threads
    self.waitingMax = waitingMax
  }

  package var runningCount: Int { state.withLock { $0.runningCount } }
  package var waitingCount: Int { state.withLock { $0.waitingCount } }

  /// Runs a query on one of the threads. Cancelling the task ends it early.
  ///
  /// - Parameter app: whose turn it takes.
  /// - Throws: RESOURCE_EXHAUSTED where too many wait already, or what the query threw.
  package func run<Answer: Sendable>(
    _ control: QueryControl, app: String = "", _ query: @escaping @Sendable () throws -> Answer
  ) async throws -> Answer {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let accepted = submit(app) {
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

  private func submit(_ app: String, _ work: @escaping Work) -> Bool {
    let (starts, accepted) = state.withLock { state in
      if state.runningCount < threads {
        state.begin(app)
        return (true, true)
      }
      // An app that waits with nothing may wait with one, however many others do.
      guard state.waitingCount < waitingMax || (waitingMax > 0 && state.waiting[app] == nil) else {
        return (false, false)
      }
      state.waiting[app, default: []].append(work)
      state.waitingCount += 1
      return (false, true)
    }
    if starts { queue.async { self.run(work, of: app) } }
    return accepted
  }

  private func run(_ first: @escaping Work, of app: String) {
    var next: (app: String, work: Work)? = (app, first)
    while let current = next {
      current.work()
      next = state.withLock { state in
        state.end(current.app)
        return state.takeNext()
      }
    }
  }
}

extension QueryPool.State {
  fileprivate mutating func begin(_ app: String) {
    running[app, default: 0] += 1
    runningCount += 1
    begun += 1
    lastBegin[app] = begun
  }

  fileprivate mutating func end(_ app: String) {
    runningCount -= 1
    running[app, default: 1] -= 1
    guard running[app] == 0 else { return }
    running[app] = nil
    if waiting[app] == nil { lastBegin[app] = nil }
  }

  /// Of the app that runs the fewest queries, and of those the one whose last began longest ago. Cost: linear in the apps
  /// that wait.
  fileprivate mutating func takeNext() -> (app: String, work: @Sendable () -> Void)? {
    let order = waiting.keys.map { (running[$0] ?? 0, lastBegin[$0] ?? 0, $0) }
    guard let app = order.min(by: <)?.2, let work = waiting[app]?.removeFirst() else { return nil }
    if waiting[app]?.isEmpty == true { waiting[app] = nil }
    waitingCount -= 1
    begin(app)
    return (app, work)
  }
}
