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
  /// Those units.
  private var further: [UInt32] = []

  init() {}

  /// Of consecutive users, those who reached any step.
  ///
  /// - Parameters:
  ///   - allValues: by user; empty without a breakdown.
  ///   - stepsMax: no user came further.
  ///   - furthest: of a user, from 0: the furthest step, from 1; 0: none.
  ///   - time: of a user, from 0, and a step, from 0; asked for steps that the user did not reach, too.
  @inline(__always)
  init(
    _ all: Range<UInt32>, values allValues: [Int32], stepsMax: Int, furthest: (Int) -> UInt8,
    time: (Int, Int) -> Int64
  ) {
    var (unitCount, furtherCount, timeCount) = (0, 0, 0)
    // Without a branch on how far a user came: one who did not is overwritten by the next one.
    reached = [UInt8](unsafeUninitializedCapacity: all.count + 1) { reached, filled in
      users = [UInt32](unsafeUninitializedCapacity: all.count + 1) { users, filled in
        further = [UInt32](unsafeUninitializedCapacity: all.count + 1) { further, filled in
          for user in 0..<all.count {
            let steps = furthest(user)
            reached[unitCount] = steps
            users[unitCount] = all.lowerBound &+ UInt32(truncatingIfNeeded: user)
            further[furtherCount] = UInt32(truncatingIfNeeded: unitCount)
            unitCount &+= Self.isMore(steps, than: 0)
            let isFurther = Self.isMore(steps, than: 1)
            furtherCount &+= isFurther
            timeCount &+= Int(steps) &* isFurther
          }
          filled = furtherCount
        }
        filled = unitCount
      }
      filled = unitCount
    }
    if !allValues.isEmpty { values = users.map { allValues[Int($0 &- all.lowerBound)] } }
    times = [Int64](unsafeUninitializedCapacity: timeCount + stepsMax) { times, filled in
      filled = timeCount
      var next = 0
      for unit in further {
        let user = Int(users[Int(unit)] &- all.lowerBound)
        // As many times as there may be: the next one's take the place of those too many.
        for step in 0..<stepsMax { times[next &+ step] = time(user, step) }
        next &+= Int(reached[Int(unit)])
      }
    }
  }

  /// 1 or 0. Not a comparison, of which the compiler would make a branch: it is 256 and more where there were more steps.
  @inline(__always)
  private static func isMore(_ reached: UInt8, than steps: UInt8) -> Int {
    Int((UInt32(reached) &+ UInt32(UInt8.max - steps)) &>> 8)
  }

  var count: Int { reached.count }

  var byteCount: Int {
    reached.count * 5 + values.count * 4 + times.count * 8 + further.count * 4
  }

  /// Number of the breakdown's value; 0 without a breakdown.
  func value(_ unit: Int) -> Int32 { values.isEmpty ? 0 : values[unit] }

  /// - Parameter times: of all steps up to the furthest; `skipped` for one left out.
  mutating func append(user: UInt32, value: Int32, times own: some Collection<Int64>) {
    precondition(!own.isEmpty, "a unit has done step 1")
    reached.append(UInt8(own.count))
    users.append(user)
    values.append(value)
    if own.count > 1 {
      further.append(UInt32(reached.count - 1))
      times.append(contentsOf: own)
    }
  }

  /// How many units came further than step 1.
  fileprivate var furtherCount: Int { further.count }

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
    /// Empty where the step before is the first one.
    var fromFirst: [[Int64]] = []

    /// - Parameter chains: that reach the step.
    mutating func add(
      _ chains: UnsafeBufferPointer<Chain>, _ times: UnsafeBufferPointer<Int64>, _ step: Int,
      _ previous: Int
    ) {
      let untilPrevious = Self.durations(chains, times, step, from: previous)
      count += UInt64(untilPrevious.count)
      if previous != 0 { fromFirst.append(Self.durations(chains, times, step, from: 0)) }
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
    if groupOf.isEmpty {
      chains[0] = Self.chains(outcomes)
    } else {
      outcomes.forEachFurther { unit, next in
        chains[group(unit)].append(Chain(times: UInt32(next), reached: outcomes.reached[unit]))
      }
    }
    outcomes.times.withUnsafeBufferPointer { times in
      for group in chains.indices {
        chains[group].withUnsafeMutableBufferPointer { add($0, times, group, previous) }
      }
    }
  }

  private static func chains(_ outcomes: FunnelOutcomes) -> [Chain] {
    [Chain](unsafeUninitializedCapacity: outcomes.furtherCount) { chains, filled in
      filled = outcomes.furtherCount
      var index = 0
      outcomes.forEachFurther { unit, next in
        chains.initializeElement(
          at: index, to: Chain(times: UInt32(truncatingIfNeeded: next), reached: outcomes.reached[unit]))
        index &+= 1
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
    let summaries = try Blocks.map(groups * steps * 2, threads: threads) { number in
      let cell = number / 2
      if number % 2 == 0 { return DurationSummary(parts: parts.flatMap { $0.cells[cell].fromPrevious }) }
      return DurationSummary(parts: parts.flatMap { $0.cells[cell].fromFirst })
    }
    return (0..<groups).map { group in
      (0..<steps).map { step in
        let cell = group * steps + step
        return FunnelStepResult(
          label: labels[step], users: count(cell, parts),
          previousUsers: count(group * steps + previous[step], parts),
          firstUsers: count(group * steps, parts), fromPrevious: summaries[cell * 2],
          fromFirst: summaries[previous[step] == 0 ? cell * 2 : cell * 2 + 1])
      }
    }
  }

  private static func count(_ cell: Int, _ parts: [FunnelTotals]) -> UInt64 {
    parts.reduce(0) { $0 + $1.cells[cell].count }
  }
}
