import Events
import Query
import TestKit
import Testing

@Suite struct OverviewTests {
  @Test(arguments: 0..<100) func `cards are the points of the trend`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 80_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<3 {
      let scope = RandomScope(data, &random)
      let isAsked = random.below(2) == 0
      let query = OverviewQuery(
        appID: "shop", day: isAsked ? scope.days.lowerBound : nil, filter: scope.filter,
        traffic: scope.traffic)
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      let answer = try harness.engine.overview(query, control: QueryControl())
      let end = try RandomScope.milliseconds(answer.day...answer.day, data).upperBound
      if !isAsked {
        #expect(end <= harness.position.receivedMilliseconds, comment)
        let next = try RandomScope.milliseconds(answer.day + 1...answer.day + 1, data).upperBound
        #expect(next > harness.position.receivedMilliseconds, comment)
      }
      #expect(answer.cards.map(\.metric) == OverviewMetric.allCases, comment)
      for card in answer.cards {
        #expect(try card.value == point(answer.day, card, scope, harness, data), comment)
        #expect(try card.dayBefore == point(answer.day - 1, card, scope, harness, data), comment)
        #expect(try card.weekBefore == point(answer.day - 7, card, scope, harness, data), comment)
      }
      try checkUsers(answer, query, harness, comment)
    }
  }

  /// The number of the trend, which must itself be the reference's.
  private func point(
    _ day: Int, _ card: OverviewCard, _ scope: RandomScope, _ harness: EngineHarness,
    _ data: RandomData
  ) throws -> Double {
    let trend = try harness.engine.trend(
      TrendQuery(appID: "shop", days: day...day, filter: scope.filter, traffic: scope.traffic),
      control: QueryControl())
    let expected = ReferenceTrend(
      data.events, period: try RandomScope.milliseconds(day...day, data), rules: data.rules,
      counts: scope.counts, matches: scope.matches)
    #expect(ReferenceTrend(trend.points[0].metrics) == expected)
    return card.metric.value(trend.points[0].metrics)
  }

  private func checkUsers(
    _ answer: OverviewAnswer, _ query: OverviewQuery, _ harness: EngineHarness, _ comment: Comment
  ) throws {
    let kinds: [OverviewMetric: TrendWanted.Kind] = [
      .total: .visitTotal, .users: .visitUsers, .newUsers: .visitNewUsers, .shareUsers: .shareUsers,
    ]
    for card in answer.cards {
      guard let kind = kinds[card.metric] else { continue }
      let list = try harness.engine.overviewUsers(query, kind, control: QueryControl())
      #expect(Double(list.openIDs.count) == card.value, "\(comment) \(kind)")
    }
  }

  @Test(arguments: [
    ("20240331", "20240229"), ("20240330", "20240229"), ("20240229", "20240129"),
    ("20230331", "20230228"), ("20240115", "20231215"), ("20241231", "20241130"),
    ("20240501", "20240401"),
  ])
  func `the month before ends with its last day`(_ day: String, _ before: String) throws {
    let day = try #require(CivilDay(day)).index
    #expect(CivilDay(index: OverviewQuery.monthBefore(day)).compact == before)
  }

  @Test func `there is no change where then is nothing`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let day: Int64 = 86_400_000
    func open(_ user: String, _ time: Int64) -> [ReferenceEvent] {
      [ReferenceEvent(user: user, time: time, sequence: 0, offset: 0, name: "$launch")]
    }
    try harness.apply(
      [open("a", 40 * day), open("a", 39 * day), open("b", 40 * day + 1), open("c", 40 * day + 2)],
      receivedMilliseconds: 41 * day)
    let answer = try harness.engine.overview(OverviewQuery(appID: "shop"), control: QueryControl())
    #expect(answer.day == 40)
    #expect(answer.cards[0].metric == .sessionCount)
    #expect(answer.cards[0].value == 3 && answer.cards[0].dayBefore == 1)
    #expect(answer.cards[0].dayChange == 2)
    #expect(answer.cards[0].weekBefore == 0 && answer.cards[0].weekChange == nil)
    #expect(answer.cards[0].monthChange == nil)
    #expect(answer.info.isComplete)
  }
}
