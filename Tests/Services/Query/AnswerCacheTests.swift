import Events
import Messages
import Query
import RPC
import TestKit
import Testing

@Suite struct AnswerCacheTests {
  private struct World {
    let harness: EngineHarness
    let runner: ReportRunner
    let service: QueryService

    init(answerBytesMax: Int? = nil) throws {
      harness = try EngineHarness(AppDefinition(
        appID: "shop", platform: "wechat", timeZone: "UTC",
        sessionRules: SessionRules(mergeUnderMilliseconds: 30_000, timeoutMilliseconds: 1_800_000)))
      var configuration = QueryConfiguration()
      if let answerBytesMax { configuration.answerBytesMax = answerBytesMax }
      runner = ReportRunner(engine: harness.engine, configuration: configuration)
      service = QueryService(runner: runner, status: { ProtoConsumerStatus() })
    }

    func visit(_ user: String, _ offset: UInt64) throws {
      let event = ReferenceEvent(
        user: user, time: 1_000 + Int64(offset), sequence: offset + 1, offset: offset, name: "$page_view")
      try harness.apply([[event]], receivedMilliseconds: 5_000)
    }

    func trend(day: Int = 1) async throws -> ProtoGetTrendResponse {
      var request = ProtoGetTrendRequest()
      request.appID = "shop"
      request.range.beginDate = "19700101"
      request.range.endDate = "1970010\(day)"
      return try await service.getTrend(
        request,
        context: CallContext(
          method: QueryMethods.getTrend,
          principal: Principal(tokenID: "t", appID: nil, scopes: ["query:read"])))
    }
  }

  @Test func `an answer is given again until the log goes on`() async throws {
    let world = try World()
    try world.visit("a", 0)
    let first = try await world.trend()
    #expect(first.points[0].metrics.visitUv == 1)
    #expect(try await world.trend() == first)
    #expect(world.runner.answersRemembered == 1)
    // Another question is another answer.
    #expect(try await world.trend(day: 2).points.count == 2)
    #expect(world.runner.answersRemembered == 1)
    try world.visit("b", 1)
    let later = try await world.trend()
    #expect(later.points[0].metrics.visitUv == 2)
    #expect(later.info.asOfOffset == first.info.asOfOffset + 1)
    #expect(world.runner.answersRemembered == 1)
  }

  @Test func `memory is bounded, and none is none`() async throws {
    let world = try World(answerBytesMax: 4_000)
    try world.visit("a", 0)
    for day in 1...9 { _ = try await world.trend(day: day) }
    #expect(world.runner.answerBytes <= 4_000)
    let off = try World(answerBytesMax: 0)
    try off.visit("a", 0)
    for _ in 0..<3 { _ = try await off.trend() }
    #expect(off.runner.answersRemembered == 0)
  }
}
