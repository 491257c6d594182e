import Events
import Query
import TestKit
import Testing

@Suite struct TrendOfDaysTests {
  /// Questions between batches, each beside the same question with a filter that every event matches: that one is counted
  /// from the events.
  @Test(arguments: 0..<150) func `what is kept of days never outlives a change of their events`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 50_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    let origin = Int(data.origin / 86_400_000)
    for batch in data.batches {
      try harness.apply([batch], receivedMilliseconds: batch.map(\.time).max() ?? 0)
      if random.oneIn(8) { try harness.redefine(RandomData.sources(&random)) }
      if random.below(2) == 0 { try harness.engine.mergeIfDue(rows: 1) }
      guard random.below(2) == 0 else { continue }
      let begin = origin - 2 + random.below(10)
      var query = TrendQuery(
        appID: "shop", days: begin...begin + random.below(12),
        granularity: random.pick([.day, .week, .month, .all]))
      query.traffic = TrafficChoice(includesExcludedScenes: random.below(2) == 0)
      query.metrics = [.visitUsers, .visitNewUsers, .visitTotal]
      let ofUsers = try harness.engine.trend(query, control: QueryControl())
      query.metrics = Set(TrendMetric.allCases)
      let kept = try harness.engine.trend(query, control: QueryControl())
      query.filter = .condition(FilterCondition("event", .exists))
      let counted = try harness.engine.trend(query, control: QueryControl())
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      #expect(kept.points == counted.points, comment)
      #expect(kept.info == counted.info, comment)
      #expect(ofUsers.info == counted.info, comment)
      #expect(ofUsers.points.map { Users($0.metrics) } == counted.points.map { Users($0.metrics) }, comment)
    }
  }

  private struct Users: Equatable {
    let active: UInt64
    let new: UInt64
    let total: UInt64

    init(_ metrics: TrendMetrics) {
      active = metrics.visitUsers
      new = metrics.visitNewUsers
      total = metrics.visitTotal
    }
  }
}
