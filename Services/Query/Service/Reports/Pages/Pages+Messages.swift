import Events
package import Messages
package import RPC

/// Answers what is known of pages.
package final class PagesService: PagesHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getPages(
    _ request: ProtoGetPagesRequest, context: CallContext
  ) async throws -> ProtoGetPagesResponse {
    try await runner.answer(request, context)
  }
}

extension ProtoGetPagesRequest: UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetPagesResponse {
    ProtoGetPagesResponse(try engine.pages(PagesQuery(self, appID: appID), control: control))
  }

  /// `page_visit_uv`, `page_share_uv` of a page, the one node; without nodes of all pages together.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check([.nodes])
    guard cell.nodes.count <= 1 else {
      throw QueryError.invalid("cell.nodes", "\(cell.nodes.count) given, one page at most")
    }
    let kind: PageUsers
    switch cell.metric {
    case "page_visit_uv": kind = .visitors
    case "page_share_uv": kind = .sharers
    default: throw cell.unknownMetric("page_visit_uv, page_share_uv")
    }
    return try engine.pagesUsers(
      PagesQuery(self, appID: appID), kind, path: cell.nodes.first, control: control)
  }
}

extension PagesQuery {
  init(_ request: ProtoGetPagesRequest, appID: String) throws {
    guard request.limit <= UInt32(Limits.pagesMax) else {
      throw QueryError.invalid("limit", "is \(request.limit), must be 1-\(Limits.pagesMax)")
    }
    self.init(
      appID: appID, days: try askedDays(request.range),
      compareDays: request.hasCompareRange
        ? try askedDays(request.compareRange, field: "compare_range") : nil,
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      order: try Order(request.orderBy), limit: request.limit == 0 ? nil : Int(request.limit),
      offset: Int(request.offset),
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
  }
}

extension PagesQuery.Order {
  init(_ order: ProtoPageOrder) throws(QueryError) {
    switch order {
    case .unspecified, .visits: self = .visits
    case .entries: self = .entries
    case .exits: self = .exits
    case .heat: self = .heat
    case .users: self = .users
    case .stay: self = .stay
    case .shares: self = .shares
    case .UNRECOGNIZED(let number): throw .invalid("order_by", "\(number) is not known")
    }
  }
}

extension ProtoGetPagesResponse {
  init(_ answer: PagesAnswer) {
    self.init()
    rows = answer.rows.map { row in
      var proto = ProtoPageRow()
      proto.pagePath = row.path
      proto.metrics = ProtoPageMetrics(row.metrics)
      if let compare = row.compare { proto.compare = ProtoPageMetrics(compare) }
      return proto
    }
    total = ProtoPageMetrics(answer.total)
    if let compare = answer.compareTotal { compareTotal = ProtoPageMetrics(compare) }
    pageCount = UInt64(answer.pageCount)
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoPageMetrics {
  init(_ metrics: PageMetrics) {
    self.init()
    pageVisitPv = metrics.visits
    pageVisitUv = metrics.users
    pageStaytimePv = metrics.staySecondsPerVisit
    entrypagePv = metrics.entries
    exitpagePv = metrics.exits
    pageSharePv = metrics.shares
    pageShareUv = metrics.shareUsers
    exitRate = metrics.exitRate
    bounceRate = metrics.bounceRate
    heat = metrics.heat
  }
}

// MARK: CSV

extension ProtoGetPagesResponse: CSVReport {
  var csvColumns: [String] {
    let names = [
      "page_visit_pv", "page_visit_uv", "page_staytime_pv", "entrypage_pv", "exitpage_pv",
      "page_share_pv", "page_share_uv", "exit_rate", "bounce_rate", "heat",
    ]
    return ["row", "page_path"] + names + names.map { "compare_" + $0 }
  }

  /// `row` is `page` or `total`.
  var csvRows: [[CSVCell?]] {
    var cells = rows.map { row in
      Self.row("page", .text(row.pagePath), row.metrics, row.hasCompare ? row.compare : nil)
    }
    cells.append(Self.row("total", nil, total, hasCompareTotal ? compareTotal : nil))
    return cells
  }

  private static func row(
    _ row: String, _ path: CSVCell?, _ metrics: ProtoPageMetrics, _ compare: ProtoPageMetrics?
  ) -> [CSVCell?] {
    let head: [CSVCell?] = [.text(row), path]
    return head + metrics.csvCells + (compare?.csvCells ?? ProtoPageMetrics.noCells)
  }
}

extension ProtoPageMetrics {
  fileprivate static let noCells: [CSVCell?] = Array(repeating: nil, count: 10)

  fileprivate var csvCells: [CSVCell?] {
    [
      .integer(Int64(pageVisitPv)), .integer(Int64(pageVisitUv)), .number(pageStaytimePv),
      .integer(Int64(entrypagePv)), .integer(Int64(exitpagePv)), .integer(Int64(pageSharePv)),
      .integer(Int64(pageShareUv)), .number(exitRate), .number(bounceRate), .number(heat),
    ]
  }
}
