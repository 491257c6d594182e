import Events
package import Messages
package import RPC

/// Answers where visits come from.
package final class TrafficService: TrafficHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getSources(
    _ request: ProtoGetSourcesRequest, context: CallContext
  ) async throws -> ProtoGetSourcesResponse {
    try await runner.answer(request, context)
  }
}

extension ProtoGetSourcesRequest: UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetSourcesResponse {
    ProtoGetSourcesResponse(try engine.sources(SourcesQuery(self, appID: appID), control: control))
  }

  /// `visit_uv`, `visit_uv_new`, `conversion_uv`; of a row, of a point of it, or of all sources together.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check([.refDate, .group])
    let kind: SourceUsers
    switch cell.metric {
    case "visit_uv": kind = .active
    case "visit_uv_new": kind = .new
    case "conversion_uv": kind = .converted
    default: throw cell.unknownMetric("visit_uv, visit_uv_new, conversion_uv")
    }
    return try engine.sourcesUsers(
      SourcesQuery(self, appID: appID), kind, refDate: cell.refDate.isEmpty ? nil : cell.refDate,
      row: SeriesCell.of(cell), control: control)
  }
}

extension SourcesQuery {
  init(_ request: ProtoGetSourcesRequest, appID: String) throws {
    guard request.limit <= UInt32(Limits.sourcesMax) else {
      throw QueryError.invalid("limit", "is \(request.limit), must be 1-\(Limits.sourcesMax)")
    }
    self.init(
      appID: appID, days: try askedDays(request.range),
      compareDays: request.hasCompareRange
        ? try askedDays(request.compareRange, field: "compare_range") : nil,
      dimension: try Dimension(name: request.dimension),
      limit: request.limit == 0 ? nil : Int(request.limit),
      granularity: try Granularity(request.granularity),
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      retentionDays: request.retentionDays.map { Int($0) },
      conversion: request.hasConversion ? try Conversion(request.conversion) : nil)
  }
}

extension SourcesQuery.Dimension {
  init(name: String) throws(QueryError) {
    if name.isEmpty {
      self = .sourceKey
      return
    }
    guard let dimension = Self(rawValue: name) else {
      let known = Self.allCases.map(\.rawValue).joined(separator: ", ")
      throw .invalid("dimension", "\"\(name.prefix(64))\" is none of \(known)")
    }
    self = dimension
  }
}

extension SourcesQuery.Conversion {
  init(_ match: ProtoEventMatch) throws {
    self.init(
      match.events,
      filter: match.hasFilter ? try FilterTree(match.filter, asked: "conversion.filter") : nil)
  }
}

extension ProtoGetSourcesResponse {
  init(_ answer: SourcesAnswer) {
    self.init()
    rows = answer.rows.map(ProtoSourceRow.init)
    total = ProtoSourceMetrics(answer.total)
    if let compare = answer.compareTotal { compareTotal = ProtoSourceMetrics(compare) }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoSourceRow {
  init(_ row: SourceRow) {
    self.init()
    if let value = row.value { self.value = ProtoFieldValue(value) }
    name = row.name
    other = row.isOther
    metrics = ProtoSourceMetrics(row.metrics)
    if let compare = row.compare { self.compare = ProtoSourceMetrics(compare) }
    points = row.points.map { point in
      var proto = ProtoSourcePoint()
      proto.refDate = point.period.refDate
      proto.beginMs = point.period.milliseconds.lowerBound
      proto.endMs = point.period.milliseconds.upperBound
      proto.complete = point.isComplete
      proto.metrics = ProtoSourceMetrics(point.metrics)
      return proto
    }
    retention = row.retention.map { retention in
      var proto = ProtoSourceRetention()
      proto.day = UInt32(retention.day)
      proto.newUsers = retention.newUsers
      proto.users = retention.users
      proto.share = retention.share
      return proto
    }
  }
}

extension ProtoSourceMetrics {
  init(_ metrics: SourceMetrics) {
    self.init()
    sessionCnt = metrics.sessionCount
    visitPv = metrics.pageViews
    visitUv = metrics.visitUsers
    visitUvNew = metrics.visitNewUsers
    conversionUv = metrics.conversionUsers
    conversionRate = metrics.conversionRate
    stayTimeSession = metrics.staySecondsPerSession
    bounceRate = metrics.bounceRate
  }
}

// MARK: CSV

extension ProtoGetSourcesResponse: CSVReport {
  private static let metricNames = [
    "session_cnt", "visit_pv", "visit_uv", "visit_uv_new", "conversion_uv", "conversion_rate",
    "stay_time_session", "bounce_rate",
  ]

  /// `series` says what a row is of: `total`, `compare_total`, `source`, `compare`, `point`, `retention`.
  var csvColumns: [String] {
    ["series", "value", "name", "other", "ref_date", "complete"] + Self.metricNames
      + ["day", "new_users", "users", "share"]
  }

  var csvRows: [[CSVCell?]] {
    var cells = [Self.row("total", nil, metrics: total)]
    if hasCompareTotal { cells.append(Self.row("compare_total", nil, metrics: compareTotal)) }
    for row in rows {
      cells.append(Self.row("source", row, metrics: row.metrics))
      if row.hasCompare { cells.append(Self.row("compare", row, metrics: row.compare)) }
      cells += row.points.map { Self.row("point", row, point: $0, metrics: $0.metrics) }
      cells += row.retention.map { Self.row("retention", row, retention: $0) }
    }
    return cells
  }

  private static func row(
    _ series: String, _ row: ProtoSourceRow?, point: ProtoSourcePoint? = nil,
    metrics: ProtoSourceMetrics? = nil, retention: ProtoSourceRetention? = nil
  ) -> [CSVCell?] {
    let value = row.flatMap { $0.hasValue ? $0.value.csvCell : nil }
    let head: [CSVCell?] = [
      .text(series), value, row.map { .text($0.name) }, row.map { .boolean($0.other) },
      point.map { .text($0.refDate) }, point.map { .boolean($0.complete) },
    ]
    let tail: [CSVCell?] = [
      retention.map { .integer(Int64($0.day)) }, retention.map { .integer(Int64($0.newUsers)) },
      retention.map { .integer(Int64($0.users)) }, retention.map { .number($0.share) },
    ]
    let cells: [CSVCell?] = metrics?.csvCells ?? Array(repeating: nil, count: metricNames.count)
    return head + cells + tail
  }
}

extension ProtoSourceMetrics {
  fileprivate var csvCells: [CSVCell?] {
    [
      .integer(Int64(sessionCnt)), .integer(Int64(visitPv)), .integer(Int64(visitUv)),
      .integer(Int64(visitUvNew)), .integer(Int64(conversionUv)), .number(conversionRate),
      .number(stayTimeSession), .number(bounceRate),
    ]
  }
}
