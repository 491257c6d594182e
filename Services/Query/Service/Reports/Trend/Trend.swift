/// How much was visited, period by period? The ten metrics of SEMANTICS 2.
package struct TrendQuery: Sendable {
  package var appID: String
  /// Local days, days since 1970-01-01.
  package var days: ClosedRange<Int>
  package var granularity: Granularity
  /// A second range, aligned by position.
  package var compareDays: ClosedRange<Int>?
  package var filter: FilterTree?
  /// A field by whose value everything is given apart.
  package var breakdown: String?
  /// 1-1,000.
  package var breakdownLimit: Int
  package var traffic: TrafficChoice
  /// The others are 0 or right.
  package var metrics: Set<TrendMetric>

  package init(
    appID: String, days: ClosedRange<Int>, granularity: Granularity = .day,
    compareDays: ClosedRange<Int>? = nil, filter: FilterTree? = nil, breakdown: String? = nil,
    breakdownLimit: Int? = nil, traffic: TrafficChoice = TrafficChoice(),
    metrics: Set<TrendMetric> = TrendMetric.all
  ) {
    self.appID = appID
    self.days = days
    self.granularity = granularity
    self.compareDays = compareDays
    self.filter = filter
    self.breakdown = breakdown
    self.breakdownLimit = breakdownLimit ?? Limits.breakdownLimitDefault
    self.traffic = traffic
    self.metrics = metrics
  }
}

/// The metrics of one point; sums rather than quotients, so that nothing is rounded twice.
package struct TrendMetrics: Sendable, Equatable, BitwiseCopyable {
  package var visitTotal: UInt64 = 0
  package var sessionCount: UInt64 = 0
  package var visitPageViews: UInt64 = 0
  package var visitUsers: UInt64 = 0
  package var visitNewUsers: UInt64 = 0
  package var sharePageViews: UInt64 = 0
  package var shareUsers: UInt64 = 0
  /// Stay of the opens that begin in the period, ms.
  package var stayMilliseconds: Int64 = 0
  /// Distinct pages of each open, added up.
  package var depth: UInt64 = 0
  package var eventCount: UInt64 = 0

  package init() {}

  /// Seconds per user.
  package var staySecondsPerUser: Double {
    visitUsers == 0 ? 0 : Double(stayMilliseconds) / 1_000 / Double(visitUsers)
  }
  /// Seconds per open.
  package var staySecondsPerSession: Double {
    sessionCount == 0 ? 0 : Double(stayMilliseconds) / 1_000 / Double(sessionCount)
  }
  /// Distinct pages per open.
  package var visitDepth: Double {
    sessionCount == 0 ? 0 : Double(depth) / Double(sessionCount)
  }
}

package struct TrendPoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  package let metrics: TrendMetrics
}

package struct TrendSeries: Sendable, Equatable {
  /// nil: the field is missing, or `isOther`.
  package let value: FieldValue?
  /// All values beyond the limit.
  package let isOther: Bool
  package let points: [TrendPoint]
}

package struct TrendAnswer: Sendable, Equatable {
  package let points: [TrendPoint]
  package let comparePoints: [TrendPoint]
  package let breakdown: [TrendSeries]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func trend(_ query: TrendQuery, control: QueryControl) throws -> TrendAnswer {
    try TrendRun(query, engine: self, control: control).answer()
  }

  /// Several trends of one moment: their numbers fit together.
  func trends(
    _ queries: [TrendQuery], of snapshot: AppSnapshot, control: QueryControl
  ) throws -> [TrendAnswer] {
    try queries.map {
      try TrendRun($0, engine: self, control: control, snapshot: snapshot).answer()
    }
  }

  /// The users behind a number of a trend.
  ///
  /// - Parameters:
  ///   - refDate: of a point; nil: the whole range.
  ///   - ordinal: which of the points of that name: an hour that daylight saving repeats is two. From 1 on.
  ///   - series: nil: all together.
  package func trendUsers(
    _ query: TrendQuery, _ kind: TrendWanted.Kind, refDate: String?, ordinal: Int,
    series: SeriesCell?, control: QueryControl
  ) throws -> UserList {
    try TrendRun(query, engine: self, control: control).users(kind, refDate, ordinal, series)
  }
}

/// Validates, plans and runs one trend.
private struct TrendRun {
  let query: TrendQuery
  let scope: ReportScope
  let breakdown: Breakdown?

  init(
    _ query: TrendQuery, engine: QueryEngine, control: QueryControl, snapshot: AppSnapshot? = nil
  ) throws {
    guard (1...Limits.breakdownLimitMax).contains(query.breakdownLimit) else {
      throw QueryError.invalid(
        "breakdown_limit", "is \(query.breakdownLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
    try query.granularity.check(query.days, field: "range")
    if let days = query.compareDays { try query.granularity.check(days, field: "compare_range") }
    self.query = query
    let snapshot = try snapshot ?? engine.snapshot(query.appID)
    let breakdown = try query.breakdown.map { try Breakdown($0, in: snapshot) }
    self.breakdown = breakdown
    scope = try ReportScope(
      query.appID, engine, filter: query.filter, traffic: query.traffic, control: control,
      snapshot: snapshot, columns: breakdown == nil ? [.event, .page, .time] : .all,
      contexts: breakdown == nil ? [] : nil, fields: { _ in breakdown?.fieldCodes ?? [] })
  }

  func answer() throws -> TrendAnswer {
    let chosen = try choice()
    let main = try scan(periods(query.days), chosen)
    let compared = try query.compareDays.map { try scan(periods($0), nil) }
    return TrendAnswer(
      points: points(main, series: 0), comparePoints: compared.map { points($0, series: 0) } ?? [],
      breakdown: chosen.map { series(main, $0) } ?? [],
      info: scope.info(main.tally, query.days, query.compareDays))
  }

  private func choice() throws -> TrendSeriesChoice? {
    try breakdown.map {
      try TrendSeriesChoice(
        $0, limit: query.breakdownLimit, days: query.days, source: scope.source,
        filter: scope.filter, traffic: query.traffic, control: scope.control)
    }
  }

  private func periods(_ days: ClosedRange<Int>) -> [Period] {
    Period.periods(days, query.granularity, scope.snapshot.calendar)
  }

  private func scan(
    _ periods: [Period], _ chosen: TrendSeriesChoice?, wanted: TrendWanted? = nil
  ) throws -> TrendResult {
    if isOfDays, chosen == nil, wanted == nil {
      return try TrendOfDays(
        source: scope.source, periods: periods, traffic: query.traffic, metrics: query.metrics,
        control: scope.control
      ).run()
    }
    return try TrendScan(
      source: scope.source, periods: periods, filter: scope.filter, series: chosen,
      traffic: query.traffic, control: scope.control, wanted: wanted
    ).run()
  }

  /// Whether whole days can be added up.
  private var isOfDays: Bool {
    switch query.granularity {
    case .minute, .hour: false
    case .day, .week, .month, .all: scope.filter == nil
    }
  }

  private func points(_ result: TrendResult, series: Int) -> [TrendPoint] {
    result.periods.enumerated().map { index, period in
      TrendPoint(
        period: period,
        isComplete: period.isWhole && scope.isOver(period.milliseconds.upperBound),
        metrics: result.metrics[index * result.seriesCount + series])
    }
  }

  // MARK: Users

  func users(
    _ kind: TrendWanted.Kind, _ refDate: String?, _ ordinal: Int, _ cell: SeriesCell?
  ) throws -> UserList {
    let chosen = try choice()
    let series = try cell.map { cell in
      guard let chosen else { throw QueryError.invalid("cell.group", "the report has no breakdown") }
      return try chosen.series(cell)
    } ?? 0
    let (periods, period) = try point(refDate, ordinal)
    if kind == .visitTotal, series == 0, scope.filter == nil {
      return try everActive(by: periods[period])
    }
    let found = try scan(
      periods, chosen, wanted: TrendWanted(kind: kind, period: period, series: series))
    return UserList(
      users: found.users, app: scope.snapshot.app, info: scope.info(found.tally, query.days))
  }

  /// Without a filter the number is of the first active times, which know the users of dropped days too.
  private func everActive(by period: Period) throws -> UserList {
    var users: [UInt32] = []
    scope.snapshot.times.view(query.traffic.classes).forEach { user, time in
      if time < period.milliseconds.upperBound { users.append(user) }
    }
    let tally = try scope.source.tally(period.days, query.traffic)
    return UserList(
      users: users, app: scope.snapshot.app, info: scope.info(tally, query.days))
  }

  /// The periods that must be looked at for a point, and which of them it is.
  private func point(_ refDate: String?, _ ordinal: Int) throws -> ([Period], Int) {
    guard let refDate else {
      return (Period.periods(query.days, .all, scope.snapshot.calendar), 0)
    }
    let main = periods(query.days).filter { $0.refDate == refDate }
    // A name that only the second period has.
    let found = main.isEmpty ? (query.compareDays.map(periods) ?? []).filter { $0.refDate == refDate } : main
    guard ordinal <= found.count else {
      throw QueryError.invalid("cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
    }
    let wanted = found[ordinal - 1]
    switch query.granularity {
    case .minute, .hour:
      let day = periods(wanted.days)
      return (day, day.firstIndex(of: wanted) ?? 0)
    default: return ([wanted], 0)
    }
  }

  private func series(_ result: TrendResult, _ chosen: TrendSeriesChoice) -> [TrendSeries] {
    var series = chosen.values.enumerated().map { index, value in
      TrendSeries(value: value, isOther: false, points: points(result, series: index + 1))
    }
    if chosen.hasOther {
      let other = chosen.values.count + 1
      series.append(TrendSeries(value: nil, isOther: true, points: points(result, series: other)))
    }
    return series
  }
}
