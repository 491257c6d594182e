import Events
import Query
import TestKit
import Testing

@Suite struct PagesTests {
  @Test(arguments: 0..<200) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 60_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<3 {
      let scope = RandomScope(data, &random)
      let query = PagesQuery(
        appID: "shop", days: scope.days, compareDays: scope.compareDays, filter: scope.filter,
        order: random.pick(PagesQuery.Order.allCases), traffic: scope.traffic)
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      let answer = try harness.engine.pages(query, control: QueryControl())
      try check(answer, scope, data, comment)
      if seed % 4 == 0 { try checkUsers(answer, query, harness, comment) }
      try checkSums(answer, query, harness, comment)
      try checkPaging(answer, query, harness, comment)
    }
  }

  private func reference(
    _ path: String?, _ days: ClosedRange<Int>, _ scope: RandomScope, _ data: RandomData
  ) throws -> ReferencePage {
    ReferencePage(
      data.events, isPage: { path == nil || ($0.page ?? "") == path },
      period: try RandomScope.milliseconds(days, data), rules: data.rules, counts: scope.counts,
      matches: scope.matches)
  }

  private func check(
    _ answer: PagesAnswer, _ scope: RandomScope, _ data: RandomData, _ comment: Comment
  ) throws {
    let paths = Set(data.events.map { $0.page ?? "" })
    var shown: Set<String> = []
    for path in paths {
      let expected = try reference(path, scope.days, scope, data)
      let isNothing =
        expected.visits == 0 && expected.entries == 0 && expected.exits == 0 && expected.shares == 0
      if !isNothing { shown.insert(path) }
      guard let row = answer.rows.first(where: { $0.path == path }) else { continue }
      compare(row.metrics, expected, bounceable: expected.entries, comment)
      if let days = scope.compareDays {
        let then = try reference(path, days, scope, data)
        compare(try #require(row.compare), then, bounceable: then.entries, comment)
      } else {
        #expect(row.compare == nil, comment)
      }
    }
    #expect(Set(answer.rows.map(\.path)) == shown, comment)
    #expect(answer.pageCount == shown.count, comment)
    let total = try reference(nil, scope.days, scope, data)
    compare(answer.total, total, bounceable: total.opens, comment)
  }

  private func compare(
    _ metrics: PageMetrics, _ expected: ReferencePage, bounceable: Int, _ comment: Comment
  ) {
    #expect(Int(metrics.visits) == expected.visits, comment)
    #expect(Int(metrics.users) == expected.users.count, comment)
    #expect(metrics.stayMilliseconds == expected.stayMilliseconds, comment)
    #expect(Int(metrics.entries) == expected.entries, comment)
    #expect(Int(metrics.exits) == expected.exits, comment)
    #expect(Int(metrics.shares) == expected.shares, comment)
    #expect(Int(metrics.shareUsers) == expected.sharers.count, comment)
    #expect(Int(metrics.bounces) == expected.bounces, comment)
    #expect(Int(metrics.bounceable) == bounceable, comment)
  }

  private func checkUsers(
    _ answer: PagesAnswer, _ query: PagesQuery, _ harness: EngineHarness, _ comment: Comment
  ) throws {
    let numbers = answer.rows.map { ($0.path as String?, $0.metrics) } + [(nil, answer.total)]
    for (path, metrics) in numbers {
      let visitors = try harness.engine.pagesUsers(
        query, .visitors, path: path, control: QueryControl())
      #expect(visitors.openIDs.count == Int(metrics.users), comment)
      #expect(Set(visitors.openIDs).count == Int(metrics.users), comment)
      let sharers = try harness.engine.pagesUsers(
        query, .sharers, path: path, control: QueryControl())
      #expect(Set(sharers.openIDs).count == Int(metrics.shareUsers), comment)
    }
  }

  /// Pages add up to what the trend says of all of them.
  private func checkSums(
    _ answer: PagesAnswer, _ query: PagesQuery, _ harness: EngineHarness, _ comment: Comment
  ) throws {
    let trend = try harness.engine.trend(
      TrendQuery(
        appID: "shop", days: query.days, granularity: .all, filter: query.filter,
        traffic: query.traffic), control: QueryControl()
    ).points[0].metrics
    #expect(answer.rows.reduce(0) { $0 + $1.metrics.visits } == trend.visitPageViews, comment)
    #expect(answer.rows.reduce(0) { $0 + $1.metrics.shares } == trend.sharePageViews, comment)
    #expect(answer.total.visits == trend.visitPageViews, comment)
    #expect(answer.total.shareUsers == trend.shareUsers, comment)
    #expect(answer.total.bounceable == trend.sessionCount, comment)
    #expect(answer.rows.reduce(0) { $0 + $1.metrics.entries } == answer.total.entries, comment)
    #expect(answer.total.entries == answer.total.exits, comment)
  }

  /// The rows come by the order that was asked for, and in parts too.
  private func checkPaging(
    _ answer: PagesAnswer, _ query: PagesQuery, _ harness: EngineHarness, _ comment: Comment
  ) throws {
    let ranks = answer.rows.map { rank($0.metrics, query.order) }
    for (index, pair) in zip(ranks, ranks.dropFirst()).enumerated() {
      #expect(pair.0 >= pair.1, comment)
      if pair.0 == pair.1 { #expect(answer.rows[index].path < answer.rows[index + 1].path, comment) }
    }
    var parts: [PageRow] = []
    var part = query
    part.limit = 2
    while parts.count < answer.rows.count {
      part.offset = parts.count
      let rows = try harness.engine.pages(part, control: QueryControl()).rows
      #expect(!rows.isEmpty && rows.count <= 2, comment)
      if rows.isEmpty { return }
      parts += rows
    }
    #expect(parts == answer.rows, comment)
  }

  private func rank(_ metrics: PageMetrics, _ order: PagesQuery.Order) -> Double {
    switch order {
    case .visits: Double(metrics.visits)
    case .entries: Double(metrics.entries)
    case .exits: Double(metrics.exits)
    case .heat: metrics.heat
    case .users: Double(metrics.users)
    case .stay: metrics.staySecondsPerVisit
    case .shares: Double(metrics.shares)
    }
  }

  @Test func `limits and pages that nobody has seen are refused`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    for limit in [0, 10_001] {
      let error = #expect(throws: QueryError.self) {
        try harness.engine.pages(
          PagesQuery(appID: "shop", days: 0...0, limit: limit), control: QueryControl())
      }
      #expect(error?.kind == .invalidArgument)
      #expect(error?.description.contains("\(limit), must be 1-10000") == true)
    }
    let error = #expect(throws: QueryError.self) {
      try harness.engine.pagesUsers(
        PagesQuery(appID: "shop", days: 0...0), .visitors, path: "pages/none", control: QueryControl())
    }
    #expect(error?.description.hasPrefix("cell.nodes") == true)
  }

  /// An app of more pages than users have a bit for.
  @Test func `users of each page are exact where there are thousands of pages`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var events: [ReferenceEvent] = []
    for number in 0..<10_000 {
      var event = ReferenceEvent(
        user: "u\(number % 7)", time: Int64(number) * 1_000, sequence: 0, offset: UInt64(number),
        name: "$page_view")
      event.page = "pages/\(number % 5_000)"
      events.append(event)
    }
    let batches = Dictionary(grouping: events, by: \.user).values.flatMap { own in
      stride(from: 0, to: own.count, by: 200).map { Array(own[$0..<min($0 + 200, own.count)]) }
    }
    try harness.apply(batches, receivedMilliseconds: 86_400_000)
    let answer = try harness.engine.pages(
      PagesQuery(appID: "shop", days: 0...0, limit: 10_000), control: QueryControl())
    #expect(answer.pageCount == 5_000)
    // 5,000 leaves 2 when divided by 7: the second visit of a page is another user's.
    #expect(answer.rows.allSatisfy { $0.metrics.visits == 2 && $0.metrics.users == 2 })
    #expect(answer.total.users == 7)
    #expect(answer.total.entries == 7 && answer.total.bounces == 0)
  }
}
