import Events

/// How fast and how stable is the mini program? (docs/semantics.md, "Performance")
package struct PerformanceQuery: Sendable {
  package var appID: String
  package var days: ClosedRange<Int>
  package var granularity: Granularity
  package var compareDays: ClosedRange<Int>?
  /// Values of the field `metric`; empty: each that occurs.
  package var metrics: [String]
  package var breakdown: String?
  package var breakdownLimit: Int
  package var filter: FilterTree?
  package var traffic: TrafficChoice

  package init(
    appID: String, days: ClosedRange<Int>, granularity: Granularity = .day,
    compareDays: ClosedRange<Int>? = nil, metrics: [String] = [], breakdown: String? = nil,
    breakdownLimit: Int? = nil, filter: FilterTree? = nil, traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.granularity = granularity
    self.compareDays = compareDays
    self.metrics = metrics
    self.breakdown = breakdown
    self.breakdownLimit = breakdownLimit ?? Limits.breakdownLimitDefault
    self.filter = filter
    self.traffic = traffic
  }
}

/// Of one metric, ms; all 0 where nothing was measured.
package struct DurationMetrics: Sendable, Equatable {
  package var count: UInt64 = 0
  package var users: UInt64 = 0
  package var mean: Double = 0
  package var p50: Double = 0
  package var p75: Double = 0
  package var p90: Double = 0
  package var p95: Double = 0
  package var p99: Double = 0
  package var max: Double = 0

  package init() {}

  init(_ cell: FieldCell, users: UInt64) {
    guard cell.count > 0 else { return }
    count = cell.count
    self.users = users
    mean = cell.sum / Double(cell.count)
    p50 = cell.sample.quantile(0.5) ?? 0
    p75 = cell.sample.quantile(0.75) ?? 0
    p90 = cell.sample.quantile(0.9) ?? 0
    p95 = cell.sample.quantile(0.95) ?? 0
    p99 = cell.sample.quantile(0.99) ?? 0
    max = cell.max
  }
}

package struct StabilityMetrics: Sendable, Equatable {
  package var errors: UInt64 = 0
  package var crashes: UInt64 = 0
  package var errorUsers: UInt64 = 0
  package var crashUsers: UInt64 = 0
  package var visitUsers: UInt64 = 0
  package var sessionCount: UInt64 = 0

  package init() {}

  package var errorUserRate: Double { Self.share(errorUsers, visitUsers) }
  package var crashUserRate: Double { Self.share(crashUsers, visitUsers) }
  package var errorsPerSession: Double { Self.share(errors, sessionCount) }
  package var crashesPerSession: Double { Self.share(crashes, sessionCount) }

  private static func share(_ part: UInt64, _ whole: UInt64) -> Double {
    whole == 0 ? 0 : Double(part) / Double(whole)
  }
}

package struct PerformancePoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  package let duration: DurationMetrics
}

package struct PerformanceSeries: Sendable, Equatable {
  package let metric: String
  package let total: DurationMetrics
  package let points: [PerformancePoint]
  package let compareTotal: DurationMetrics?
}

package struct PerformanceGroup: Sendable, Equatable {
  /// nil: the field is missing, or `isOther`.
  package let value: FieldValue?
  package let isOther: Bool
  /// In the order of the answer's own.
  package let series: [PerformanceSeries]
  package let stability: StabilityMetrics
}

package struct PerformanceAnswer: Sendable, Equatable {
  package let series: [PerformanceSeries]
  package let stability: StabilityMetrics
  package let compareStability: StabilityMetrics?
  package let breakdown: [PerformanceGroup]
  package let info: AnswerInfo
}

/// Which users of a performance report.
package enum PerformanceCell: Sendable, Equatable {
  /// With a measurement; in a point, or the whole range.
  case measured(metric: String, refDate: String?)
  case errors, crashes
}

extension QueryEngine {
  package func performance(
    _ query: PerformanceQuery, control: QueryControl
  ) throws -> PerformanceAnswer {
    try PerformanceRun(query, engine: self, control: control).answer()
  }

  /// - Parameter group: of a breakdown: its value in a list of one; empty: the whole.
  package func performanceUsers(
    _ query: PerformanceQuery, _ cell: PerformanceCell, group: [FieldValue?] = [],
    isOther: Bool = false, control: QueryControl
  ) throws -> UserList {
    try PerformanceRun(query, engine: self, control: control).users(cell, group, isOther)
  }
}

/// Validates, plans and runs one report.
private struct PerformanceRun {
  let query: PerformanceQuery
  let control: QueryControl
  let engine: QueryEngine
  let snapshot: AppSnapshot
  let scan: PerformanceScan

  init(_ query: PerformanceQuery, engine: QueryEngine, control: QueryControl) throws {
    try Self.check(query)
    self.query = query
    self.control = control
    self.engine = engine
    snapshot = try engine.snapshot(query.appID)
    scan = try PerformanceScan(query, snapshot, engine: engine, control: control)
  }

  private static func check(_ query: PerformanceQuery) throws(QueryError) {
    try query.granularity.check(query.days, field: "range")
    guard query.metrics.count <= Limits.performanceMetricsMax else {
      throw .invalid(
        "metrics", "\(query.metrics.count) given, must be at most \(Limits.performanceMetricsMax)")
    }
    for (index, metric) in query.metrics.enumerated() {
      guard (1...Limits.labelBytesMax).contains(metric.utf8.count) else {
        throw .invalid(
          "metrics[\(index)]",
          "has \(metric.utf8.count) bytes, must have 1-\(Limits.labelBytesMax)")
      }
    }
    guard Set(query.metrics).count == query.metrics.count else {
      throw .invalid("metrics", "a name is given twice")
    }
    guard (1...Limits.breakdownLimitMax).contains(query.breakdownLimit) else {
      throw .invalid(
        "breakdown_limit", "is \(query.breakdownLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
  }

  // MARK: The answer

  func answer() throws -> PerformanceAnswer {
    let periods = Period.periods(query.days, query.granularity, snapshot.calendar)
    let compareAll = query.compareDays.map { Period.periods($0, .all, snapshot.calendar) }
    let metrics = try scan.metrics(query.days)
    let groups = try scan.groups(query.days, metrics)
    let count = metrics.count * ((groups?.values.count ?? 0) + 2) * periods.count
    guard count <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        """
        the answer would have \(count) points (\(periods.count) periods of \(metrics.count) metrics in its groups), at most \
        \(Limits.answerPointsMax): ask for a shorter range, fewer metrics or a lower breakdown_limit
        """)
    }
    let durations = try control.operation("durations") {
      try scan.durations(periods, metrics, groups)
    }
    let compared = try compareAll.map { try scan.durations($0, metrics, groups) }
    let errors = try control.operation("errors") { try scan.errors(query.days, groups) }
    let compareErrors = try query.compareDays.map { try scan.errors($0, nil) }
    let visits = try control.operation("visits") { try self.visits(groups) }
    let ends = [periods.last, compareAll?.last].compactMap { $0?.milliseconds.upperBound }
    var tally = durations.tally
    tally.merge(errors.tally)
    return PerformanceAnswer(
      series: series(durations, compared, metrics, periods, slot: 0),
      stability: stability(errors.users[0], try self.visits(query.days)),
      compareStability: try both(compareErrors, query.compareDays).map {
        stability($0.users[0], try self.visits($1))
      },
      breakdown: (groups?.slots ?? []).enumerated().map { index, group in
        PerformanceGroup(
          value: group.value, isOther: group.isOther,
          series: series(durations, compared, metrics, periods, slot: index + 1),
          stability: stability(errors.users[index + 1], visits[index]))
      },
      info: AnswerInfo(
        snapshot, tally,
        isComplete: ends.allSatisfy { $0 <= snapshot.position.receivedMilliseconds }))
  }

  private func both<A, B>(_ a: A?, _ b: B?) -> (A, B)? {
    if let a, let b { (a, b) } else { nil }
  }

  private func series(
    _ durations: PerformanceScan.Durations, _ compared: PerformanceScan.Durations?,
    _ metrics: [String], _ periods: [Period], slot: Int
  ) -> [PerformanceSeries] {
    metrics.indices.map { metric in
      PerformanceSeries(
        metric: metrics[metric], total: durations.total(slot, metric),
        points: periods.indices.map { index in
          PerformancePoint(
            period: periods[index],
            isComplete: periods[index].isWhole
              && periods[index].milliseconds.upperBound <= snapshot.position.receivedMilliseconds,
            duration: durations.point(slot, metric, period: index))
        }, compareTotal: compared?.total(slot, metric))
    }
  }

  private func stability(_ errors: PerformanceScan.Errors.Counts, _ visits: TrendMetrics) -> StabilityMetrics {
    var stability = StabilityMetrics()
    stability.errors = errors.errors
    stability.crashes = errors.crashes
    stability.errorUsers = errors.errorUsers
    stability.crashUsers = errors.crashUsers
    stability.visitUsers = visits.visitUsers
    stability.sessionCount = visits.sessionCount
    return stability
  }

  // MARK: Visits

  /// visit_uv and session_cnt are the trend's.
  private func visits(
    _ days: ClosedRange<Int>, _ extra: [FilterTree] = []
  ) throws -> TrendMetrics {
    var query = TrendQuery(
      appID: self.query.appID, days: days, granularity: .all, filter: self.query.filter,
      traffic: self.query.traffic)
    if !extra.isEmpty { query.filter = .and(extra + (query.filter.map { [$0] } ?? [])) }
    return try engine.trend(query, control: control).points.first?.metrics ?? TrendMetrics()
  }

  /// By slot of the breakdown. The trend chooses its values by users, this report by measurements: a value that the trend
  /// has among its rest is asked for by itself.
  private func visits(_ groups: PerformanceScan.Groups?) throws -> [TrendMetrics] {
    guard let groups, let field = query.breakdown else { return [] }
    let answer = try engine.trend(
      TrendQuery(
        appID: query.appID, days: query.days, granularity: .all, filter: query.filter,
        breakdown: field, breakdownLimit: Limits.breakdownLimitMax, traffic: query.traffic),
      control: control)
    let hasRest = answer.breakdown.contains(where: \.isOther)
    return try groups.slots.map { slot in
      if slot.isOther { return try visits(query.days, Self.rest(of: groups.values, field)) }
      let found = answer.breakdown.first { !$0.isOther && $0.value == slot.value }
      if let found { return found.points.first?.metrics ?? TrendMetrics() }
      return hasRest ? try visits(query.days, [Self.equals(slot.value, field)]) : TrendMetrics()
    }
  }

  private static func equals(_ value: FieldValue?, _ field: String) -> FilterTree {
    .condition(value.map { FilterCondition(field, .eq, [$0]) } ?? FilterCondition(field, .notExists))
  }

  /// Matches what has none of the values.
  private static func rest(of values: [FieldValue?], _ field: String) -> [FilterTree] {
    var conditions: [FilterTree] = []
    let present = values.compactMap(\.self)
    if !present.isEmpty { conditions.append(.condition(FilterCondition(field, .notIn, present))) }
    if values.contains(nil) { conditions.append(.condition(FilterCondition(field, .exists))) }
    return conditions
  }

  // MARK: Users

  func users(
    _ cell: PerformanceCell, _ group: [FieldValue?], _ isOther: Bool
  ) throws -> UserList {
    let metrics = try scan.metrics(query.days)
    let groups = try scan.groups(query.days, metrics)
    let slot = try slot(groups, group, isOther)
    let whole = Period.periods(query.days, .all, snapshot.calendar)
    let found: (users: [UInt32], tally: EventTally)
    switch cell {
    case .errors: found = try scan.errorUsers(query.days, groups, slot, isCrash: false)
    case .crashes: found = try scan.errorUsers(query.days, groups, slot, isCrash: true)
    case .measured(let name, let refDate):
      guard let metric = metrics.firstIndex(of: name) else {
        throw QueryError.invalid(
          "cell.metric", "\"\(name.prefix(64))\" is none of the report's metrics")
      }
      let period = try refDate.map(period(_:)) ?? whole[0]
      found = try scan.measuredUsers(period, metrics, groups, slot, metric)
    }
    return UserList(
      users: found.users, app: snapshot.app,
      info: AnswerInfo(
        snapshot, found.tally,
        isComplete: whole[0].milliseconds.upperBound <= snapshot.position.receivedMilliseconds))
  }

  private func period(_ refDate: String) throws -> Period {
    let periods = Period.periods(query.days, query.granularity, snapshot.calendar)
    guard let period = periods.first(where: { $0.refDate == refDate }) else {
      throw QueryError.invalid("cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
    }
    return period
  }

  /// 0: the whole.
  private func slot(
    _ groups: PerformanceScan.Groups?, _ group: [FieldValue?], _ isOther: Bool
  ) throws -> Int {
    if group.isEmpty, !isOther { return 0 }
    let slot = groups?.slots.firstIndex { slot in
      isOther ? slot.isOther : !slot.isOther && [slot.value] == group
    }
    guard let slot else {
      throw QueryError.invalid(isOther ? "cell.other" : "cell.group", "the report has no such group")
    }
    return slot + 1
  }
}
