import Events
import Messages
import Query
import RPC
import SwiftProtobuf
import TestKit
import Testing

/// The service as callers meet it: requests in, responses and statuses out.
@Suite struct QueryServiceTests {
  private struct Fixture {
    let harness: EngineHarness
    let service: QueryService

    init() throws {
      harness = try EngineHarness(
        AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
      var view = ReferenceEvent(user: "a", time: 1_000, sequence: 1, offset: 0, name: "$page_view")
      view.page = "pages/a"
      var crawler = ReferenceEvent(user: "b", time: 2_000, sequence: 1, offset: 1, name: "$page_view")
      crawler.scene = Int32(SceneTable.wechat.excludedCodes[0])
      let buy = ReferenceEvent(user: "a", time: 6_000, sequence: 2, offset: 2, name: "buy")
      try harness.apply([[view], [crawler], [buy]], receivedMilliseconds: 3 * 86_400_000)
      service = QueryService(
        runner: ReportRunner(engine: harness.engine, configuration: QueryConfiguration()),
        status: { ProtoConsumerStatus() })
    }

    func context(_ method: MethodDescriptor, app: String? = "shop") -> CallContext {
      CallContext(
        method: method, principal: Principal(tokenID: "t", appID: app, scopes: ["query:read"]))
    }

    func trend(_ change: (inout ProtoGetTrendRequest) -> Void = { _ in }) async throws
      -> ProtoGetTrendResponse
    {
      var request = ProtoGetTrendRequest()
      request.range.beginDate = "1970-01-01"
      request.range.endDate = "19700102"
      change(&request)
      return try await service.getTrend(request, context: context(QueryMethods.getTrend))
    }

    func code(_ change: (inout ProtoGetTrendRequest) -> Void) async throws -> StatusCode {
      do {
        _ = try await trend(change)
        return .ok
      } catch let error as RPCError {
        return error.code
      }
    }
  }

  @Test func `a trend names its days, metrics and what was left out`() async throws {
    let answer = try await Fixture().trend()
    #expect(answer.points.map(\.refDate) == ["19700101", "19700102"])
    #expect(answer.points.map(\.complete) == [true, true])
    let metrics = answer.points[0].metrics
    #expect(metrics.visitPv == 1 && metrics.visitUv == 1 && metrics.visitUvNew == 1)
    #expect(metrics.sessionCnt == 1 && metrics.eventCnt == 2 && metrics.visitDepth == 1)
    #expect(answer.points[1].metrics.visitTotal == 1)
    #expect(answer.info.asOfOffset == 3 && answer.info.eventsRead == 2)
    #expect(answer.info.excluded.map(\.reason) == ["scene"])
    #expect(answer.info.timeZone == "UTC" && answer.info.complete)
  }

  @Test func `a month that the range cuts is answered under its full name, incomplete`() async throws {
    let answer = try await Fixture().trend { $0.granularity = .month }
    #expect(answer.points.map(\.refDate) == ["197001"])
    #expect(answer.points[0].complete == false)
    let week = try await Fixture().trend { $0.granularity = .week }
    #expect(week.points.map(\.refDate) == ["19691229-19700104"])
    let all = try await Fixture().trend { $0.granularity = .all }
    #expect(all.points.map(\.refDate) == ["19700101-19700102"])
    #expect(all.points[0].complete)
  }

  @Test func `wrong requests get their status`() async throws {
    let fixture = try Fixture()
    #expect(try await fixture.code { $0.range.endDate = "1969-12-31" } == .invalidArgument)
    #expect(try await fixture.code { $0.range.beginDate = "1970-02-30" } == .invalidArgument)
    #expect(try await fixture.code { $0.range.endDate = "20990101" } == .invalidArgument)
    #expect(try await fixture.code { $0.appID = "other" } == .permissionDenied)
    #expect(try await fixture.code { $0.breakdown = "nonsense" } == .invalidArgument)
    #expect(try await fixture.code { $0.breakdownLimit = 1_001 } == .invalidArgument)
    #expect(try await fixture.code { $0.granularity = .UNRECOGNIZED(9) } == .invalidArgument)
    #expect(try await fixture.code { $0.filter = ProtoFilter() } == .invalidArgument)
    #expect(try await fixture.code { $0.filter.condition.field = "platform" } == .invalidArgument)
    #expect(try await fixture.code { _ in } == .ok)
    await #expect(throws: RPCError.self) {
      try await fixture.service.getTrend(
        ProtoGetTrendRequest(), context: fixture.context(QueryMethods.getTrend, app: nil))
    }
  }

  @Test func `users are named as values only to who may see them`() async throws {
    let fixture = try Fixture()
    func context(_ method: MethodDescriptor, _ scopes: Set<String>) -> CallContext {
      CallContext(method: method, principal: Principal(tokenID: "t", appID: "shop", scopes: scopes))
    }
    let runner = ReportRunner(engine: fixture.harness.engine, configuration: QueryConfiguration())
    let reports = ReportsService(runner: runner)
    var condition = ProtoFilter()
    condition.condition.field = "open_id"
    condition.condition.operator = .prefix
    condition.condition.values = [.with { $0.stringValue = "a" }]
    var filter = ProtoFilter()
    filter.not = condition
    var series = ProtoEventSeries()
    series.events = ["buy"]
    series.filter = filter
    var range = ProtoDateRange()
    range.beginDate = "1970-01-01"
    range.endDate = "1970-01-02"
    let questions: [(inout ProtoReport) -> Void] = [
      { $0.trend.breakdown = "open_id" }, { $0.trend.filter = filter },
      { $0.events.groupBy = ["platform", "open_id"] }, { $0.events.series = [series] },
      { $0.retention.breakdown = "open_id" }, { $0.performance.breakdown = "open_id" },
      { report in
        report.funnel.steps = ["$page_view", "buy"].map { name in .with { $0.events = [name] } }
        report.funnel.breakdown = "open_id"
      },
    ]
    for (number, change) in questions.enumerated() {
      var report = ProtoReport()
      change(&report)
      report.fill(range, series: series.events)
      let isRefused = await #expect(throws: RPCError.self) {
        _ = try await reports.explain(report, context: context(ReportsMethods.explain, ["query:read"]))
      }
      #expect(isRefused?.code == .permissionDenied, "\(number)")
      let allowed = try await reports.explain(
        report, context: context(ReportsMethods.explain, ["query:read", "query:users"]))
      #expect(allowed.info.asOfOffset == 3, "\(number)")
    }
    // Remembered answers are no way around.
    var request = ProtoGetTrendRequest()
    request.range = range
    request.breakdown = "open_id"
    let service = QueryService(runner: runner, status: { ProtoConsumerStatus() })
    let answer = try await service.getTrend(
      request, context: context(QueryMethods.getTrend, ["query:read", "query:users"]))
    #expect(answer.breakdown.map(\.value.stringValue) == ["a"])
    let refused = await #expect(throws: RPCError.self) {
      _ = try await service.getTrend(request, context: context(QueryMethods.getTrend, ["query:read"]))
    }
    #expect(refused?.code == .permissionDenied)
    // A page that is called so is no user.
    condition.condition.field = "page_path"
    condition.condition.values = [.with { $0.stringValue = "open_id" }]
    request.breakdown = "platform"
    request.filter = condition
    _ = try await service.getTrend(request, context: context(QueryMethods.getTrend, ["query:read"]))
  }

  @Test(arguments: ["+1", "01", "-1", "0", "Z", " 1", "1 "])
  func `a page token that no answer gave is refused`(_ token: String) async throws {
    let fixture = try Fixture()
    var request = ProtoListUsersRequest()
    request.report.trend.range.beginDate = "1970-01-01"
    request.report.trend.range.endDate = "1970-01-02"
    request.cell.metric = "visit_uv"
    request.pageToken = token
    let reports = ReportsService(
      runner: ReportRunner(engine: fixture.harness.engine, configuration: QueryConfiguration()))
    let context = CallContext(
      method: ReportsMethods.listUsers,
      principal: Principal(tokenID: "t", appID: "shop", scopes: ["query:users"]))
    let error = await #expect(throws: RPCError.self) {
      _ = try await reports.listUsers(request, context: context)
    }
    #expect(error?.code == .invalidArgument && error?.message.hasPrefix("page_token") == true)
  }

  @Test func `a funnel's shares and times`() async throws {
    let fixture = try Fixture()
    var request = ProtoGetFunnelRequest()
    request.range.beginDate = "1970-01-01"
    request.range.endDate = "1970-01-01"
    request.steps = ["$page_view", "buy", "never"].map { name in
      var step = ProtoFunnelStep()
      step.events = [name]
      return step
    }
    request.includeExcludedScenes = true
    let answer = try await fixture.service.getFunnel(
      request, context: fixture.context(QueryMethods.getFunnel))
    #expect(answer.steps.map(\.users) == [2, 1, 0])
    #expect(answer.steps.map(\.label) == ["$page_view", "buy", "never"])
    #expect(answer.steps.map(\.conversionFromPrevious) == [1, 0.5, 0])
    #expect(answer.steps.map(\.dropOffUsers) == [0, 1, 1])
    #expect(answer.steps[1].medianFromFirstMs == 5_000)
    #expect(answer.steps[2].p90FromFirstMs == 0)
  }
}

extension ProtoReport {
  /// Sets what every report that a test asks needs.
  fileprivate mutating func fill(_ range: ProtoDateRange, series events: [String]) {
    switch kind {
    case .trend: trend.range = range
    case .events:
      self.events.range = range
      if self.events.series.isEmpty { self.events.series = [.with { $0.events = events }] }
    case .retention: retention.range = range
    case .performance: performance.range = range
    case .funnel: funnel.range = range
    default: preconditionFailure("a report that no test asks")
    }
  }
}
