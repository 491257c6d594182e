import Events
import Query
import TestKit
import Testing

@Suite struct SourcesTests {
  @Test(arguments: 0..<200) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 70_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<3 {
      let scope = RandomScope(data, &random)
      let query = query(scope, &random)
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      let answer = try harness.engine.sources(query, control: QueryControl())
      try Check(query, scope, data, harness, comment, isListing: seed % 4 == 0).run(answer)
    }
  }

  private func query(_ scope: RandomScope, _ random: inout SeededRandom) -> SourcesQuery {
    var query = SourcesQuery(
      appID: "shop", days: scope.days, compareDays: scope.compareDays,
      dimension: random.pick([.sourceKey, .channel, .scene, .campaignSource]),
      limit: 1 + random.below(4), granularity: random.pick([.day, .week, .month, .all]),
      filter: scope.filter, traffic: scope.traffic)
    if random.below(2) == 0 { query.retentionDays = [1, 2, 3 + random.below(3)] }
    if random.below(2) == 0 {
      let event = random.pick(["$share", "$page_view", "purchase", "never"])
      query.conversion = .init(
        [event, "catalog"], filter: random.below(2) == 0 ? RandomFilters.tree(&random) : nil)
    }
    return query
  }

  private struct Check {
    let query: SourcesQuery
    let scope: RandomScope
    let data: RandomData
    let harness: EngineHarness
    let comment: Comment
    /// Whether the users behind the numbers are listed too.
    let isListing: Bool

    init(
      _ query: SourcesQuery, _ scope: RandomScope, _ data: RandomData, _ harness: EngineHarness,
      _ comment: Comment, isListing: Bool
    ) {
      self.isListing = isListing
      self.query = query
      self.scope = scope
      self.data = data
      self.harness = harness
      self.comment = comment
    }

    func reference(
      _ period: Range<Int64>, _ isSource: @escaping (ReferenceEvent) -> Bool
    ) -> ReferenceSource {
      ReferenceSource(
        data.events, period: period, rules: data.rules, counts: scope.counts,
        matches: scope.matches, isSource: isSource, converts: converts)
    }

    private func converts(_ event: ReferenceEvent) -> Bool {
      guard let conversion = query.conversion, conversion.events.contains(event.name) else {
        return false
      }
      return conversion.filter.map { RandomFilters.matches($0, event) } ?? true
    }

    private func value(_ event: ReferenceEvent) -> ReferenceValue? {
      data.value(query.dimension.rawValue, of: event)
    }

    func run(_ answer: SourcesAnswer) throws {
      let range = try RandomScope.milliseconds(query.days, data)
      let shown = answer.rows.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) }
      for row in answer.rows {
        let isSource: (ReferenceEvent) -> Bool = { event in
          row.isOther
            ? !shown.contains(value(event)) : value(event) == row.value.map(RandomFilters.reference)
        }
        compare(row.metrics, reference(range, isSource))
        if let days = query.compareDays {
          let then = reference(try RandomScope.milliseconds(days, data), isSource)
          compare(try #require(row.compare), then)
        }
        for point in row.points { compare(point.metrics, reference(point.period.milliseconds, isSource)) }
        try checkRetention(row, reference(range, isSource))
        if isListing { try checkUsers(row) }
      }
      compare(answer.total, reference(range) { _ in true })
      try checkRanking(answer, range, shown)
      try checkSums(answer)
    }

    private func compare(_ metrics: SourceMetrics, _ expected: ReferenceSource) {
      #expect(Int(metrics.sessionCount) == expected.opens, comment)
      #expect(Int(metrics.pageViews) == expected.pageViews, comment)
      #expect(Int(metrics.visitUsers) == expected.users.count, comment)
      #expect(Int(metrics.visitNewUsers) == expected.newUsers.count, comment)
      #expect(Int(metrics.conversionUsers) == expected.converted.count, comment)
      #expect(metrics.stayMilliseconds == expected.stayMilliseconds, comment)
      #expect(Int(metrics.bounces) == expected.bounces, comment)
    }

    private func checkRetention(_ row: SourceRow, _ expected: ReferenceSource) throws {
      let calendar = try #require(ReferenceCalendar(data.zone))
      let received = harness.position.receivedMilliseconds
      #expect(row.retention.map(\.day) == query.retentionDays, comment)
      for retention in row.retention {
        let over = expected.newUsers.mapValues { calendar.day(retention.day, after: $0) }
          .filter { $0.value.upperBound <= received }
        let back = over.filter { user, day in
          data.events.contains {
            $0.user == user && day.contains($0.time) && !$0.isPassive && scope.counts($0)
          }
        }
        #expect(Int(retention.newUsers) == over.count, comment)
        #expect(Int(retention.users) == back.count, comment)
      }
    }

    private func checkUsers(_ row: SourceRow) throws {
      let cell = SeriesCell(value: row.value, isOther: row.isOther)
      let numbers = [(nil as String?, row.metrics)] + row.points.prefix(3).map { ($0.period.refDate, $0.metrics) }
      for (refDate, metrics) in numbers {
        for (kind, number) in [
          (SourceUsers.active, metrics.visitUsers), (.new, metrics.visitNewUsers),
          (.converted, metrics.conversionUsers),
        ] {
          let list = try harness.engine.sourcesUsers(
            query, kind, refDate: refDate, row: cell, control: QueryControl())
          #expect(Set(list.openIDs).count == Int(number), "\(comment) \(kind) \(refDate ?? "")")
          #expect(list.openIDs.count == Int(number), comment)
        }
      }
    }

    private func checkRanking(
      _ answer: SourcesAnswer, _ range: Range<Int64>, _ shown: [ReferenceValue?]
    ) throws {
      let values = Set(data.events.map(value))
      let opens = values.map { wanted in reference(range) { value($0) == wanted }.opens }
        .filter { $0 > 0 }.sorted(by: >)
      #expect(shown.count == min(opens.count, query.limit), comment)
      #expect(answer.rows.contains { $0.isOther } == (opens.count > query.limit), comment)
      let counts = answer.rows.filter { !$0.isOther }.map { Int($0.metrics.sessionCount) }
      #expect(counts == Array(opens.prefix(query.limit)), comment)
    }

    /// The sources' opens are all opens, and a row's points are its opens.
    private func checkSums(_ answer: SourcesAnswer) throws {
      let trend = try harness.engine.trend(
        TrendQuery(
          appID: "shop", days: query.days, granularity: .all, filter: query.filter,
          traffic: query.traffic), control: QueryControl()
      ).points[0].metrics
      #expect(answer.rows.reduce(0) { $0 + $1.metrics.sessionCount } == trend.sessionCount, comment)
      #expect(answer.total.sessionCount == trend.sessionCount, comment)
      #expect(answer.total.stayMilliseconds == trend.stayMilliseconds, comment)
      for row in answer.rows where query.granularity != .all {
        #expect(row.points.reduce(0) { $0 + $1.metrics.sessionCount } == row.metrics.sessionCount, comment)
      }
    }
  }

  @Test func `what is asked wrongly is refused by name`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    func refusal(_ change: (inout SourcesQuery) -> Void) -> String {
      var query = SourcesQuery(appID: "shop", days: 0...0)
      change(&query)
      do {
        _ = try harness.engine.sources(query, control: QueryControl())
        return "answered"
      } catch {
        return "\(error)"
      }
    }
    #expect(refusal { $0.limit = 1_001 } == "limit: is 1001, must be 1-1000")
    #expect(refusal { $0.retentionDays = [0] }.hasPrefix("retention_days: has 0"))
    #expect(refusal { $0.retentionDays = Array(1...11) }.hasPrefix("retention_days: 11 given"))
    #expect(refusal { $0.conversion = .init([]) }.hasPrefix("conversion.events"))
    #expect(refusal { $0.conversion = .init(["No Name"]) }.hasPrefix("conversion.events"))
    #expect(
      refusal { $0.conversion = .init(["a"], filter: .and([])) }.hasPrefix("conversion.filter"))
    #expect(refusal { ($0.days, $0.granularity) = (0...92, .hour) }.hasPrefix("range: has 93 days"))
    #expect(refusal { _ in } == "answered")
  }
}
