/// How far some users came; or opens, or entries, where those are counted.
struct FunnelOutcomes: Sendable {
  /// Stands for the time of a step that a chain leaves out.
  static let skipped = Int64.min

  /// By unit: the furthest step, from 1.
  private(set) var reached: [UInt8] = []
  private(set) var users: [UInt32] = []
  /// Number of the breakdown's value. May be empty without a breakdown.
  private(set) var values: [Int32] = []
  /// Of each unit that came further than step 1: the times of its steps along the first chain that reaches furthest.
  private(set) var times: [Int64] = []

  init() {}

  /// Of consecutive users, those who reached any step.
  ///
  /// - Parameters:
  ///   - all: by user: the furthest step, from 1; 0: none.
  ///   - allValues: by user; empty without a breakdown.
  ///   - stepsMax: no user came further.
  ///   - time: of a user, from 0, and a step, from 0; asked for steps that the user did not reach, too.
  @inline(__always)
  init(
    first: UInt32, reached all: [UInt8], values allValues: [Int32], stepsMax: Int,
    time: (Int, Int) -> Int64
  ) {
    all.withUnsafeBufferPointer { all in
      let known = Self.indices(all, beyond: 0)
      known.withUnsafeBufferPointer { known in
        reached = [UInt8](unsafeUninitializedCapacity: known.count) { reached, filled in
          filled = known.count
          for index in 0..<known.count { reached[index] = all[Int(known[index])] }
        }
        users = [UInt32](unsafeUninitializedCapacity: known.count) { users, filled in
          filled = known.count
          for index in 0..<known.count { users[index] = first &+ known[index] }
        }
        if !allValues.isEmpty { values = known.map { allValues[Int($0)] } }
      }
      times = Self.times(all, stepsMax: stepsMax, time)
    }
  }

  /// Of each user so many times as fit, without a branch on how far it came: the next one's take the place of those too many.
  @inline(__always)
  private static func times(
    _ all: UnsafeBufferPointer<UInt8>, stepsMax: Int, _ time: (Int, Int) -> Int64
  ) -> [Int64] {
    let further = indices(all, beyond: 1)
    let count = further.reduce(0) { $0 &+ Int(all[Int($1)]) }
    return [Int64](unsafeUninitializedCapacity: count + stepsMax) { times, filled in
      filled = count
      var next = 0
      for user in further {
        for step in 0..<stepsMax { times[next &+ step] = time(Int(user), step) }
        next &+= Int(all[Int(user)])
      }
    }
  }

  /// Where more than so many steps were reached. Without a branch, which the compiler would make of a comparison: an index where they
  /// were not is overwritten by the next one.
  private static func indices(_ reached: UnsafeBufferPointer<UInt8>, beyond steps: UInt8) -> [UInt32] {
    let base = UInt32(UInt8.max - steps)
    return [UInt32](unsafeUninitializedCapacity: reached.count + 1) { indices, filled in
      var count = 0
      for index in 0..<reached.count {
        indices[count] = UInt32(truncatingIfNeeded: index)
        // 256 and more where there were more steps.
        count &+= Int((UInt32(reached[index]) &+ base) &>> 8)
      }
      filled = count
    }
  }

  var count: Int { reached.count }

  var byteCount: Int { reached.count * 5 + values.count * 4 + times.count * 8 }

  /// Number of the breakdown's value; 0 without a breakdown.
  func value(_ unit: Int) -> Int32 { values.isEmpty ? 0 : values[unit] }

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

  /// The same with those that came further than step 1.
  @inline(__always)
  fileprivate func forEachFurther(_ body: (_ unit: Int, _ times: Int) -> Void) {
    let further = reached.withUnsafeBufferPointer { Self.indices($0, beyond: 1) }
    var next = 0
    for unit in further {
      body(Int(unit), next)
      next += Int(reached[Int(unit)])
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

  /// The times of a unit that came further than step 1.
  private struct Chain {
    let times: UInt32
    let reached: UInt8
  }

  private struct Cell: Sendable {
    var count: UInt64 = 0
    /// In parts, as they came.
    var fromPrevious: [[Int64]] = []
    var fromFirst: [[Int64]] = []

    /// - Parameter chains: that reach the step.
    mutating func add(
      _ chains: UnsafeBufferPointer<Chain>, _ times: UnsafeBufferPointer<Int64>, _ step: Int,
      _ previous: Int
    ) {
      let untilPrevious = Self.durations(chains, times, step, from: previous)
      count += UInt64(untilPrevious.count)
      fromFirst.append(previous == 0 ? untilPrevious : Self.durations(chains, times, step, from: 0))
      fromPrevious.append(untilPrevious)
    }

    /// Of the chains that have the step. Without a branch: one that does not is overwritten by the next one.
    private static func durations(
      _ chains: UnsafeBufferPointer<Chain>, _ times: UnsafeBufferPointer<Int64>, _ step: Int,
      from start: Int
    ) -> [Int64] {
      [Int64](unsafeUninitializedCapacity: chains.count + 1) { durations, filled in
        var count = 0
        for index in 0..<chains.count {
          let first = Int(chains[index].times)
          let time = times[first &+ step]
          durations[count] = time &- times[first &+ start]
          count &+= time == FunnelOutcomes.skipped ? 0 : 1
        }
        filled = count
      }
    }
  }

  init(groups: Int, steps: Int) {
    stepCount = steps
    cells = Array(repeating: Cell(), count: groups * steps)
  }

  /// - Parameter groupOf: by number of a value; a value beyond it, and every one where it is empty, is in group 0.
  mutating func add(_ outcomes: FunnelOutcomes, previous: [Int], groupOf: [Int32]) {
    func group(_ unit: Int) -> Int {
      let value = Int(outcomes.value(unit))
      return value < groupOf.count ? Int(groupOf[value]) : 0
    }
    // Without a user there may be no group.
    if outcomes.count == 0 { return }
    if groupOf.isEmpty {
      cells[0].count += UInt64(outcomes.count)
    } else {
      for unit in 0..<outcomes.count { cells[group(unit) * stepCount].count += 1 }
    }
    // By group, so that what one cell grows by is found in one go.
    var chains: [[Chain]] = Array(repeating: [], count: cells.count / stepCount)
    outcomes.forEachFurther { unit, next in
      chains[groupOf.isEmpty ? 0 : group(unit)].append(
        Chain(times: UInt32(next), reached: outcomes.reached[unit]))
    }
    outcomes.times.withUnsafeBufferPointer { times in
      for group in chains.indices {
        chains[group].withUnsafeMutableBufferPointer { add($0, times, group, previous) }
      }
    }
  }

  /// - Parameter chains: of one group; left are those that reach the last step.
  private mutating func add(
    _ chains: UnsafeMutableBufferPointer<Chain>, _ times: UnsafeBufferPointer<Int64>, _ group: Int,
    _ previous: [Int]
  ) {
    var count = chains.count
    for step in 1..<stepCount {
      var kept = 0
      for index in 0..<count {
        let chain = chains[index]
        chains[kept] = chain
        // Its sign: without a branch.
        kept &+= Int(bitPattern: UInt(bitPattern: step &- Int(chain.reached)) >> 63)
      }
      count = kept
      if count == 0 { return }
      cells[group * stepCount + step].add(
        UnsafeBufferPointer(rebasing: chains[..<count]), times, step, previous[step])
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
        fromPrevious: DurationSummary(parts: parts.flatMap { $0.cells[cell].fromPrevious }),
        fromFirst: DurationSummary(parts: parts.flatMap { $0.cells[cell].fromFirst })
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
