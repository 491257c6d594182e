import Events
import Query
import RPC
import TestKit
import Testing

@Suite struct TrendTests {
  /// Each seed is one app of random data and several random questions.
  @Test(arguments: 0..<300) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 20_260_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<4 {
      let query = randomQuery(data, &random)
      try check(query, data, harness, "seed \(seed)")
    }
  }

  private func randomQuery(_ data: RandomData, _ random: inout SeededRandom) -> TrendQuery {
    let origin = Int(data.origin / 86_400_000)
    let begin = origin - 2 + random.below(10)
    var query = TrendQuery(
      appID: "shop", days: begin...begin + random.below(12),
      granularity: random.pick(Granularity.allCases))
    if random.below(2) == 0 { query.filter = RandomFilters.tree(&random) }
    if random.below(2) == 0 {
      query.breakdown = random.pick([
        "platform", "province", "event", "page_path", "open_id", "age", "source_key", "channel",
      ])
      query.breakdownLimit = 1 + random.below(4)
    }
    if random.oneIn(3) {
      let other = origin + random.below(6)
      query.compareDays = other...other + random.below(5)
    }
    query.traffic = TrafficChoice(
      channel: random.oneIn(6) ? 2 : 1, includesExcludedScenes: random.below(2) == 0)
    return query
  }

  private func check(
    _ query: TrendQuery, _ data: RandomData, _ harness: EngineHarness, _ comment: String
  ) throws {
    let answer = try harness.engine.trend(query, control: QueryControl())
    let comment = Comment(rawValue: "\(comment) \(query)")
    let filtered = { (event: ReferenceEvent) in
      query.filter.map { RandomFilters.matches($0, event) } ?? true
    }
    compare(answer.points, query, data, comment, matches: filtered)
    compare(answer.comparePoints, query, data, comment, matches: filtered)
    checkDays(answer.points, query.days, data, comment)
    checkTally(answer, query, data, comment, filtered)
    guard let field = query.breakdown else { return }
    let shown = Set(answer.breakdown.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) })
    for series in answer.breakdown {
      compare(series.points, query, data, comment) { event in
        guard filtered(event) else { return false }
        let value = data.value(field, of: event)
        return series.isOther
          ? !shown.contains(value) : value == series.value.map(RandomFilters.reference)
      }
    }
    checkRanking(answer, query, data, comment, filtered)
  }

  private func counts(_ query: TrendQuery, _ event: ReferenceEvent) -> Bool {
    event.channel == (query.traffic.channel == 1 ? "release" : "trial")
      && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
  }

  private func compare(
    _ points: [TrendPoint], _ query: TrendQuery, _ data: RandomData, _ comment: Comment,
    matches: (ReferenceEvent) -> Bool
  ) {
    for point in points {
      let expected = ReferenceTrend(
        data.events, period: point.period.milliseconds, rules: data.rules,
        counts: { counts(query, $0) }, matches: matches)
      #expect(ReferenceTrend(point.metrics) == expected, comment)
    }
  }

  /// The points are exactly the local days of the range, by another calendar.
  private func checkDays(
    _ points: [TrendPoint], _ days: ClosedRange<Int>, _ data: RandomData, _ comment: Comment
  ) {
    guard let calendar = ReferenceCalendar(data.zone) else { return }
    func day(_ index: Int) -> Range<Int64> {
      let civil = CivilDay(index: index)
      return calendar.day(civil.year, civil.month, civil.day)
    }
    #expect(points.first?.period.milliseconds.lowerBound == day(days.lowerBound).lowerBound, comment)
    #expect(points.last?.period.milliseconds.upperBound == day(days.upperBound).upperBound, comment)
    for (a, b) in zip(points, points.dropFirst()) {
      #expect(a.period.milliseconds.upperBound == b.period.milliseconds.lowerBound, comment)
    }
  }

  private func checkTally(
    _ answer: TrendAnswer, _ query: TrendQuery, _ data: RandomData, _ comment: Comment,
    _ filtered: (ReferenceEvent) -> Bool
  ) {
    let begin = answer.points.first?.period.milliseconds.lowerBound ?? 0
    let end = answer.points.last?.period.milliseconds.upperBound ?? 0
    let events = data.events.filter { (begin..<end).contains($0.time) }
    let ofScenes = events.filter { query.traffic.includesExcludedScenes || !$0.isExcludedScene }
    let ofChannel = ofScenes.filter {
      $0.channel == (query.traffic.channel == 1 ? "release" : "trial")
    }
    let read = ofChannel.filter(filtered)
    #expect(answer.info.eventsRead == UInt64(read.count), comment)
    #expect(answer.info.excluded[.scene] ?? 0 == UInt64(events.count - ofScenes.count), comment)
    #expect(answer.info.excluded[.releaseChannel] ?? 0 == UInt64(ofScenes.count - ofChannel.count), comment)
    #expect(answer.info.excluded[.filter] ?? 0 == UInt64(ofChannel.count - read.count), comment)
    #expect(answer.info.position.nextOffset == UInt64(data.events.count), comment)
    #expect(answer.info.lastEventMilliseconds == data.events.map(\.time).max(), comment)
  }

  /// No value beside the shown ones has more users than one of them.
  private func checkRanking(
    _ answer: TrendAnswer, _ query: TrendQuery, _ data: RandomData, _ comment: Comment,
    _ filtered: (ReferenceEvent) -> Bool
  ) {
    guard let field = query.breakdown else { return }
    let begin = answer.points.first?.period.milliseconds.lowerBound ?? 0
    let end = answer.points.last?.period.milliseconds.upperBound ?? 0
    let events = data.events.filter {
      (begin..<end).contains($0.time) && counts(query, $0) && filtered($0)
    }
    let users = Dictionary(grouping: events) { data.value(field, of: $0) }
      .mapValues { Set($0.filter { !$0.isPassive }.map(\.user)).count }
    let shown = answer.breakdown.filter { !$0.isOther }
    #expect(shown.count == min(users.count, query.breakdownLimit), comment)
    #expect((answer.breakdown.count > shown.count) == (users.count > query.breakdownLimit), comment)
    let shownUsers = shown.map { users[$0.value.map(RandomFilters.reference)] ?? -1 }
    #expect(shownUsers == shownUsers.sorted(by: >), comment)
    #expect(shownUsers == Array(users.values.sorted(by: >).prefix(shown.count)), comment)
  }
}

extension ReferenceTrend {
  init(_ metrics: TrendMetrics) {
    self.init([], period: 0..<1, rules: ReferenceRules(mergeUnder: 0, timeout: 1_000),
      counts: { _ in true }, matches: { _ in true })
    visitTotal = Int(metrics.visitTotal)
    sessionCount = Int(metrics.sessionCount)
    visitPageViews = Int(metrics.visitPageViews)
    visitUsers = Int(metrics.visitUsers)
    visitNewUsers = Int(metrics.visitNewUsers)
    sharePageViews = Int(metrics.sharePageViews)
    shareUsers = Int(metrics.shareUsers)
    stayMilliseconds = metrics.stayMilliseconds
    depth = Int(metrics.depth)
    eventCount = Int(metrics.eventCount)
  }
}
