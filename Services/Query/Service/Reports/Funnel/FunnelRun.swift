import Events

/// Plans and scans one funnel.
struct FunnelRun {
  let query: FunnelQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let breakdown: Breakdown?
  private let source: DaySource
  private let matcher: StepMatcher
  private let exclusions: ExclusionMatcher
  private let held: HeldValues
  private let scope: FilterProgram?
  private let shareField: UInt32?

  init(_ query: FunnelQuery, engine: QueryEngine, control: QueryControl) throws {
    try query.check()
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    matcher = try StepMatcher(query.steps, in: snapshot)
    exclusions = try ExclusionMatcher(query, in: snapshot)
    held = try HeldValues(query.holdConstant, in: snapshot)
    scope = try query.filter.map { [snapshot] in try FilterProgram($0, in: snapshot) }
    breakdown = try query.breakdown.map { [snapshot] in try Breakdown($0, in: snapshot) }
    shareField = query.isAcrossUsers ? ShareColumns.fieldCode(in: snapshot) : nil
    var reads = matcher.reads
    for more in [exclusions.reads, held.reads, scope?.reads, breakdown?.reads] { reads.add(more) }
    if query.isAcrossUsers { reads.add(ShareColumns.reads(field: shareField)) }
    source = try DaySource(snapshot, engine: engine, reads: reads, control: control)
  }

  /// The last day on which a step of a chain may happen that begins in a range.
  private func lastDay(_ days: ClosedRange<Int>) -> Int {
    guard let window = query.windowMilliseconds else { return days.upperBound }
    let end = snapshot.calendar.range(ofDays: days).upperBound
    return max(days.upperBound, snapshot.calendar.day(at: end - 1 + window))
  }

  /// How far each user came, or open or entry, and what was read.
  func outcomes(
    _ days: ClosedRange<Int>
  ) throws -> (outcomes: [FunnelOutcomes], tally: EventTally) {
    let numbers = source.days(in: days.lowerBound..<lastDay(days) + 1)
    let way = query.isPlain ? "latest step 1 per step" : "chains of each user"
    return try control.operation(
      "scan", "\(query.steps.count) steps over \(numbers.count) days, \(way)",
      rows: numbers.reduce(0) { $0 + source.rowCount($1) }
    ) {
      let clock = clock(numbers)
      if query.isPlain {
        let plan = plan(clock, [:])
        return clock.last <= UInt32.max
          ? try scan(PlainFunnelState<UInt32>.self, numbers, days, plan)
          : try scan(PlainFunnelState<UInt64>.self, numbers, days, plan)
      }
      var backgrounds: [UInt32: Int64] = [:]
      while true {
        let (parts, tally) = try scan(
          CollectedFunnelState.self, numbers, days, plan(clock, backgrounds))
        let missing = parts.reduce(into: Set<UInt32>()) { $0.formUnion($1.missing) }
        if missing.isEmpty { return (try outcomes(parts), tally) }
        // Rare: the first thing that a user does in the range is to come back from a background that began before it.
        let found = try BackgroundSearch.run(missing, before: days.lowerBound, source)
        precondition(found.keys.allSatisfy { backgrounds[$0] == nil }, "what is known is not missing")
        backgrounds.merge(found) { _, new in new }
      }
    }
  }

  private func clock(_ days: ArraySlice<Int32>) -> FunnelClock {
    guard let first = days.first, let last = days.last else {
      return FunnelClock(0..<1, windowMilliseconds: query.windowMilliseconds)
    }
    return FunnelClock(
      source.begin(of: first)..<source.begin(of: last + 1),
      windowMilliseconds: query.windowMilliseconds)
  }

  private func scan<State: FunnelState>(
    _: State.Type, _ numbers: ArraySlice<Int32>, _ days: ClosedRange<Int>, _ plan: FunnelPlan
  ) throws -> ([State.Part], EventTally) {
    var tally = EventTally()
    let scan = FunnelScan<State>(
      plan: plan, source: source, days: numbers, userCount: snapshot.userCount, control: control)
    var tallied: Set<Int32> = []
    let found = try scan.run { day, found in
      let isFirst = tallied.insert(day.day).inserted
      return try prepare(day, found, days, isFirst, plan, &tally)
    }
    if plan.countsFlags { tally.add(flagCounts: found.flagCounts, query.traffic) }
    return (found.parts, tally)
  }

  private func outcomes(_ parts: [CollectedFunnelState.Part]) throws -> [FunnelOutcomes] {
    guard query.isAcrossUsers else { return parts.map(\.outcomes) }
    let hits = parts.flatMap(\.hits)
    try control.charge(
      hits.count * MemoryLayout<FunnelHit>.stride
        + InvitedFunnel.byteCount(hits, steps: matcher.count), for: "the steps of all users")
    let invited = try InvitedFunnel(
      chainPlan([:]), isInvited: query.steps.map(\.isByInvitedUser), hits: hits,
      touches: parts.reduce(into: [:]) { $0.merge($1.touches) { first, _ in first } },
      control: control)
    return [invited.outcomes()]
  }

  // MARK: Plan

  private func plan(_ clock: FunnelClock, _ backgrounds: [UInt32: Int64]) -> FunnelPlan {
    let wanted = zip(matcher.masks, exclusions.masks).map { $0 | $1 == 0 ? UInt8(0) : 1 }
    return FunnelPlan(
      stepCount: matcher.count, clock: clock, stepMasks: matcher.masks,
      singleSteps: FunnelPlan.singleSteps(matcher.masks), isWanted: wanted,
      keptEvents: query.isPlain ? Set(wanted.indices.filter { wanted[$0] != 0 }.map { UInt32($0) }) : nil,
      asksKeptOnly: query.isPlain && breakdown == nil && scope == nil && !matcher.hasFilters,
      hasBreakdown: breakdown != nil,
      counted: query.traffic.countedByFlags.map { $0 ? 1 : 0 }, countsFlags: scope == nil,
      chains: chainPlan(backgrounds))
  }

  private func chainPlan(_ backgrounds: [UInt32: Int64]) -> FunnelChainPlan {
    FunnelChainPlan(
      rules: ChainRules(query), count: query.count, order: query.order,
      breakdownBy: query.breakdownBy,
      goesByTouch: query.breakdownBy == .userFirstTouch || query.breakdownBy == .userLastTouch,
      isAcrossUsers: query.isAcrossUsers, holdsValues: !query.holdConstant.isEmpty,
      exclusionMasks: exclusions.masks, exclusionCuts: exclusions.cuts, sessions: snapshot.rules,
      backgrounds: backgrounds)
  }

  /// Decides what filters and fields say of a day's rows.
  ///
  /// - Parameters:
  ///   - found: the rows that do a step, where they are kept.
  ///   - isFirst: the day is read for the first time.
  private func prepare(
    _ day: DayColumns, _ found: FoundRows?, _ days: ClosedRange<Int>, _ isFirst: Bool,
    _ plan: FunnelPlan, _ tally: inout EventTally
  ) throws -> FunnelDay {
    let isInRange = days.contains(Int(day.day))
    let mask = scope?.mask(day)
    if let mask, isInRange, isFirst { tally.add(day, query.traffic, mask: mask) }
    let flagCounts = try source.sealedFlagCounts(day.day)
    if let flagCounts, mask == nil, isInRange, isFirst {
      tally.add(flagCounts: flagCounts, query.traffic)
    }
    return FunnelDay(
      day: day, isInRange: isInRange, allowed: isInRange || query.order == .any ? ~0 : ~1,
      isAllCounted: plan.countsAll(flagCounts), isTallied: flagCounts != nil,
      stepFilters: matcher.filters(day), exclusionFilters: exclusions.filters(day), scope: mask,
      labels: try breakdown?.labels(day),
      keys: query.holdConstant.isEmpty ? nil : try held.keys(day),
      shares: query.isAcrossUsers ? ShareColumns(day, field: shareField) : nil, found: found)
  }
}
