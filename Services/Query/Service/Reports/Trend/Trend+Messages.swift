import Messages

extension ProtoGetTrendRequest: UserListing {
  var breakdownFields: [String] { [breakdown] }

  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetTrendResponse {
    let query = try TrendQuery(self, appID: appID)
    var response = ProtoGetTrendResponse(
      try engine.trend(query, control: control), metrics: query.metrics)
    if !metrics.isEmpty { response.metrics = query.metrics.names }
    return response
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
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      metrics: try Set(asked: request.metrics))
  }
}

extension ProtoGetTrendResponse {
  init(_ answer: TrendAnswer, metrics: Set<TrendMetric>) {
    self.init()
    points = answer.points.map { ProtoTrendPoint($0, metrics: metrics) }
    comparePoints = answer.comparePoints.map { ProtoTrendPoint($0, metrics: metrics) }
    breakdown = answer.breakdown.map { series in
      var proto = ProtoTrendSeries()
      if let value = series.value { proto.value = ProtoFieldValue(value) }
      proto.other = series.isOther
      proto.points = series.points.map { ProtoTrendPoint($0, metrics: metrics) }
      return proto
    }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoTrendPoint {
  init(_ point: TrendPoint, metrics wanted: Set<TrendMetric>) {
    self.init()
    refDate = point.period.refDate
    beginMs = point.period.milliseconds.lowerBound
    endMs = point.period.milliseconds.upperBound
    complete = point.isComplete
    metrics = ProtoTrendMetrics(point.metrics, wanted)
  }
}

extension ProtoTrendMetrics {
  init(_ metrics: TrendMetrics, _ wanted: Set<TrendMetric>) {
    self.init()
    for metric in wanted { set(metric, of: metrics) }
  }

  private mutating func set(_ metric: TrendMetric, of metrics: TrendMetrics) {
    switch metric {
    case .visitTotal: visitTotal = metrics.visitTotal
    case .sessionCount: sessionCnt = metrics.sessionCount
    case .visitPageViews: visitPv = metrics.visitPageViews
    case .visitUsers: visitUv = metrics.visitUsers
    case .visitNewUsers: visitUvNew = metrics.visitNewUsers
    case .sharePageViews: sharePv = metrics.sharePageViews
    case .shareUsers: shareUv = metrics.shareUsers
    case .staySecondsPerUser: stayTimeUv = metrics.staySecondsPerUser
    case .staySecondsPerSession: stayTimeSession = metrics.staySecondsPerSession
    case .visitDepth: visitDepth = metrics.visitDepth
    case .eventCount: eventCnt = metrics.eventCount
    }
  }

  fileprivate func csvCell(_ metric: TrendMetric) -> CSVCell {
    switch metric {
    case .visitTotal: .integer(Int64(visitTotal))
    case .sessionCount: .integer(Int64(sessionCnt))
    case .visitPageViews: .integer(Int64(visitPv))
    case .visitUsers: .integer(Int64(visitUv))
    case .visitNewUsers: .integer(Int64(visitUvNew))
    case .sharePageViews: .integer(Int64(sharePv))
    case .shareUsers: .integer(Int64(shareUv))
    case .staySecondsPerUser: .number(stayTimeUv)
    case .staySecondsPerSession: .number(stayTimeSession)
    case .visitDepth: .number(visitDepth)
    case .eventCount: .integer(Int64(eventCnt))
    }
  }
}

// MARK: CSV

/// `series` says what a row is of: `points`, `compare_points`, `breakdown` or `other`.
extension ProtoGetTrendResponse: CSVReport {
  private var csvMetrics: [TrendMetric] {
    metrics.isEmpty ? TrendMetric.allCases : metrics.compactMap(TrendMetric.init)
  }

  var csvColumns: [String] {
    ["series", "value", "ref_date", "begin_ms", "end_ms", "complete"] + csvMetrics.map(\.rawValue)
  }

  var csvRows: [[CSVCell?]] {
    let metrics = csvMetrics
    return points.map { $0.csvRow("points", nil, metrics) }
      + comparePoints.map { $0.csvRow("compare_points", nil, metrics) }
      + breakdown.flatMap { series in
        series.points.map {
          $0.csvRow(
            series.other ? "other" : "breakdown", series.hasValue ? series.value.csvCell : nil, metrics)
        }
      }
  }
}

extension ProtoTrendPoint {
  fileprivate func csvRow(
    _ series: String, _ value: CSVCell?, _ wanted: [TrendMetric]
  ) -> [CSVCell?] {
    let head: [CSVCell?] = [
      .text(series), value, .text(refDate), .integer(beginMs), .integer(endMs), .boolean(complete),
    ]
    return head + wanted.map { metrics.csvCell($0) }
  }
}
