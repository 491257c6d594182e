import Messages

extension ProtoGetTrendRequest: UserListing {
  var breakdownFields: [String] { [breakdown] }

  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetTrendResponse {
    ProtoGetTrendResponse(try engine.trend(TrendQuery(self, appID: appID), control: control))
  }

  /// `visit_total`, `visit_uv`, `visit_uv_new`, `share_uv`; of a point, of a value of the breakdown, or of both. `key` 2 is
  /// the second of two points of one name.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    // Only where a clock is set back do two points have one name.
    let isByClock = granularity == .hour || granularity == .minute
    try cell.check(
      isByClock && !cell.refDate.isEmpty ? [.refDate, .group, .key] : [.refDate, .group])
    guard cell.key <= 2 else { throw QueryError.invalid("cell.key", "is \(cell.key), must be 0-2") }
    return try engine.trendUsers(
      TrendQuery(self, appID: appID), TrendWanted.Kind(cell),
      refDate: cell.refDate.isEmpty ? nil : cell.refDate, ordinal: max(1, Int(cell.key)),
      series: SeriesCell.of(cell), control: control)
  }
}

extension TrendWanted.Kind {
  init(_ cell: ProtoUserCell) throws(QueryError) {
    switch cell.metric {
    case "visit_total": self = .visitTotal
    case "visit_uv": self = .visitUsers
    case "visit_uv_new": self = .visitNewUsers
    case "share_uv": self = .shareUsers
    default: throw cell.unknownMetric("visit_total, visit_uv, visit_uv_new, share_uv")
    }
  }
}

extension TrendQuery {
  init(_ request: ProtoGetTrendRequest, appID: String) throws {
    self.init(
      appID: appID, days: try askedDays(request.range),
      granularity: try Granularity(request.granularity),
      compareDays: request.hasCompareRange
        ? try askedDays(request.compareRange, field: "compare_range") : nil,
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      breakdown: request.breakdown.isEmpty ? nil : request.breakdown,
      breakdownLimit: try checkedBreakdownLimit(request.breakdownLimit),
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
  }
}

extension ProtoGetTrendResponse {
  init(_ answer: TrendAnswer) {
    self.init()
    points = answer.points.map(ProtoTrendPoint.init)
    comparePoints = answer.comparePoints.map(ProtoTrendPoint.init)
    breakdown = answer.breakdown.map { series in
      var proto = ProtoTrendSeries()
      if let value = series.value { proto.value = ProtoFieldValue(value) }
      proto.other = series.isOther
      proto.points = series.points.map(ProtoTrendPoint.init)
      return proto
    }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoTrendPoint {
  init(_ point: TrendPoint) {
    self.init()
    refDate = point.period.refDate
    beginMs = point.period.milliseconds.lowerBound
    endMs = point.period.milliseconds.upperBound
    complete = point.isComplete
    metrics = ProtoTrendMetrics(point.metrics)
  }
}

extension ProtoTrendMetrics {
  init(_ metrics: TrendMetrics) {
    self.init()
    visitTotal = metrics.visitTotal
    sessionCnt = metrics.sessionCount
    visitPv = metrics.visitPageViews
    visitUv = metrics.visitUsers
    visitUvNew = metrics.visitNewUsers
    sharePv = metrics.sharePageViews
    shareUv = metrics.shareUsers
    stayTimeUv = metrics.staySecondsPerUser
    stayTimeSession = metrics.staySecondsPerSession
    visitDepth = metrics.visitDepth
    eventCnt = metrics.eventCount
  }
}

// MARK: CSV

/// `series` says what a row is of: `points`, `compare_points`, `breakdown` or `other`.
extension ProtoGetTrendResponse: CSVReport {
  var csvColumns: [String] {
    [
      "series", "value", "ref_date", "begin_ms", "end_ms", "complete", "visit_total",
      "session_cnt", "visit_pv", "visit_uv", "visit_uv_new", "share_pv", "share_uv",
      "stay_time_uv", "stay_time_session", "visit_depth", "event_cnt",
    ]
  }

  var csvRows: [[CSVCell?]] {
    points.map { $0.csvRow("points", nil) }
      + comparePoints.map { $0.csvRow("compare_points", nil) }
      + breakdown.flatMap { series in
        series.points.map {
          $0.csvRow(series.other ? "other" : "breakdown", series.hasValue ? series.value.csvCell : nil)
        }
      }
  }
}

extension ProtoTrendPoint {
  fileprivate func csvRow(_ series: String, _ value: CSVCell?) -> [CSVCell?] {
    [
      .text(series), value, .text(refDate), .integer(beginMs), .integer(endMs),
      .boolean(complete), .integer(Int64(metrics.visitTotal)),
      .integer(Int64(metrics.sessionCnt)), .integer(Int64(metrics.visitPv)),
      .integer(Int64(metrics.visitUv)), .integer(Int64(metrics.visitUvNew)),
      .integer(Int64(metrics.sharePv)), .integer(Int64(metrics.shareUv)),
      .number(metrics.stayTimeUv), .number(metrics.stayTimeSession), .number(metrics.visitDepth),
      .integer(Int64(metrics.eventCnt)),
    ]
  }
}
