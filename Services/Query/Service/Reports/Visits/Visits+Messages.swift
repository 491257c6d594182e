import Events
package import Messages
package import RPC

/// Answers the overview and the distributions of visits.
package final class VisitsService: VisitsHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getOverview(
    _ request: ProtoGetOverviewRequest, context: CallContext
  ) async throws -> ProtoGetOverviewResponse {
    try await runner.answer(request, context)
  }

  package func getVisitDistribution(
    _ request: ProtoGetVisitDistributionRequest, context: CallContext
  ) async throws -> ProtoGetVisitDistributionResponse {
    try await runner.answer(request, context)
  }
}

// MARK: Overview

extension ProtoGetOverviewRequest: UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetOverviewResponse {
    ProtoGetOverviewResponse(
      try engine.overview(OverviewQuery(self, appID: appID), control: control))
  }

  /// Of the day itself: `visit_total`, `visit_uv`, `visit_uv_new`, `share_uv`.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check([])
    return try engine.overviewUsers(
      OverviewQuery(self, appID: appID), TrendWanted.Kind(cell), control: control)
  }
}

extension OverviewQuery {
  init(_ request: ProtoGetOverviewRequest, appID: String) throws {
    self.init(
      appID: appID, day: request.date.isEmpty ? nil : try DayRange.day(request.date, field: "date"),
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
  }
}

extension ProtoGetOverviewResponse {
  init(_ answer: OverviewAnswer) {
    self.init()
    refDate = CivilPeriod.refDate(day: answer.day)
    cards = answer.cards.map(ProtoOverviewCard.init)
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoOverviewCard {
  init(_ card: OverviewCard) {
    self.init()
    metric = card.metric.rawValue
    value = card.value
    dayBefore = card.dayBefore
    weekBefore = card.weekBefore
    monthBefore = card.monthBefore
    if let change = card.dayChange { dayChange = change }
    if let change = card.weekChange { weekChange = change }
    if let change = card.monthChange { monthChange = change }
  }
}

extension ProtoGetOverviewResponse: CSVReport {
  var csvColumns: [String] {
    [
      "metric", "value", "day_before", "week_before", "month_before", "day_change", "week_change",
      "month_change",
    ]
  }

  var csvRows: [[CSVCell?]] {
    cards.map { card in
      [
        .text(card.metric), .number(card.value), .number(card.dayBefore),
        .number(card.weekBefore), .number(card.monthBefore),
        card.hasDayChange ? .number(card.dayChange) : nil,
        card.hasWeekChange ? .number(card.weekChange) : nil,
        card.hasMonthChange ? .number(card.monthChange) : nil,
      ]
    }
  }
}

// MARK: Distribution

extension ProtoGetVisitDistributionRequest: UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetVisitDistributionResponse {
    ProtoGetVisitDistributionResponse(
      try engine.visitDistribution(VisitDistributionQuery(self, appID: appID), control: control))
  }

  /// `visit_uv` of an index and a key.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check([.index, .key])
    guard cell.metric == "visit_uv" else { throw cell.unknownMetric("visit_uv") }
    guard let index = DistributionIndex(rawValue: cell.index) else {
      let known = DistributionIndex.allCases.map(\.rawValue).joined(separator: ", ")
      throw QueryError.invalid("cell.index", "\"\(cell.index.prefix(64))\" is none of \(known)")
    }
    guard index.keys.contains(Int(cell.key)) else {
      throw QueryError.invalid(
        "cell.key", "is \(cell.key), must be \(index.keys.lowerBound)-\(index.keys.upperBound)")
    }
    return try engine.visitDistributionUsers(
      VisitDistributionQuery(self, appID: appID), index, key: Int(cell.key), control: control)
  }
}

extension VisitDistributionQuery {
  init(_ request: ProtoGetVisitDistributionRequest, appID: String) throws {
    self.init(
      appID: appID, days: try askedDays(request.range),
      compareDays: request.hasCompareRange
        ? try askedDays(request.compareRange, field: "compare_range") : nil,
      filter: request.hasFilter ? try FilterTree(request.filter, asked: "filter") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
  }
}

extension ProtoGetVisitDistributionResponse {
  init(_ answer: VisitDistributionAnswer) {
    self.init()
    distributions = answer.distributions.map(ProtoDistribution.init)
    compareDistributions = answer.compareDistributions.map(ProtoDistribution.init)
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoDistribution {
  init(_ distribution: VisitDistribution) {
    self.init()
    index = distribution.index.rawValue
    items = distribution.items.map { item in
      var proto = ProtoDistributionItem()
      proto.key = UInt32(item.key)
      proto.name = distribution.index.name(item.key)
      proto.sessionCnt = item.sessionCount
      proto.visitUv = item.visitUsers
      return proto
    }
  }
}

extension ProtoGetVisitDistributionResponse: CSVReport {
  var csvColumns: [String] { ["period", "index", "key", "name", "session_cnt", "visit_uv"] }

  /// `period` is `range` or `compare_range`.
  var csvRows: [[CSVCell?]] {
    distributions.flatMap { $0.csvRows("range") }
      + compareDistributions.flatMap { $0.csvRows("compare_range") }
  }
}

extension ProtoDistribution {
  fileprivate func csvRows(_ period: String) -> [[CSVCell?]] {
    items.map { item in
      [
        .text(period), .text(index), .integer(Int64(item.key)), .text(item.name),
        .integer(Int64(item.sessionCnt)), .integer(Int64(item.visitUv)),
      ]
    }
  }
}
