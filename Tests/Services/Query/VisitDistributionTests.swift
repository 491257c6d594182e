import Events
import Query
import TestKit
import Testing

@Suite struct VisitDistributionTests {
  @Test(arguments: 0..<200) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 50_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<3 {
      let scope = RandomScope(data, &random)
      let query = VisitDistributionQuery(
        appID: "shop", days: scope.days, compareDays: scope.compareDays, filter: scope.filter,
        traffic: scope.traffic)
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      let answer = try harness.engine.visitDistribution(query, control: QueryControl())
      try check(answer.distributions, scope.days, scope, data, comment)
      if let days = scope.compareDays {
        try check(answer.compareDistributions, days, scope, data, comment)
      } else {
        #expect(answer.compareDistributions == [], comment)
      }
      if seed % 4 == 0 { try checkUsers(answer, query, harness, comment) }
      try checkSums(answer, query, harness, comment)
    }
  }

  private func check(
    _ distributions: [VisitDistribution], _ days: ClosedRange<Int>, _ scope: RandomScope,
    _ data: RandomData, _ comment: Comment
  ) throws {
    let expected = ReferenceDistribution(
      data.events, period: try RandomScope.milliseconds(days, data), rules: data.rules,
      counts: scope.counts, matches: scope.matches,
      sourceKey: { event in
        if case .integer(let key)? = data.value("source_key", of: event) { Int(key) } else { nil }
      })
    #expect(distributions.map(\.index) == [.source, .stay, .depth], comment)
    for distribution in distributions {
      let items =
        switch distribution.index {
        case .source: expected.bySource
        case .stay: expected.byStay
        case .depth: expected.byDepth
        }
      let shown = distribution.items.filter { $0.sessionCount > 0 }
      #expect(shown.map(\.key) == items.keys.sorted(), comment)
      for item in shown {
        #expect(Int(item.sessionCount) == items[item.key]?.opens, comment)
        #expect(Int(item.visitUsers) == items[item.key]?.users.count, comment)
      }
    }
    let stays = distributions[1].items.map(\.key)
    #expect(stays == Array(1...8), comment)
    #expect(distributions[2].items.map(\.key).filter { $0 > 0 } == Array(1...7), comment)
  }

  /// The users behind each number are as many as it says.
  private func checkUsers(
    _ answer: VisitDistributionAnswer, _ query: VisitDistributionQuery, _ harness: EngineHarness,
    _ comment: Comment
  ) throws {
    for distribution in answer.distributions {
      for item in distribution.items {
        let list = try harness.engine.visitDistributionUsers(
          query, distribution.index, key: item.key, control: QueryControl())
        #expect(list.openIDs.count == Int(item.visitUsers), comment)
        #expect(Set(list.openIDs).count == list.openIDs.count, comment)
      }
    }
  }

  /// Whatever opens are spread over, they are all of them.
  private func checkSums(
    _ answer: VisitDistributionAnswer, _ query: VisitDistributionQuery, _ harness: EngineHarness,
    _ comment: Comment
  ) throws {
    let trend = try harness.engine.trend(
      TrendQuery(
        appID: "shop", days: query.days, granularity: .all, filter: query.filter,
        traffic: query.traffic), control: QueryControl())
    for distribution in answer.distributions {
      let opens = distribution.items.reduce(0) { $0 + $1.sessionCount }
      #expect(opens == trend.points[0].metrics.sessionCount, comment)
    }
    #expect(answer.info.eventsRead == trend.info.eventsRead, comment)
    #expect(answer.info.excluded == trend.info.excluded, comment)
  }
}
