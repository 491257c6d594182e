import Events
import Messages
import Query
import RPC
import TestKit
import Testing

@Suite struct ExplainTests {
  private static let day: Int64 = 86_400_000

  /// Two users on each of three days, all of them sealed.
  private func harness() throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let events = (0..<6).map { number in
      ReferenceEvent(
        user: "u\(number % 2)", time: Int64(number / 2) * Self.day + 1_000, sequence: UInt64(number),
        offset: 0, name: "$page_view")
    }
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 5 * Self.day)
    try harness.engine.mergeIfDue(rows: 1)
    return harness
  }

  private func context(_ method: MethodDescriptor) -> CallContext {
    CallContext(
      method: method, principal: Principal(tokenID: "t", appID: "shop", scopes: ["query:read"]))
  }

  /// The file is there as long as the harness.
  private struct Desk {
    let harness: EngineHarness
    let runner: ReportRunner

    init(_ harness: EngineHarness, _ configuration: QueryConfiguration = QueryConfiguration()) {
      self.harness = harness
      runner = ReportRunner(engine: harness.engine, configuration: configuration)
    }
  }

  private func explain(_ desk: Desk, _ report: ProtoReport) async throws -> ProtoExplainResponse {
    try await ReportsService(runner: desk.runner).explain(
      report, context: context(ReportsMethods.explain))
  }

  private func pages() -> ProtoReport {
    var report = ProtoReport()
    report.pages.range.beginDate = "19700101"
    report.pages.range.endDate = "19700103"
    return report
  }

  @Test func `what is read is counted once, and by the operator that read it`() async throws {
    let desk = Desk(try harness())
    let first = try await explain(desk, pages())
    // The first day is looked at twice: for where opens are cut, and for the report.
    #expect(first.rowsRead == 6)
    #expect(first.days == 3 && first.daysCached == 0)
    #expect(first.bytesRead > 0)
    #expect(first.operators.reduce(0) { $0 + $1.bytes } == first.bytesRead)
    #expect(first.operators.contains { $0.name == "read days" && $0.bytes > 0 })
    #expect(first.operators.contains { $0.name == "walk" && $0.rows == 6 && $0.bytes == 0 })
    let second = try await explain(desk, pages())
    #expect(second.days == 3 && second.daysCached == 3)
    #expect(second.bytesRead == first.bytesRead)
  }

  @Test func `days of which no events are read are named too`() async throws {
    let desk = Desk(try harness())
    var report = ProtoReport()
    report.lifecycle.range.beginDate = "19700101"
    report.lifecycle.range.endDate = "19700103"
    let first = try await explain(desk, report)
    #expect(first.days == 3 && first.daysCached == 0)
    #expect(first.rowsRead == 0 && first.bytesRead > 0)
    #expect(first.columns == ["active users", "flag counts"])
    let second = try await explain(desk, report)
    #expect(second.days == 3 && second.daysCached == 3)
  }

  @Test func `it says whether the answer was there already`() async throws {
    let desk = Desk(try harness())
    #expect(try await !explain(desk, pages()).answerCached)
    #expect(try await !explain(desk, pages()).answerCached)
    _ = try await PagesService(runner: desk.runner).getPages(
      pages().pages, context: context(PagesMethods.getPages))
    #expect(try await explain(desk, pages()).answerCached)
    try desk.harness.apply(
      [[ReferenceEvent(user: "u0", time: 4 * Self.day, sequence: 9, offset: 0, name: "$page_view")]],
      receivedMilliseconds: 5 * Self.day)
    #expect(try await !explain(desk, pages()).answerCached)
  }

  /// Eight days of 400 rows each, all of them sealed: steps of the funnel are a tenth of the first day's and all of the others'.
  private func growingDays() throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let events = (0..<3_200).map { number in
      let isStep = number >= 400 || number < 40
      return ReferenceEvent(
        user: "u\(number % 20)", time: Int64(number / 400) * Self.day + Int64(number % 400) * 1_000,
        sequence: UInt64(number), offset: 0,
        name: !isStep ? "idle" : number / 20 % 2 == 0 ? "open" : "buy")
    }
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 9 * Self.day)
    try harness.engine.mergeIfDue(rows: 1)
    return harness
  }

  @Test func `a day whose rows are mostly steps takes its place in the funnel's memory`() async throws {
    var configuration = QueryConfiguration()
    // Half of it is for days: all of them as they look from the first one, or four with all of their rows.
    configuration.queryBytesMax = 60_000
    let desk = Desk(try growingDays(), configuration)
    var report = ProtoReport()
    report.funnel.range.beginDate = "19700101"
    report.funnel.range.endDate = "19700108"
    for name in ["open", "buy"] {
      var step = ProtoFunnelStep()
      step.events = [name]
      report.funnel.steps.append(step)
    }
    let explained = try await explain(desk, report)
    #expect(explained.operators.count { $0.name == "read days" } == 2)
    let query = FunnelQuery(
      appID: "shop", days: 0...7, steps: [FunnelQuery.Step(["open"]), FunnelQuery.Step(["buy"])],
      windowMilliseconds: 86_400_000)
    let answer = try desk.harness.engine.funnel(query, control: QueryControl(bytesMax: 60_000))
    #expect(answer.steps.map(\.users) == [20, 20])
  }
}
