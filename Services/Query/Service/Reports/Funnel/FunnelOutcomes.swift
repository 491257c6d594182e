/// How far some users came; or opens, or entries, where those are counted.
struct FunnelOutcomes: Sendable {
  /// Stands for the time of a step that a chain leaves out.
  static let skipped = Int64.min

  /// By unit: the furthest step, from 1.
  private(set) var reached: [UInt8] = []
  private(set) var users: [UInt32] = []
  /// Number of the breakdown's value; 0 without a breakdown.
  private(set) var values: [Int32] = []
  /// Of each unit that came further than step 1: the times of its steps along the first chain that reaches furthest.
  private(set) var times: [Int64] = []

  init() {}

  /// Of consecutive users, those who reached any step.
  ///
  /// - Parameter times: by user, so many of them as `width`, those of the steps from `first` on.
  init(
    firstUser: UInt32, reached all: [UInt8], values allValues: [Int32], times allTimes: [Int64],
    first begin: Int, width: Int
  ) {
    let count = all.count { $0 > 0 }
    reached.reserveCapacity(count)
    users.reserveCapacity(count)
    values.reserveCapacity(count)
    times.reserveCapacity(all.reduce(0) { $0 + ($1 > 1 ? Int($1) : 0) })
    allTimes.withUnsafeBufferPointer { allTimes in
      for (index, furthest) in all.enumerated() where furthest > 0 {
        reached.append(furthest)
        users.append(firstUser + UInt32(index))
        values.append(allValues[index])
        if furthest == 1 { continue }
        let first = index * width + begin
        for step in first..<first + Int(furthest) { times.append(allTimes[step]) }
      }
    }
  }

  var count: Int { reached.count }

  var byteCount: Int { reached.count * 9 + times.count * 8 }

  /// - Parameter times: of all steps up to the furthest; `skipped` for one left out.
  mutating func append(user: UInt32, value: Int32, times own: some Collection<Int64>) {
    precondition(!own.isEmpty, "a unit has done step 1")
    reached.append(UInt8(own.count))
    users.append(user)
    values.append(value)
    if own.count > 1 { times.append(contentsOf: own) }
  }

  /// Calls `body` with each unit and the first index of its times.
  @inline(__always)
  func forEach(_ body: (_ unit: Int, _ times: Int) -> Void) {
    var next = 0
    for unit in reached.indices {
      body(unit, next)
      if reached[unit] > 1 { next += Int(reached[unit]) }
    }
  }

  /// Whether a unit's chain has a step.
  func has(step: Int, _ unit: Int, times next: Int) -> Bool {
    guard Int(reached[unit]) > step else { return false }
    return step == 0 || times[next + step] != Self.skipped
  }
}

/// Outcomes added up per step and group.
struct FunnelTotals: Sendable {
  /// By group and step.
  private var cells: [Cell]
  private let stepCount: Int

  private struct Cell: Sendable {
    var count: UInt64 = 0
    var fromPrevious: [Int64] = []
    var fromFirst: [Int64] = []
  }

  init(groups: Int, steps: Int) {
    stepCount = steps
    cells = Array(repeating: Cell(), count: groups * steps)
  }

  /// - Parameter groupOf: by number of a value; a value beyond it, and every one where it is empty, is in group 0.
  mutating func add(_ outcomes: FunnelOutcomes, previous: [Int], groupOf: [Int32]) {
    outcomes.forEach { unit, next in
      let value = Int(outcomes.values[unit])
      let group = value < groupOf.count ? Int(groupOf[value]) : 0
      let first = group * stepCount
      cells[first].count += 1
      let reached = Int(outcomes.reached[unit])
      if reached < 2 { return }
      let begin = outcomes.times[next]
      for step in 1..<reached {
        let time = outcomes.times[next + step]
        if time == FunnelOutcomes.skipped { continue }
        cells[first + step].count += 1
        cells[first + step].fromPrevious.append(time - outcomes.times[next + previous[step]])
        cells[first + step].fromFirst.append(time - begin)
      }
    }
  }

  /// Results by group, of totals that several threads made.
  static func results(
    _ parts: [FunnelTotals], groups: Int, labels: [String], previous: [Int], threads: Int
  ) throws -> [[FunnelStepResult]] {
    let steps = labels.count
    let summaries = try Blocks.map(groups * steps, threads: threads) { cell in
      (
        count: parts.reduce(0) { $0 + $1.cells[cell].count },
        fromPrevious: DurationSummary(parts: parts.map { $0.cells[cell].fromPrevious }),
        fromFirst: DurationSummary(parts: parts.map { $0.cells[cell].fromFirst })
      )
    }
    return (0..<groups).map { group in
      (0..<steps).map { step in
        let cell = summaries[group * steps + step]
        return FunnelStepResult(
          label: labels[step], users: cell.count,
          previousUsers: summaries[group * steps + previous[step]].count,
          firstUsers: summaries[group * steps].count,
          fromPrevious: cell.fromPrevious, fromFirst: cell.fromFirst)
      }
    }
  }
}
