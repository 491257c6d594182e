import Events
package import Messages
package import RPC

/// Answers how fast and how stable the mini program is.
package final class PerformanceService: PerformanceHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getPerformance(
    _ request: ProtoGetPerformanceRequest, context: CallContext
  ) async throws -> ProtoGetPerformanceResponse { try await runner.answer(request, context) }
}

extension ProtoGetPerformanceRequest: ReportRequest, UserListing {
  var breakdownFields: [String] { [breakdown] }

  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetPerformanceResponse {
    ProtoGetPerformanceResponse(
      try engine.performance(PerformanceQuery(self, appID: appID), control: control))
  }

  /// `error_users`, `crash_users`, or a metric's name: those with a measurement.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    let refDate = cell.refDate.isEmpty ? nil : cell.refDate
    let stability = ["error_users": PerformanceCell.errors, "crash_users": .crashes][cell.metric]
    if stability != nil, refDate != nil {
      throw QueryError.invalid("cell.ref_date", "stability is of the whole range")
    }
    try cell.check([.refDate, .group])
    return try engine.performanceUsers(
      PerformanceQuery(self, appID: appID),
      stability ?? .measured(metric: cell.metric, refDate: refDate), group: try cell.groupValues,
      isOther: cell.other, control: control)
  }
}

extension PerformanceQuery {
  init(_ request: ProtoGetPerformanceRequest, appID: String) throws {
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      granularity: try Granularity(request.granularity),
      compareDays: request.hasCompareRange
        ? try DayRange(request.compareRange, field: "compare_range").days : nil,
      metrics: request.metrics, breakdown: request.breakdown.isEmpty ? nil : request.breakdown,
      breakdownLimit: try checkedBreakdownLimit(request.breakdownLimit),
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
  }
}

// MARK: - Answers

extension ProtoGetPerformanceResponse {
  init(_ answer: PerformanceAnswer) {
    self.init()
    series = answer.series.map(ProtoPerformanceSeries.init)
    stability = ProtoStabilityMetrics(answer.stability)
    if let compared = answer.compareStability {
      compareStability = ProtoStabilityMetrics(compared)
    }
    breakdown = answer.breakdown.map { group in
      var proto = ProtoPerformanceGroup()
      if let value = group.value { proto.value = ProtoFieldValue(value) }
      proto.other = group.isOther
      proto.series = group.series.map(ProtoPerformanceSeries.init)
      proto.stability = ProtoStabilityMetrics(group.stability)
      return proto
    }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoPerformanceSeries {
  init(_ series: PerformanceSeries) {
    self.init()
    metric = series.metric
    total = ProtoDurationMetrics(series.total)
    points = series.points.map { point in
      var proto = ProtoPerformancePoint()
      proto.refDate = point.period.refDate
      proto.beginMs = point.period.milliseconds.lowerBound
      proto.endMs = point.period.milliseconds.upperBound
      proto.complete = point.isComplete
      proto.duration = ProtoDurationMetrics(point.duration)
      return proto
    }
    if let compared = series.compareTotal { compareTotal = ProtoDurationMetrics(compared) }
  }
}

extension ProtoDurationMetrics {
  init(_ duration: DurationMetrics) {
    self.init()
    count = duration.count
    users = duration.users
    mean = duration.mean
    p50 = duration.p50
    p75 = duration.p75
    p90 = duration.p90
    p95 = duration.p95
    p99 = duration.p99
    max = duration.max
  }
}

extension ProtoStabilityMetrics {
  init(_ stability: StabilityMetrics) {
    self.init()
    errors = stability.errors
    crashes = stability.crashes
    errorUsers = stability.errorUsers
    crashUsers = stability.crashUsers
    visitUv = stability.visitUsers
    sessionCnt = stability.sessionCount
    errorUserRate = stability.errorUserRate
    crashUserRate = stability.crashUserRate
    errorsPerSession = stability.errorsPerSession
    crashesPerSession = stability.crashesPerSession
  }
}

/// Rows of durations, then rows of stability; `kind` says of which part.
extension ProtoGetPerformanceResponse: CSVReport {
  private static let durations = ["count", "users", "mean", "p50", "p75", "p90", "p95", "p99", "max"]
  private static let stabilities = [
    "errors", "crashes", "error_users", "crash_users", "visit_uv", "session_cnt",
    "error_user_rate", "crash_user_rate", "errors_per_session", "crashes_per_session",
  ]

  var csvColumns: [String] {
    ["kind", "value", "other", "metric", "ref_date"] + Self.durations + Self.stabilities
  }

  var csvRows: [[CSVCell?]] {
    var rows = Self.rows(series, value: nil, other: false)
    rows.append(Self.row("stability", nil, false, stability))
    if hasCompareStability { rows.append(Self.row("compare_stability", nil, false, compareStability)) }
    for group in breakdown {
      let value = CSVCell(group.value)
      rows += Self.rows(group.series, value: value, other: group.other)
      rows.append(Self.row("stability", value, group.other, group.stability))
    }
    return rows
  }

  private static func rows(
    _ series: [ProtoPerformanceSeries], value: CSVCell?, other: Bool
  ) -> [[CSVCell?]] {
    let empty = [CSVCell?](repeating: nil, count: stabilities.count)
    return series.flatMap { one in
      func row(_ kind: String, _ refDate: String?, _ duration: ProtoDurationMetrics) -> [CSVCell?] {
        [
          .text(kind), value, .boolean(other), .text(one.metric), refDate.map(CSVCell.text),
        ] + duration.csvCells + empty
      }
      return [row("total", nil, one.total)]
        + (one.hasCompareTotal ? [row("compare_total", nil, one.compareTotal)] : [])
        + one.points.map { row("point", $0.refDate, $0.duration) }
    }
  }

  private static func row(
    _ kind: String, _ value: CSVCell?, _ other: Bool, _ stability: ProtoStabilityMetrics
  ) -> [CSVCell?] {
    let empty = [CSVCell?](repeating: nil, count: 2 + durations.count)
    return [.text(kind), value, .boolean(other)] + empty + stability.csvCells
  }
}

extension ProtoDurationMetrics {
  fileprivate var csvCells: [CSVCell?] {
    [
      .integer(Int64(count)), .integer(Int64(users)), .number(mean), .number(p50), .number(p75),
      .number(p90), .number(p95), .number(p99), .number(max),
    ]
  }
}

extension ProtoStabilityMetrics {
  fileprivate var csvCells: [CSVCell?] {
    [
      .integer(Int64(errors)), .integer(Int64(crashes)), .integer(Int64(errorUsers)),
      .integer(Int64(crashUsers)), .integer(Int64(visitUv)), .integer(Int64(sessionCnt)),
      .number(errorUserRate), .number(crashUserRate), .number(errorsPerSession),
      .number(crashesPerSession),
    ]
  }
}
