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

  package init(
    appID: String, days: ClosedRange<Int>, granularity: Granularity = .day,
    compareDays: ClosedRange<Int>? = nil, filter: FilterTree? = nil, breakdown: String? = nil,
    breakdownLimit: Int? = nil, traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.granularity = granularity
    self.compareDays = compareDays
    self.filter = filter
    self.breakdown = breakdown
    self.breakdownLimit = breakdownLimit ?? Limits.breakdownLimitDefault
    self.traffic = traffic
  }
}

/// The metrics of one point; sums rather than quotients, so that nothing is rounded twice.
package struct TrendMetrics: Sendable, Equatable {
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
}

/// Validates, plans and runs one trend.
private struct TrendRun {
  let query: TrendQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  let filter: FilterProgram?
  let breakdown: Breakdown?

  init(_ query: TrendQuery, engine: QueryEngine, control: QueryControl) throws {
    guard (1...Limits.breakdownLimitMax).contains(query.breakdownLimit) else {
      throw QueryError.invalid(
        "breakdown_limit", "is \(query.breakdownLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    filter = try query.filter.map { [snapshot] in try FilterProgram($0, in: snapshot) }
    breakdown = try query.breakdown.map { [snapshot] in try Breakdown($0, in: snapshot) }
    let fields = (filter?.fieldCodes ?? []).union(breakdown?.fieldCodes ?? [])
    source = try DaySource(
      snapshot, engine: engine, fields: fields.union([FieldKey.stayCode]), control: control)
  }

  func answer() throws -> TrendAnswer {
    let chosen = try breakdown.map {
      try TrendSeriesChoice(
        $0, limit: query.breakdownLimit, days: query.days, source: source, filter: filter,
        traffic: query.traffic, control: control)
    }
    let main = try scan(query.days, chosen)
    let compared = try query.compareDays.map { try scan($0, nil) }
    let ends = [main.periods.last, compared?.periods.last].compactMap { $0?.milliseconds.upperBound }
    let received = snapshot.position.receivedMilliseconds
    return TrendAnswer(
      points: points(main, series: 0), comparePoints: compared.map { points($0, series: 0) } ?? [],
      breakdown: chosen.map { series(main, $0) } ?? [],
      info: AnswerInfo(snapshot, main.tally, isComplete: ends.allSatisfy { $0 <= received }))
  }

  private func scan(_ days: ClosedRange<Int>, _ chosen: TrendSeriesChoice?) throws -> TrendResult {
    let periods = Period.periods(days, query.granularity, snapshot.calendar)
    var known: [UInt32: Int64] = [:]
    while true {
      let scan = try TrendScan(
        source: source, periods: periods, filter: filter, series: chosen, traffic: query.traffic,
        control: control, knownBackgrounds: known)
      let missing = try scan.run()
      if missing.isEmpty { return scan.result }
      // Rare: the first thing that a user does in the range, without a gap before it, is to come back from a background
      // that began before. Look up when, then scan again.
      let found = try BackgroundSearch.run(missing, before: days.lowerBound, source)
      precondition(found.keys.allSatisfy { known[$0] == nil }, "what is known is not missing")
      known.merge(found) { _, new in new }
    }
  }

  private func points(_ result: TrendResult, series: Int) -> [TrendPoint] {
    let received = snapshot.position.receivedMilliseconds
    return result.periods.enumerated().map { index, period in
      TrendPoint(
        period: period,
        isComplete: period.isWhole && period.milliseconds.upperBound <= received,
        metrics: result.metrics[index * result.seriesCount + series])
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

/// What a scan counted: `metrics[period * seriesCount + series]`; series 0 is the whole.
struct TrendResult {
  let periods: [Period]
  let seriesCount: Int
  var metrics: [TrendMetrics]
  var tally: EventTally
}
