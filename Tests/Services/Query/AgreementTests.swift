import Events
import Messages
import Query
import RPC
import TestKit
import Testing

/// SEMANTICS 11: two reports that show the same metric for the same period agree exactly, and the list of users behind a
/// number has exactly its length. Asked as callers ask, by messages.
@Suite struct AgreementTests {
  @Test(arguments: 0..<120) func `reports agree on every metric that they share`(_ seed: Int) async throws {
    var random = SeededRandom(seed: UInt64(seed) + 7_110_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    let desk = Desk(harness.engine)
    for _ in 0..<2 {
      let scope = Scope(data, &random)
      try await checkTotals(desk, scope, "seed \(seed) \(scope)")
      try await checkDays(desk, scope, "seed \(seed) \(scope)")
      try await checkLists(desk, scope, "seed \(seed) \(scope)")
    }
  }

  // MARK: What is asked

  /// The same of every report.
  private struct Scope: CustomStringConvertible {
    var range = ProtoDateRange()
    var filter: ProtoFilter?
    var channel = ProtoReleaseChannel.release
    var includesExcludedScenes: Bool

    init(_ data: RandomData, _ random: inout SeededRandom) {
      let begin = Int(data.origin / 86_400_000) - 1 + random.below(5)
      range.beginDate = CivilPeriod.refDate(day: begin)
      range.endDate = CivilPeriod.refDate(day: begin + random.below(5))
      includesExcludedScenes = random.below(2) == 0
      if random.oneIn(5) { channel = .trial }
      if random.below(2) == 0 {
        filter = Self.condition(random.pick(["platform", "province", "page_path"]), random.pick(["ios", "Bern", "pages/a"]))
      }
    }

    static func condition(_ field: String, _ text: String) -> ProtoFilter {
      var value = ProtoFieldValue()
      value.stringValue = text
      var condition = ProtoCondition()
      condition.field = field
      condition.operator = .eq
      condition.values = [value]
      var filter = ProtoFilter()
      filter.condition = condition
      return filter
    }

    var description: String {
      "\(range.beginDate)-\(range.endDate) \(channel) \(includesExcludedScenes) \(filter.map { "\($0)" } ?? "")"
    }
  }

  /// All services over one engine.
  private struct Desk {
    let query: QueryService
    let visits: VisitsService
    let pages: PagesService
    let traffic: TrafficService
    let analysis: EventAnalysisService
    let retention: RetentionService
    let users: UsersService
    let reports: ReportsService

    init(_ engine: QueryEngine) {
      let runner = ReportRunner(engine: engine, configuration: QueryConfiguration())
      query = QueryService(runner: runner, status: { ProtoConsumerStatus() })
      visits = VisitsService(runner: runner)
      pages = PagesService(runner: runner)
      traffic = TrafficService(runner: runner)
      analysis = EventAnalysisService(runner: runner)
      retention = RetentionService(runner: runner)
      users = UsersService(runner: runner)
      reports = ReportsService(runner: runner)
    }

    func context(_ method: MethodDescriptor) -> CallContext {
      CallContext(
        method: method,
        principal: Principal(tokenID: "t", appID: "shop", scopes: ["query:read", "query:users"]))
    }

    func trend(_ scope: Scope, _ granularity: ProtoGranularity) async throws -> ProtoGetTrendResponse {
      try await query.getTrend(Self.trend(scope, granularity), context: context(QueryMethods.getTrend))
    }

    static func trend(_ scope: Scope, _ granularity: ProtoGranularity) -> ProtoGetTrendRequest {
      var request = ProtoGetTrendRequest()
      request.range = scope.range
      request.granularity = granularity
      if let filter = scope.filter { request.filter = filter }
      request.releaseChannel = scope.channel
      request.includeExcludedScenes = scope.includesExcludedScenes
      return request
    }

    /// Total and users of events over the whole range.
    func events(_ scope: Scope, _ names: [String]) async throws -> (total: UInt64, users: UInt64) {
      var request = ProtoAnalyzeEventsRequest()
      request.range = scope.range
      request.granularity = .all
      request.series = [ProtoEventMetric.total, .users].map { metric in
        var series = ProtoEventSeries()
        series.events = names
        series.metric = metric
        return series
      }
      if let filter = scope.filter { request.filter = filter }
      request.releaseChannel = scope.channel
      request.includeExcludedScenes = scope.includesExcludedScenes
      let answer = try await analysis.analyzeEvents(
        request, context: context(EventAnalysisMethods.analyzeEvents))
      return (UInt64(answer.results[0].total.value), UInt64(answer.results[1].total.value))
    }

    static func funnel(_ scope: Scope) -> ProtoGetFunnelRequest {
      var request = ProtoGetFunnelRequest()
      request.range = scope.range
      request.steps = ["$page_view", "$click"].map { name in
        var step = ProtoFunnelStep()
        step.events = [name]
        if let filter = scope.filter { step.filter = filter }
        return step
      }
      request.releaseChannel = scope.channel
      request.includeExcludedScenes = scope.includesExcludedScenes
      return request
    }
  }

  // MARK: Over the whole range

  private func checkTotals(_ desk: Desk, _ scope: Scope, _ comment: String) async throws {
    let comment = Comment(rawValue: comment)
    let answer = try await desk.trend(scope, .all)
    let whole = answer.points[0].metrics
    let (views, shares, all) = (
      try await desk.events(scope, ["$page_view"]), try await desk.events(scope, ["$share"]),
      try await desk.events(scope, [])
    )
    #expect(whole.visitPv == views.total, comment)
    #expect(whole.sharePv == shares.total, comment)
    #expect(whole.shareUv == shares.users, comment)
    #expect(whole.eventCnt == all.total, comment)
    #expect(answer.info.eventsRead == all.total, comment)
    let funnel = try await desk.query.getFunnel(
      Desk.funnel(scope), context: desk.context(QueryMethods.getFunnel))
    #expect(funnel.steps[0].users == views.users, comment)

    var distribution = ProtoGetVisitDistributionRequest()
    distribution.range = scope.range
    if let filter = scope.filter { distribution.filter = filter }
    distribution.releaseChannel = scope.channel
    distribution.includeExcludedScenes = scope.includesExcludedScenes
    for one in try await desk.visits.getVisitDistribution(
      distribution, context: desk.context(VisitsMethods.getVisitDistribution)
    ).distributions {
      #expect(one.items.reduce(0) { $0 + $1.sessionCnt } == whole.sessionCnt, comment)
    }
    var sources = ProtoGetSourcesRequest()
    sources.range = scope.range
    if let filter = scope.filter { sources.filter = filter }
    sources.releaseChannel = scope.channel
    sources.includeExcludedScenes = scope.includesExcludedScenes
    let bySource = try await desk.traffic.getSources(
      sources, context: desk.context(TrafficMethods.getSources))
    #expect(bySource.total.sessionCnt == whole.sessionCnt, comment)
    #expect(bySource.total.stayTimeSession == whole.stayTimeSession, comment)
    #expect(bySource.rows.reduce(0) { $0 + $1.metrics.sessionCnt } == whole.sessionCnt, comment)
    var pages = ProtoGetPagesRequest()
    pages.range = scope.range
    if let filter = scope.filter { pages.filter = filter }
    pages.releaseChannel = scope.channel
    pages.includeExcludedScenes = scope.includesExcludedScenes
    let byPage = try await desk.pages.getPages(pages, context: desk.context(PagesMethods.getPages))
    #expect(byPage.rows.reduce(0) { $0 + $1.metrics.pageVisitPv } == byPage.total.pageVisitPv, comment)
    #expect(byPage.total.pageVisitPv <= whole.visitPv, comment)
    #expect(byPage.total.pageVisitUv <= views.users, comment)
  }

  // MARK: Day by day, without a filter

  private func checkDays(_ desk: Desk, _ scope: Scope, _ comment: String) async throws {
    var scope = scope
    scope.filter = nil
    let comment = Comment(rawValue: comment)
    let days = try await desk.trend(scope, .day).points
    let active = try await cohorts(desk, scope, .active)
    let new = try await cohorts(desk, scope, .new)
    #expect(days.map(\.metrics.visitUv) == active, comment)
    #expect(days.map(\.metrics.visitUvNew) == new, comment)

    var tiers = ProtoGetUserTiersRequest()
    tiers.range = scope.range
    tiers.releaseChannel = scope.channel
    tiers.includeExcludedScenes = scope.includesExcludedScenes
    let tier = try await desk.users.getUserTiers(tiers, context: desk.context(UsersMethods.getUserTiers)).points
    #expect(days.map(\.metrics.visitUvNew) == tier.map(\.new), comment)
    #expect(
      days.map(\.metrics.visitTotal) == tier.map { $0.new + $0.active + $0.dormant + $0.churned }, comment)

    var lifecycle = ProtoGetLifecycleRequest()
    lifecycle.range = scope.range
    lifecycle.releaseChannel = scope.channel
    lifecycle.includeExcludedScenes = scope.includesExcludedScenes
    let life = try await desk.users.getLifecycle(
      lifecycle, context: desk.context(UsersMethods.getLifecycle)
    ).points
    #expect(days.map(\.metrics.visitUvNew) == life.map(\.new), comment)
    #expect(days.map(\.metrics.visitUv) == life.map { $0.new + $0.returning + $0.resurrecting }, comment)

    var stickiness = ProtoGetStickinessRequest()
    stickiness.range = scope.range
    stickiness.releaseChannel = scope.channel
    stickiness.includeExcludedScenes = scope.includesExcludedScenes
    let stick = try await desk.users.getStickiness(
      stickiness, context: desk.context(UsersMethods.getStickiness))
    #expect(days.map(\.metrics.visitUv) == stick.points.map(\.dau), comment)
    let whole = try await desk.trend(scope, .all).points[0].metrics
    #expect(stick.bars.reduce(0) { $0 + $1.users } == whole.visitUv, comment)

    var overview = ProtoGetOverviewRequest()
    overview.date = scope.range.endDate
    overview.releaseChannel = scope.channel
    overview.includeExcludedScenes = scope.includesExcludedScenes
    let cards = try await desk.visits.getOverview(
      overview, context: desk.context(VisitsMethods.getOverview)
    ).cards
    let last = try #require(days.last).metrics
    let expected: [String: Double] = [
      "session_cnt": Double(last.sessionCnt), "visit_pv": Double(last.visitPv),
      "visit_uv": Double(last.visitUv), "visit_uv_new": Double(last.visitUvNew),
      "visit_total": Double(last.visitTotal), "share_pv": Double(last.sharePv),
      "share_uv": Double(last.shareUv), "stay_time_uv": last.stayTimeUv,
      "stay_time_session": last.stayTimeSession, "visit_depth": last.visitDepth,
    ]
    #expect(Dictionary(uniqueKeysWithValues: cards.map { ($0.metric, $0.value) }) == expected, comment)
  }

  private func cohorts(
    _ desk: Desk, _ scope: Scope, _ cohort: ProtoRetentionCohort
  ) async throws -> [UInt64] {
    var request = ProtoGetRetentionRequest()
    request.range = scope.range
    request.granularity = .day
    request.cohort = cohort
    request.releaseChannel = scope.channel
    request.includeExcludedScenes = scope.includesExcludedScenes
    return try await desk.retention.getRetention(
      request, context: desk.context(RetentionMethods.getRetention)
    ).table.rows.map(\.size)
  }

  // MARK: Lists

  private func checkLists(_ desk: Desk, _ scope: Scope, _ comment: String) async throws {
    let comment = Comment(rawValue: comment)
    var report = ProtoReport()
    report.trend = Desk.trend(scope, .day)
    for point in try await desk.trend(scope, .day).points {
      for (metric, value) in [
        ("visit_uv", point.metrics.visitUv), ("visit_uv_new", point.metrics.visitUvNew),
        ("share_uv", point.metrics.shareUv),
      ] {
        var cell = ProtoUserCell()
        cell.metric = metric
        cell.refDate = point.refDate
        #expect(try await list(desk, report, cell) == value, comment)
      }
    }
    report.funnel = Desk.funnel(scope)
    let funnel = try await desk.query.getFunnel(
      report.funnel, context: desk.context(QueryMethods.getFunnel))
    for (index, step) in funnel.steps.enumerated() {
      var cell = ProtoUserCell()
      cell.metric = "users"
      cell.key = UInt32(index + 1)
      #expect(try await list(desk, report, cell) == step.users, comment)
      guard index > 0 else { continue }
      cell.droppedOff = true
      #expect(try await list(desk, report, cell) == step.dropOffUsers, comment)
    }
  }

  /// How many users a list has, page by page; each once.
  private func list(_ desk: Desk, _ report: ProtoReport, _ cell: ProtoUserCell) async throws -> UInt64 {
    var request = ProtoListUsersRequest()
    request.report = report
    request.cell = cell
    request.pageSize = 2
    var seen: [String] = []
    var total: UInt64 = 0
    repeat {
      let page = try await desk.reports.listUsers(request, context: desk.context(ReportsMethods.listUsers))
      #expect(page.openIds.count <= 2)
      seen += page.openIds
      total = page.total
      request.pageToken = page.nextPageToken
    } while !request.pageToken.isEmpty
    #expect(Set(seen).count == seen.count)
    #expect(UInt64(seen.count) == total)
    return total
  }
}
