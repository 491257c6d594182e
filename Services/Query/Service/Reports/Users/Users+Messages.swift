import Events
package import Messages
package import RPC

/// Answers what SEMANTICS 8 asks of users.
package final class UsersService: UsersHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getUserTiers(
    _ request: ProtoGetUserTiersRequest, context: CallContext
  ) async throws -> ProtoGetUserTiersResponse { try await runner.answer(request, context) }

  package func getLifecycle(
    _ request: ProtoGetLifecycleRequest, context: CallContext
  ) async throws -> ProtoGetLifecycleResponse { try await runner.answer(request, context) }

  package func getStickiness(
    _ request: ProtoGetStickinessRequest, context: CallContext
  ) async throws -> ProtoGetStickinessResponse { try await runner.answer(request, context) }

  package func getRepurchase(
    _ request: ProtoGetRepurchaseRequest, context: CallContext
  ) async throws -> ProtoGetRepurchaseResponse { try await runner.answer(request, context) }
}

extension ProtoUserCell {
  /// - Parameter parts: by metric, those that its numbers have.
  /// - Throws: where the metric is none of these, or the cell has another part.
  fileprivate func check(_ parts: KeyValuePairs<String, CellParts>) throws(QueryError) {
    guard let known = parts.first(where: { $0.key == metric }) else {
      throw unknownMetric(parts.map(\.key).joined(separator: ", "))
    }
    try check(known.value)
  }

  fileprivate func check(points metrics: [String]) throws(QueryError) {
    guard metrics.contains(metric) else {
      throw unknownMetric(metrics.joined(separator: ", "))
    }
    try check([.refDate])
  }
}

/// nil: the caller gave none.
private func compareDays(_ range: ProtoDateRange, given: Bool) throws -> ClosedRange<Int>? {
  given ? try DayRange(range, field: "compare_range").days : nil
}

// MARK: - Tiers

extension ProtoGetUserTiersRequest: ReportRequest, UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetUserTiersResponse {
    ProtoGetUserTiersResponse(
      try engine.userTiers(UserTiersQuery(self, appID: appID), control: control))
  }

  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check(points: UserTier.allCases.map(\.rawValue))
    return try engine.tierUsers(
      UserTiersQuery(self, appID: appID), UserTier(rawValue: cell.metric) ?? .new,
      refDate: cell.refDate, control: control)
  }
}

extension UserTiersQuery {
  init(_ request: ProtoGetUserTiersRequest, appID: String) throws {
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      activeDays: request.activeDays == 0 ? nil : Int(request.activeDays),
      dormantDays: request.dormantDays == 0 ? nil : Int(request.dormantDays),
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      compareDays: try Query.compareDays(request.compareRange, given: request.hasCompareRange))
  }
}

extension ProtoGetUserTiersResponse: CSVReport {
  init(_ answer: UserTiersAnswer) {
    self.init()
    points = answer.points.map(ProtoTierPoint.init)
    comparePoints = answer.comparePoints.map(ProtoTierPoint.init)
    info = ProtoAnswerInfo(answer.info)
  }

  var csvColumns: [String] {
    ["kind", "ref_date", "complete", "new", "active", "dormant", "churned"]
  }

  var csvRows: [[CSVCell?]] {
    let kinds = [("point", points), ("compare_point", comparePoints)]
    return kinds.flatMap { kind, points in
      points.map { point in
        [
          .text(kind), .text(point.refDate), .boolean(point.complete), .integer(Int64(point.new)),
          .integer(Int64(point.active)), .integer(Int64(point.dormant)),
          .integer(Int64(point.churned)),
        ]
      }
    }
  }
}

extension ProtoTierPoint {
  init(_ point: TierPoint) {
    self.init()
    refDate = point.period.refDate
    complete = point.isComplete
    new = point[.new]
    active = point[.active]
    dormant = point[.dormant]
    churned = point[.churned]
  }
}

// MARK: - Lifecycle

extension ProtoGetLifecycleRequest: ReportRequest, UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetLifecycleResponse {
    ProtoGetLifecycleResponse(
      try engine.lifecycle(LifecycleQuery(self, appID: appID), control: control))
  }

  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check(points: LifecycleStage.allCases.map(\.rawValue))
    return try engine.lifecycleUsers(
      LifecycleQuery(self, appID: appID), LifecycleStage(rawValue: cell.metric) ?? .new,
      refDate: cell.refDate, control: control)
  }
}

extension LifecycleQuery {
  init(_ request: ProtoGetLifecycleRequest, appID: String) throws {
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      unit: try CalendarUnit(Granularity(request.granularity), asked: "granularity"),
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      compareDays: try Query.compareDays(request.compareRange, given: request.hasCompareRange))
  }
}

extension ProtoGetLifecycleResponse: CSVReport {
  init(_ answer: LifecycleAnswer) {
    self.init()
    points = answer.points.map(ProtoLifecyclePoint.init)
    comparePoints = answer.comparePoints.map(ProtoLifecyclePoint.init)
    info = ProtoAnswerInfo(answer.info)
  }

  var csvColumns: [String] {
    [
      "kind", "ref_date", "begin_ms", "end_ms", "complete", "new", "returning", "resurrecting",
      "dormant",
    ]
  }

  var csvRows: [[CSVCell?]] {
    let kinds = [("point", points), ("compare_point", comparePoints)]
    return kinds.flatMap { kind, points in
      points.map { point in
        [
          .text(kind), .text(point.refDate), .integer(point.beginMs), .integer(point.endMs),
          .boolean(point.complete), .integer(Int64(point.new)), .integer(Int64(point.returning)),
          .integer(Int64(point.resurrecting)), .integer(point.dormant),
        ]
      }
    }
  }
}

extension ProtoLifecyclePoint {
  init(_ point: LifecyclePoint) {
    self.init()
    refDate = point.period.refDate
    beginMs = point.period.milliseconds.lowerBound
    endMs = point.period.milliseconds.upperBound
    complete = point.isComplete
    new = point.new
    returning = point.returning
    resurrecting = point.resurrecting
    dormant = -Int64(point.dormant)
  }
}

// MARK: - Stickiness

extension ProtoGetStickinessRequest: ReportRequest, UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetStickinessResponse {
    ProtoGetStickinessResponse(
      try engine.stickiness(StickinessQuery(self, appID: appID), control: control))
  }

  /// `users`: of the bar of `key` days; `dau`, `wau`, `mau`: of a point.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check(["users": [.key], "dau": [.refDate], "wau": [.refDate], "mau": [.refDate]])
    let windows = ["dau": 1, "wau": 7, "mau": 30]
    return try engine.stickinessUsers(
      StickinessQuery(self, appID: appID),
      windows[cell.metric].map { .window(days: $0, refDate: cell.refDate) }
        ?? .bar(days: Int(cell.key)), control: control)
  }
}

extension StickinessQuery {
  init(_ request: ProtoGetStickinessRequest, appID: String) throws {
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      event: request.hasEvent ? try EventChoice(request.event, asked: "event") : nil,
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      compareDays: try Query.compareDays(request.compareRange, given: request.hasCompareRange))
  }
}

extension ProtoGetStickinessResponse: CSVReport {
  init(_ answer: StickinessAnswer) {
    self.init()
    bars = answer.bars.map(ProtoStickinessBar.init)
    points = answer.points.map(ProtoActiveUsersPoint.init)
    compareBars = answer.compareBars.map(ProtoStickinessBar.init)
    comparePoints = answer.comparePoints.map(ProtoActiveUsersPoint.init)
    info = ProtoAnswerInfo(answer.info)
  }

  var csvColumns: [String] {
    ["kind", "days", "users", "ref_date", "complete", "dau", "wau", "mau", "dau_per_mau"]
  }

  var csvRows: [[CSVCell?]] {
    let kinds = [("bar", bars), ("compare_bar", compareBars)]
    let barRows: [[CSVCell?]] = kinds.flatMap { kind, bars in
      bars.map { bar in
        [.text(kind), .integer(Int64(bar.days)), .integer(Int64(bar.users)), nil, nil, nil, nil, nil, nil]
      }
    }
    let pointKinds = [("point", points), ("compare_point", comparePoints)]
    return barRows
      + pointKinds.flatMap { kind, points in
        points.map { point in
          [
            .text(kind), nil, nil, .text(point.refDate), .boolean(point.complete),
            .integer(Int64(point.dau)), .integer(Int64(point.wau)), .integer(Int64(point.mau)),
            .number(point.dauPerMau),
          ]
        }
      }
  }
}

extension ProtoStickinessBar {
  init(_ bar: StickinessBar) {
    self.init()
    days = UInt32(bar.days)
    users = bar.users
  }
}

extension ProtoActiveUsersPoint {
  init(_ point: ActiveUsersPoint) {
    self.init()
    refDate = point.period.refDate
    complete = point.isComplete
    dau = point.dau
    wau = point.wau
    mau = point.mau
    dauPerMau = point.dauPerMau
  }
}

// MARK: - Repurchase

extension ProtoGetRepurchaseRequest: ReportRequest, UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetRepurchaseResponse {
    ProtoGetRepurchaseResponse(
      try engine.repurchase(RepurchaseQuery(self, appID: appID), control: control))
  }

  /// `buyers`, `repeat_buyers`; `users`: of the gaps whose upper bound is `key`.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    try cell.check(["buyers": [], "repeat_buyers": [], "users": [.key]])
    let cells = ["buyers": RepurchaseCell.buyers, "repeat_buyers": .repeatBuyers]
    return try engine.repurchaseUsers(
      RepurchaseQuery(self, appID: appID), cells[cell.metric] ?? .gap(days: Int(cell.key)),
      control: control)
  }
}

extension RepurchaseQuery {
  init(_ request: ProtoGetRepurchaseRequest, appID: String) throws {
    guard request.hasOrder else { throw QueryError.invalid("order", "required") }
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      order: try EventChoice(request.order, asked: "order"),
      gapDays: request.gapDays.isEmpty ? nil : request.gapDays.map(Int.init),
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes),
      compareDays: try Query.compareDays(request.compareRange, given: request.hasCompareRange))
  }
}

extension ProtoGetRepurchaseResponse: CSVReport {
  init(_ answer: RepurchaseAnswer) {
    self.init()
    metrics = ProtoRepurchaseMetrics(answer.metrics)
    if let compared = answer.compare { compare = ProtoRepurchaseMetrics(compared) }
    info = ProtoAnswerInfo(answer.info)
  }

  var csvColumns: [String] {
    [
      "kind", "orders", "buyers", "repeat_buyers", "repurchase_rate", "mean_gap_ms",
      "median_gap_ms", "days", "gaps", "users",
    ]
  }

  var csvRows: [[CSVCell?]] {
    metrics.csvRows("metrics", "gap")
      + (hasCompare ? compare.csvRows("compare", "compare_gap") : [])
  }
}

extension ProtoRepurchaseMetrics {
  init(_ metrics: RepurchaseMetrics) {
    self.init()
    orders = metrics.orders
    buyers = metrics.buyers
    repeatBuyers = metrics.repeatBuyers
    repurchaseRate = metrics.rate
    meanGapMs = metrics.meanGapMilliseconds
    medianGapMs = metrics.medianGapMilliseconds
    gaps = metrics.gaps.map { gap in
      var proto = ProtoGapBar()
      proto.days = UInt32(gap.days)
      proto.gaps = gap.gaps
      proto.users = gap.users
      return proto
    }
  }

  fileprivate func csvRows(_ kind: String, _ gapKind: String) -> [[CSVCell?]] {
    let figures: [CSVCell?] = [
      .integer(Int64(orders)), .integer(Int64(buyers)), .integer(Int64(repeatBuyers)),
      .number(repurchaseRate), .number(meanGapMs), .number(medianGapMs),
    ]
    let bars: [[CSVCell?]] = gaps.map { gap in
      [.text(gapKind)] + figures.map { _ in nil }
        + [.integer(Int64(gap.days)), .integer(Int64(gap.gaps)), .integer(Int64(gap.users))]
    }
    return [[.text(kind)] + figures + [nil, nil, nil]] + bars
  }
}
