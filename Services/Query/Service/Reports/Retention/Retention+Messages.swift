import Events
package import Messages
package import RPC

/// Answers retentions.
package final class RetentionService: RetentionHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getRetention(
    _ request: ProtoGetRetentionRequest, context: CallContext
  ) async throws -> ProtoGetRetentionResponse { try await runner.answer(request, context) }
}

extension ProtoGetRetentionRequest: ReportRequest, UserListing {
  var breakdownFields: [String] { [breakdown] }

  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetRetentionResponse {
    ProtoGetRetentionResponse(
      try engine.retention(RetentionQuery(self, appID: appID), control: control))
  }

  /// `size` is a cohort, `users` the cell of `key`.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    guard cell.metric == "size" || cell.metric == "users" else {
      throw QueryError.invalid(
        "cell.metric", "\"\(cell.metric.prefix(64))\" is neither size nor users")
    }
    try cell.check(cell.metric == "size" ? [.refDate, .group] : [.refDate, .group, .key])
    return try engine.retentionUsers(
      RetentionQuery(self, appID: appID), refDate: cell.refDate,
      key: cell.metric == "size" ? nil : Int(cell.key), group: try cell.groupValues,
      isOther: cell.other, control: control)
  }
}

extension RetentionQuery {
  init(_ request: ProtoGetRetentionRequest, appID: String) throws {
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      unit: try CalendarUnit(Granularity(request.granularity), asked: "granularity"),
      cohort: try Cohort(request),
      returnEvent: request.hasReturnEvent
        ? try EventChoice(request.returnEvent, asked: "return_event") : nil,
      columns: try Columns(request),
      breakdown: request.breakdown.isEmpty ? nil : request.breakdown,
      breakdownLimit: try checkedBreakdownLimit(request.breakdownLimit),
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      compareDays: request.hasCompareRange
        ? try DayRange(request.compareRange, field: "compare_range").days : nil)
  }
}

extension RetentionQuery.Cohort {
  init(_ request: ProtoGetRetentionRequest) throws(QueryError) {
    if request.cohort != .event, request.hasCohortEvent {
      throw .invalid("cohort_event", "goes with the cohort EVENT only")
    }
    switch request.cohort {
    case .unspecified, .new: self = .new
    case .active: self = .active
    case .event:
      guard request.hasCohortEvent else {
        throw .invalid("cohort_event", "required by the cohort EVENT")
      }
      self = .event(try EventChoice(request.cohortEvent, asked: "cohort_event"))
    case .UNRECOGNIZED(let number): throw .invalid("cohort", "\(number) is not known")
    }
  }
}

extension RetentionQuery.Columns {
  init(_ request: ProtoGetRetentionRequest) throws(QueryError) {
    let keys = request.keys.isEmpty ? nil : request.keys.map(Int.init)
    if request.mode != .bracket, !request.brackets.isEmpty {
      throw .invalid("brackets", "go with the mode BRACKET only")
    }
    switch request.mode {
    case .unspecified, .on: self = .keys(keys, .on)
    case .onOrAfter: self = .keys(keys, .onOrAfter)
    case .bracket:
      guard keys == nil else { throw .invalid("keys", "do not go with the mode BRACKET") }
      var brackets: [ClosedRange<Int>] = []
      for (index, bracket) in request.brackets.enumerated() {
        guard bracket.begin <= bracket.end else {
          throw .invalid(
            "brackets[\(index)].end", "is \(bracket.end), must not be below begin, \(bracket.begin)")
        }
        brackets.append(Int(bracket.begin)...Int(bracket.end))
      }
      self = .brackets(brackets)
    case .UNRECOGNIZED(let number): throw .invalid("mode", "\(number) is not known")
    }
  }
}

// MARK: - Answers

extension ProtoGetRetentionResponse {
  init(_ answer: RetentionAnswer) {
    self.init()
    table = ProtoRetentionTable(answer.table)
    if let compare = answer.compareTable { compareTable = ProtoRetentionTable(compare) }
    breakdown = answer.breakdown.map { series in
      var proto = ProtoRetentionSeries()
      if let value = series.value { proto.value = ProtoFieldValue(value) }
      proto.other = series.isOther
      proto.table = ProtoRetentionTable(series.table)
      return proto
    }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoRetentionTable {
  init(_ table: RetentionTable) {
    self.init()
    rows = table.rows.map { row in
      var proto = ProtoRetentionRow()
      proto.refDate = row.period.refDate
      proto.beginMs = row.period.milliseconds.lowerBound
      proto.endMs = row.period.milliseconds.upperBound
      proto.complete = row.isComplete
      proto.size = row.size
      proto.cells = row.cells.map(ProtoRetentionCell.init)
      return proto
    }
    curve = table.curve.map(ProtoRetentionCell.init)
  }
}

extension ProtoRetentionCell {
  init(_ cell: RetentionCell) {
    self.init()
    key = UInt32(cell.periods.lowerBound)
    endKey = UInt32(cell.periods.upperBound)
    users = cell.users
    share = cell.share
    complete = cell.isComplete
  }
}

/// One row per cell; `kind` says of which table. Rows of the curve have no period.
extension ProtoGetRetentionResponse: CSVReport {
  var csvColumns: [String] {
    [
      "kind", "value", "other", "ref_date", "size", "key", "end_key", "users", "share", "complete",
    ]
  }

  var csvRows: [[CSVCell?]] {
    table.csvRows.map { [.text("table"), nil, .boolean(false)] + $0 }
      + (hasCompareTable ? compareTable.csvRows : [])
      .map { [.text("compare_table"), nil, .boolean(false)] + $0 }
      + breakdown.flatMap { series in
        series.table.csvRows.map {
          [.text("breakdown"), CSVCell(series.value), .boolean(series.other)] + $0
        }
      }
  }
}

extension ProtoRetentionTable {
  fileprivate var csvRows: [[CSVCell?]] {
    rows.flatMap { row in
      row.cells.map { cell in
        [.text(row.refDate), .integer(Int64(row.size))] + Self.csvCells(cell)
      }
    } + curve.map { [nil, nil] + Self.csvCells($0) }
  }

  private static func csvCells(_ cell: ProtoRetentionCell) -> [CSVCell?] {
    [
      .integer(Int64(cell.key)), .integer(Int64(cell.endKey)), .integer(Int64(cell.users)),
      .number(cell.share), .boolean(cell.complete),
    ]
  }
}
