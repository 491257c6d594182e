import Events

/// How many came to a step, and how long they took.
package struct FunnelStepResult: Sendable, Equatable {
  package let label: String
  package let users: UInt64
  /// Users of the step before, the nearest that no chain leaves out; of the first step its own.
  package let previousUsers: UInt64
  package let firstUsers: UInt64
  package let fromPrevious: DurationSummary
  package let fromFirst: DurationSummary

  package var conversionFromPrevious: Double { Self.share(users, previousUsers) }
  package var conversionFromFirst: Double { Self.share(users, firstUsers) }
  package var dropOffUsers: UInt64 { previousUsers - users }
  package var dropOffShare: Double { Self.share(dropOffUsers, previousUsers) }

  private static func share(_ part: UInt64, _ whole: UInt64) -> Double {
    whole == 0 ? 0 : Double(part) / Double(whole)
  }
}

package struct FunnelBreakdown: Sendable, Equatable {
  /// nil: the field is missing, or `isOther`.
  package let value: FieldValue?
  package let isOther: Bool
  package let steps: [FunnelStepResult]
}

package struct FunnelAnswer: Sendable, Equatable {
  package let steps: [FunnelStepResult]
  package let breakdown: [FunnelBreakdown]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func funnel(_ query: FunnelQuery, control: QueryControl) throws -> FunnelAnswer {
    try FunnelRun(query, engine: self, control: control).answer()
  }
}

/// Validates, plans and runs one funnel.
struct FunnelRun {
  let query: FunnelQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  let matcher: StepMatcher
  let scope: FilterProgram?
  let breakdown: Breakdown?

  init(_ query: FunnelQuery, engine: QueryEngine, control: QueryControl) throws {
    try Self.check(query)
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    matcher = try StepMatcher(query.steps, in: snapshot)
    scope = try query.filter.map { [snapshot] in try FilterProgram($0, in: snapshot) }
    breakdown = try query.breakdown.map { [snapshot] in try Breakdown($0, in: snapshot) }
    let fields = matcher.fieldCodes.union(breakdown?.fieldCodes ?? [])
    source = try DaySource(
      snapshot, engine: engine, fields: fields.union(scope?.fieldCodes ?? []), control: control)
  }

  private static func check(_ query: FunnelQuery) throws(QueryError) {
    let steps = Limits.funnelStepsMin...Limits.funnelStepsMax
    guard steps.contains(query.steps.count) else {
      throw .invalid(
        "steps", "\(query.steps.count) given, must be \(steps.lowerBound)-\(steps.upperBound)")
    }
    if let window = query.windowMilliseconds {
      guard (1...Limits.windowMillisecondsMax).contains(window) else {
        throw .invalid(
          "window_ms", "is \(window), must be 1-\(Limits.windowMillisecondsMax), or 0 for one day")
      }
    }
    guard (1...Limits.breakdownLimitMax).contains(query.breakdownLimit) else {
      throw .invalid(
        "breakdown_limit", "is \(query.breakdownLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
  }

  func answer() throws -> FunnelAnswer {
    let (outcomes, tally) = try outcomes(query.days)
    let end = snapshot.calendar.range(ofDays: query.days).upperBound
    return try control.operation("summarise") {
      FunnelAnswer(
        steps: try results(outcomes, FunnelGroups())[0], breakdown: try breakdown(outcomes),
        info: AnswerInfo(
          snapshot, tally, isComplete: end <= snapshot.position.receivedMilliseconds))
    }
  }

  // MARK: Scanning

  /// The last day on which a step of a chain may happen that begins in a range.
  private func lastDay(_ days: ClosedRange<Int>) -> Int {
    guard let window = query.windowMilliseconds else { return days.upperBound }
    let end = snapshot.calendar.range(ofDays: days).upperBound
    return max(days.upperBound, snapshot.calendar.day(at: end - 1 + window))
  }

  private func outcomes(
    _ days: ClosedRange<Int>
  ) throws -> (outcomes: [FunnelOutcomes], tally: EventTally) {
    let numbers = source.days(in: days.lowerBound..<lastDay(days) + 1)
    return try control.operation(
      "scan", "\(query.steps.count) steps over \(numbers.count) days",
      rows: numbers.reduce(0) { $0 + source.rowCount($1) }
    ) {
      var tally = EventTally()
      let scan = FunnelScan<PlainFunnelState>(
        plan: plan, days: numbers, userCount: snapshot.userCount, control: control)
      let found = try scan.run { try load($0, days, &tally) }
      tally.add(flagCounts: found.flagCounts, query.traffic)
      return (found.parts, tally)
    }
  }

  private var plan: FunnelPlan {
    FunnelPlan(
      stepCount: matcher.count, windowMilliseconds: query.windowMilliseconds ?? FunnelPlan.noWindow,
      stepMasks: matcher.masks, isWanted: matcher.masks.map { $0 == 0 ? 0 : 1 },
      counted: query.traffic.countedByFlags.map { $0 ? 1 : 0 }, countsFlags: scope == nil)
  }

  /// Reads a day and decides what filters and fields say of its rows.
  private func load(
    _ number: Int32, _ days: ClosedRange<Int>, _ tally: inout EventTally
  ) throws -> FunnelDay {
    let day = try source.load(number)
    let isInRange = days.contains(Int(number))
    let mask = scope?.mask(day)
    if let mask, isInRange { tally.add(day, query.traffic, mask: mask) }
    return FunnelDay(
      day: day, isInRange: isInRange, stepFilters: matcher.filters(day), scope: mask,
      labels: try breakdown?.labels(day))
  }

  // MARK: Adding up

  private func results(
    _ outcomes: [FunnelOutcomes], _ groups: FunnelGroups
  ) throws -> [[FunnelStepResult]] {
    let threads = Limits.threadsDefault
    let previous = query.previousSteps
    let steps = query.steps.count
    let totals = try Blocks.map(threads, threads: threads) { thread in
      var totals = FunnelTotals(groups: groups.count, steps: steps)
      for part in stride(from: thread, to: outcomes.count, by: threads) {
        totals.add(outcomes[part], previous: previous, groupOf: groups.groupOf)
      }
      return totals
    }
    return try FunnelTotals.results(
      totals, groups: groups.count, labels: query.labels, previous: previous, threads: threads)
  }

  /// Each user is in one group: that of the chain that reaches furthest.
  private func breakdown(_ outcomes: [FunnelOutcomes]) throws -> [FunnelBreakdown] {
    guard let breakdown else { return [] }
    let groups = FunnelGroups(outcomes, breakdown, limit: query.breakdownLimit)
    let results = try results(outcomes, groups)
    return (0..<groups.count).map { group in
      let isOther = group == groups.values.count
      return FunnelBreakdown(
        value: isOther ? nil : groups.values[group], isOther: isOther, steps: results[group])
    }
  }
}

/// The values of a breakdown that are given apart: those with the most users, ties by value. The rest is the last group.
struct FunnelGroups: Sendable {
  private(set) var values: [FieldValue?] = []
  private(set) var count = 1
  /// By number of a value.
  private(set) var groupOf: [Int32] = []

  /// One group of all.
  init() {}

  init(_ outcomes: [FunnelOutcomes], _ breakdown: Breakdown, limit: Int) {
    var users = [Int](repeating: 0, count: breakdown.keys.count)
    for part in outcomes {
      for value in part.values { users[Int(value)] += 1 }
    }
    let seen = users.indices.filter { users[$0] > 0 }
    let valueOf = Dictionary(uniqueKeysWithValues: seen.map { ($0, breakdown.value(Int32($0))) })
    let ranked = seen.sorted { a, b in
      if users[a] != users[b] { return users[a] > users[b] }
      return FieldValue.isBefore(valueOf[a] ?? nil, valueOf[b] ?? nil)
    }
    let chosen = ranked.prefix(limit)
    values = chosen.map { valueOf[$0] ?? nil }
    count = min(ranked.count, limit + 1)
    groupOf = Array(repeating: Int32(chosen.count), count: users.count)
    for (group, value) in chosen.enumerated() { groupOf[value] = Int32(group) }
  }
}
