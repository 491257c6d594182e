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
    /// That it was the first to read, without the operators that it runs.
    var bytes = 0
  }

  /// What is kept of a day by itself: its columns, or what is known of it without its events.
  private struct Part: Hashable {
    let day: Int32
    let isFacts: Bool
  }

  private struct PartReading {
    var rows = 0
    var bytes = 0
    var isCached = true
  }

  /// What was read, each day once, however often an operator asks for it.
  struct Reading: Sendable {
    private var parts: [Part: PartReading] = [:]
    fileprivate(set) var columns: Set<String> = []

    var days: Set<Int32> { Set(parts.keys.map(\.day)) }
    /// Of which nothing had to be read.
    var cachedDays: Set<Int32> { days.subtracting(parts.filter { !$1.isCached }.map(\.key.day)) }
    var rows: Int { parts.values.reduce(0) { $0 + $1.rows } }
    var bytes: Int { parts.values.reduce(0) { $0 + $1.bytes } }

    /// - Returns: how many of the bytes nobody had read before.
    fileprivate mutating func add(
      day: Int32, isFacts: Bool, rows: Int, bytes: Int, cached: Bool
    ) -> Int {
      let part = Part(day: day, isFacts: isFacts)
      var reading = parts[part] ?? PartReading()
      let more = max(0, bytes - reading.bytes)
      reading.rows = max(reading.rows, rows)
      reading.bytes += more
      reading.isCached = reading.isCached && cached
      parts[part] = reading
      return more
    }
  }

  private struct State {
    var operations: [Operation] = []
    /// Numbers of those that run, each within the one before.
    var running: [Int] = []
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
          name: "\(name)", detail: detail, depth: state.running.count, rows: rows, begin: .now))
      state.running.append(state.operations.count - 1)
      return state.operations.count - 1
    }
  }

  func end(_ number: Int) {
    state.withLock { state in
      state.operations[number].duration = .now - state.operations[number].begin
      state.running.removeAll { $0 == number }
    }
  }

  /// Notes that a day's columns were read.
  ///
  /// - Parameter bytes: of its decoded columns.
  func read(day: Int32, rows: Int, bytes: Int, columns: some Sequence<String>, cached: Bool) {
    note(day, isFacts: false, rows: rows, bytes: bytes, columns, cached)
  }

  /// Notes that a day was answered for without its events.
  func read(facts: DayFacts, ofDay day: Int32, cached: Bool) {
    note(
      day, isFacts: true, rows: 0, bytes: facts.byteCount, ["active users", "flag counts"], cached)
  }

  private func note(
    _ day: Int32, isFacts: Bool, rows: Int, bytes: Int, _ columns: some Sequence<String>,
    _ cached: Bool
  ) {
    state.withLock { state in
      state.reading.columns.formUnion(columns)
      let more = state.reading.add(
        day: day, isFacts: isFacts, rows: rows, bytes: bytes, cached: cached)
      if let innermost = state.running.last { state.operations[innermost].bytes += more }
    }
  }
}
