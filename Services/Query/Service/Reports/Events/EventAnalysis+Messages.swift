import Events
package import Messages
package import RPC

/// Answers event analyses.
package final class EventAnalysisService: EventAnalysisHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func analyzeEvents(
    _ request: ProtoAnalyzeEventsRequest, context: CallContext
  ) async throws -> ProtoAnalyzeEventsResponse { try await runner.answer(request, context) }
}

extension ProtoAnalyzeEventsRequest: ReportRequest, UserListing {
  var breakdownFields: [String] { groupBy }

  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoAnalyzeEventsResponse {
    ProtoAnalyzeEventsResponse(
      try engine.analyzeEvents(EventAnalysisQuery(self, appID: appID), control: control))
  }

  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try engine.eventUsers(
      EventAnalysisQuery(self, appID: appID), EventCell(cell), control: control)
  }
}

extension EventCell {
  init(_ cell: ProtoUserCell) throws(QueryError) {
    try cell.check([.refDate, .group])
    self.init(
      series: cell.metric, refDate: cell.refDate.isEmpty ? nil : cell.refDate,
      group: try cell.groupValues, isOther: cell.other)
  }
}

extension ProtoUserCell {
  /// Of a breakdown: its values; one that is missing is nil.
  var groupValues: [FieldValue?] {
    get throws(QueryError) {
      guard group.isEmpty || !other else { throw .invalid("cell.group", "none with other") }
      var values: [FieldValue?] = []
      for one in group {
        guard one.hasValue, one.value.kind != nil else {
          values.append(nil)
          continue
        }
        values.append(try FieldValue(one.value, asked: "cell.group"))
      }
      return values
    }
  }
}

extension EventAnalysisQuery {
  init(_ request: ProtoAnalyzeEventsRequest, appID: String) throws {
    guard request.groupLimit <= UInt32(Limits.breakdownLimitMax) else {
      throw QueryError.invalid(
        "group_limit", "is \(request.groupLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      granularity: try Granularity(request.granularity),
      compareDays: request.hasCompareRange
        ? try DayRange(request.compareRange, field: "compare_range").days : nil,
      series: try request.series.enumerated().map { try Series($1, asked: "series[\($0)]") },
      formulas: request.formulas.map { NamedFormula($0.name, $0.expression) },
      groupBy: request.groupBy, groupLimit: request.groupLimit == 0 ? nil : Int(request.groupLimit),
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
  }
}

extension EventAnalysisQuery.Series {
  init(_ series: ProtoEventSeries, asked: String) throws(QueryError) {
    self.init(
      EventChoice(
        series.events,
        filter: series.hasFilter ? try FilterTree(series.filter, asked: "\(asked).filter") : nil),
      try EventAnalysisQuery.Metric(series.metric, asked: "\(asked).metric"),
      field: series.field, name: series.name)
  }
}

extension EventChoice {
  /// What a step, a cohort or a condition speaks of: at least one event.
  init(_ match: ProtoEventMatch, asked: String) throws(QueryError) {
    self.init(
      match.events,
      filter: match.hasFilter ? try FilterTree(match.filter, asked: "\(asked).filter") : nil)
    try check(asked: asked, names: 1...Limits.eventsPerStepMax)
  }
}

extension EventAnalysisQuery.Metric {
  init(_ metric: ProtoEventMetric, asked: String) throws(QueryError) {
    switch metric {
    case .unspecified, .total: self = .total
    case .users: self = .users
    case .perUser: self = .perUser
    case .sum: self = .sum
    case .avg: self = .avg
    case .min: self = .min
    case .max: self = .max
    case .p50: self = .p50
    case .p75: self = .p75
    case .p90: self = .p90
    case .p95: self = .p95
    case .p99: self = .p99
    case .distinct: self = .distinct
    case .UNRECOGNIZED(let number): throw .invalid(asked, "\(number) is not known")
    }
  }
}

// MARK: - Answers

extension ProtoAnalyzeEventsResponse {
  init(_ answer: EventAnalysisAnswer) {
    self.init()
    results = answer.results.map(ProtoEventSeriesResult.init)
    groups = answer.groups.map { group in
      var proto = ProtoEventGroup()
      proto.key = group.key.map(ProtoGroupValue.init)
      proto.other = group.isOther
      proto.results = group.results.map(ProtoEventSeriesResult.init)
      return proto
    }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoGroupValue {
  init(_ value: FieldValue?) {
    self.init()
    if let value { self.value = ProtoFieldValue(value) }
  }
}

extension ProtoEventSeriesResult {
  init(_ result: EventSeriesResult) {
    self.init()
    name = result.name
    points = result.points.map(ProtoEventPoint.init)
    total = ProtoEventPoint(result.total)
    comparePoints = result.comparePoints.map(ProtoEventPoint.init)
    if let compare = result.compareTotal { compareTotal = ProtoEventPoint(compare) }
  }
}

extension ProtoEventPoint {
  init(_ point: EventPoint) {
    self.init()
    refDate = point.period.refDate
    beginMs = point.period.milliseconds.lowerBound
    endMs = point.period.milliseconds.upperBound
    complete = point.isComplete
    if let value = point.value { self.value = value }
  }
}

// MARK: - CSV

extension CSVCell {
  init?(_ value: ProtoFieldValue) {
    switch value.kind {
    case .stringValue(let text): self = .text(text)
    case .integerValue(let number): self = .integer(number)
    case .doubleValue(let number): self = .number(number)
    case .booleanValue(let flag): self = .boolean(flag)
    case nil: return nil
    }
  }
}

/// One row per point; `kind` says of what.
extension ProtoAnalyzeEventsResponse: CSVReport {
  private var keyCount: Int { groups.map(\.key.count).max() ?? 0 }

  var csvColumns: [String] {
    (0..<keyCount).map { "key_\($0 + 1)" } + (groups.isEmpty ? [] : ["other"])
      + ["name", "kind", "ref_date", "begin_ms", "end_ms", "complete", "value"]
  }

  var csvRows: [[CSVCell?]] {
    results.flatMap(\.csvRows)
      + groups.flatMap { group in
        let key = (0..<keyCount).map { index -> CSVCell? in
          index < group.key.count ? CSVCell(group.key[index].value) : nil
        }
        return group.results.flatMap(\.csvRows).map { key + [.boolean(group.other)] + $0 }
      }
  }
}

extension ProtoEventSeriesResult {
  fileprivate var csvRows: [[CSVCell?]] {
    points.map { row("point", $0) } + [row("total", total)]
      + comparePoints.map { row("compare_point", $0) }
      + (hasCompareTotal ? [row("compare_total", compareTotal)] : [])
  }

  private func row(_ kind: String, _ point: ProtoEventPoint) -> [CSVCell?] {
    [
      .text(name), .text(kind), .text(point.refDate), .integer(point.beginMs),
      .integer(point.endMs), .boolean(point.complete), point.hasValue ? .number(point.value) : nil,
    ]
  }
}
