import Synchronization

/// What one query did, for `Explain`. Operators nest by the calls that run them.
package final class QueryProfile: Sendable {
  struct Operation: Sendable {
    let name: String
    let detail: String
    let depth: Int
    let rows: Int
    let begin: ContinuousClock.Instant
    var duration: Duration = .zero
  }

  struct Reading: Sendable {
    var days: Set<Int32> = []
    var cachedDays: Set<Int32> = []
    var columns: Set<String> = []
    var rows = 0
    var bytes = 0
  }

  private struct State {
    var operations: [Operation] = []
    var depth = 0
    var reading = Reading()
  }

  private let state = Mutex(State())

  package init() {}

  var operations: [Operation] { state.withLock { $0.operations } }
  var reading: Reading { state.withLock { $0.reading } }

  func begin(_ name: StaticString, _ detail: String, rows: Int) -> Int {
    state.withLock { state in
      state.operations.append(
        Operation(
          name: "\(name)", detail: detail, depth: state.depth, rows: rows, begin: .now))
      state.depth += 1
      return state.operations.count - 1
    }
  }

  func end(_ number: Int) {
    state.withLock { state in
      state.operations[number].duration = .now - state.operations[number].begin
      state.depth -= 1
    }
  }

  /// Notes that a day was read.
  ///
  /// - Parameter bytes: of its decoded columns.
  func read(day: Int32, rows: Int, bytes: Int, columns: some Sequence<String>, cached: Bool) {
    state.withLock { state in
      state.reading.days.insert(day)
      if cached { state.reading.cachedDays.insert(day) }
      state.reading.columns.formUnion(columns)
      state.reading.rows += rows
      state.reading.bytes += bytes
    }
  }
}
