import Events

/// How many users come how far along some steps, in order, within a window? (SEMANTICS 6)
package struct FunnelQuery: Sendable {
  package struct Step: Sendable {
    /// Any of these does the step.
    package var events: [String]
    package var filter: FilterTree?
    /// Empty: the first event's name.
    package var label: String

    package init(_ events: [String], filter: FilterTree? = nil, label: String = "") {
      self.events = events
      self.filter = filter
      self.label = label
    }
  }

  package var appID: String
  /// Local days in which step 1 must happen.
  package var days: ClosedRange<Int>
  package var steps: [Step]
  /// From step 1 to any later step at most, included. nil: any later time within the range.
  package var windowMilliseconds: Int64?
  /// A field of the event of step 1.
  package var breakdown: String?
  package var breakdownLimit: Int
  package var traffic: TrafficChoice

  package init(
    appID: String, days: ClosedRange<Int>, steps: [Step], windowMilliseconds: Int64?,
    breakdown: String? = nil, breakdownLimit: Int? = nil, traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.steps = steps
    self.windowMilliseconds = windowMilliseconds
    self.breakdown = breakdown
    self.breakdownLimit = breakdownLimit ?? Limits.breakdownLimitDefault
    self.traffic = traffic
  }
}

/// How many came to a step, and how long they took.
package struct FunnelStepResult: Sendable, Equatable {
  package let label: String
  package let users: UInt64
  /// Users of the step before; of the first step its own.
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

/// Durations in ms; all 0 where there are none.
package struct DurationSummary: Sendable, Equatable {
  package var mean: Double = 0
  package var median: Double = 0
  package var p90: Double = 0

  package init() {}

  /// Quantiles are interpolated linearly between the two nearest ranks (Hyndman and Fan, type 7): the median of two
  /// values is their mean.
  package init(_ durations: [Int64]) {
    guard !durations.isEmpty else { return }
    let sorted = durations.sorted()
    mean = Double(sorted.reduce(0, +)) / Double(sorted.count)
    median = Self.quantile(0.5, sorted)
    p90 = Self.quantile(0.9, sorted)
  }

  private static func quantile(_ share: Double, _ sorted: [Int64]) -> Double {
    let position = share * Double(sorted.count - 1)
    let low = Int(position)
    let high = min(low + 1, sorted.count - 1)
    let part = position - Double(low)
    return Double(sorted[low]) + part * Double(sorted[high] - sorted[low])
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
private struct FunnelRun {
  let query: FunnelQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  let matcher: StepMatcher
  let breakdown: Breakdown?

  init(_ query: FunnelQuery, engine: QueryEngine, control: QueryControl) throws {
    try Self.check(query)
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    matcher = try StepMatcher(query.steps, in: snapshot)
    breakdown = try query.breakdown.map { [snapshot] in try Breakdown($0, in: snapshot) }
    source = try DaySource(
      snapshot, engine: engine, fields: matcher.fieldCodes.union(breakdown?.fieldCodes ?? []),
      control: control)
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
    let scan = FunnelScan(
      source: source, matcher: matcher, breakdown: breakdown, days: query.days,
      windowMilliseconds: query.windowMilliseconds, traffic: query.traffic, control: control)
    let outcome = try scan.run()
    let end = snapshot.calendar.range(ofDays: query.days).upperBound
    return FunnelAnswer(
      steps: results(outcome.users), breakdown: groups(outcome.users),
      info: AnswerInfo(
        snapshot, outcome.tally, isComplete: end <= snapshot.position.receivedMilliseconds))
  }

  private var labels: [String] {
    query.steps.map { $0.label.isEmpty ? $0.events.first ?? "" : $0.label }
  }

  private func results(_ users: [FunnelUser]) -> [FunnelStepResult] {
    let counts = query.steps.indices.map { step in
      UInt64(users.count { $0.times.count > step })
    }
    return query.steps.indices.map { step in
      let reached = users.filter { $0.times.count > step }.map(\.times)
      let before = max(step - 1, 0)
      return FunnelStepResult(
        label: labels[step], users: counts[step], previousUsers: counts[before],
        firstUsers: counts[0],
        fromPrevious: step == 0 ? .init() : .init(reached.map { $0[step] - $0[step - 1] }),
        fromFirst: step == 0 ? .init() : .init(reached.map { $0[step] - $0[0] }))
    }
  }

  /// Each user is in one group: that of the chain that reaches furthest.
  private func groups(_ users: [FunnelUser]) -> [FunnelBreakdown] {
    guard let breakdown else { return [] }
    let byValue = Dictionary(grouping: users, by: \.value)
    let values = Dictionary(uniqueKeysWithValues: byValue.keys.map { ($0, breakdown.value($0)) })
    let ranked = byValue.keys.sorted { a, b in
      let (countA, countB) = (byValue[a]?.count ?? 0, byValue[b]?.count ?? 0)
      if countA != countB { return countA > countB }
      return FieldValue.isBefore(values[a] ?? nil, values[b] ?? nil)
    }
    var groups = ranked.prefix(query.breakdownLimit).map { value in
      FunnelBreakdown(
        value: values[value] ?? nil, isOther: false, steps: results(byValue[value] ?? []))
    }
    let rest = ranked.dropFirst(query.breakdownLimit).flatMap { byValue[$0] ?? [] }
    if !rest.isEmpty {
      groups.append(FunnelBreakdown(value: nil, isOther: true, steps: results(rest)))
    }
    return groups
  }
}
