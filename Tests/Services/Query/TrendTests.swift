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
      try check(query, data, harness, "seed \(seed)", isListing: seed % 8 == 0)
    }
  }

  /// Hours and minutes, zones of half an hour and changes of daylight saving among them.
  @Test(arguments: 0..<100) func `hours and minutes agree with the reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 40_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    var query = randomQuery(data, &random)
    query.granularity = random.oneIn(4) ? .minute : .hour
    let length = query.granularity == .minute ? 1 + random.below(2) : 1 + random.below(6)
    query.days = query.days.lowerBound...query.days.lowerBound + length - 1
    query.compareDays = nil
    query.breakdownLimit = 1
    let answer = try harness.engine.trend(query, control: QueryControl())
    let comment = Comment(rawValue: "seed \(seed) \(query)")
    let filtered = { (event: ReferenceEvent) in
      query.filter.map { RandomFilters.matches($0, event) } ?? true
    }
    try checkClock(answer.points, query, data, comment)
    checkDays(answer.points, query.days, data, comment)
    let full = answer.points.filter { point in
      data.events.contains { point.period.milliseconds.contains($0.time) }
    }
    compare(full + [random.pick(answer.points)], query, data, comment, matches: filtered)
    for series in answer.breakdown where !series.isOther {
      let field = try #require(query.breakdown)
      let points = series.points.filter { $0.metrics != TrendMetrics() }
      compare(Array(points.prefix(4)), query, data, comment) {
        filtered($0) && data.value(field, of: $0) == series.value.map(RandomFilters.reference)
      }
    }
    var whole = query
    whole.granularity = .all
    let all = try harness.engine.trend(whole, control: QueryControl()).points[0].metrics
    #expect(answer.points.reduce(0) { $0 + $1.metrics.sessionCount } == all.sessionCount, comment)
    #expect(answer.points.reduce(0) { $0 + $1.metrics.eventCount } == all.eventCount, comment)
    if query.filter == nil {
      #expect(answer.points.reduce(0) { $0 + $1.metrics.visitNewUsers } == all.visitNewUsers, comment)
    }
    #expect(answer.points.last?.metrics.visitTotal == all.visitTotal, comment)
  }

  /// Each point has one name by the clock on the wall, and neighbours differ in it, unless the clock was set between them.
  private func checkClock(
    _ points: [TrendPoint], _ query: TrendQuery, _ data: RandomData, _ comment: Comment
  ) throws {
    let calendar = try #require(ReferenceCalendar(data.zone))
    let isMinute = query.granularity == .minute
    func name(_ moment: Int64) -> String { calendar.clock(at: moment, minutes: isMinute) }
    for point in points {
      let range = point.period.milliseconds
      for moment in stride(from: range.lowerBound, to: range.upperBound, by: isMinute ? 20_000 : 600_000) {
        #expect(name(moment) == point.period.refDate, comment)
      }
      #expect(name(range.upperBound - 1) == point.period.refDate, comment)
    }
    let length: Int64 = isMinute ? 60_000 : 3_600_000
    for (a, b) in zip(points, points.dropFirst()) where a.period.refDate == b.period.refDate {
      // Neighbours of one name: the clock was set back within the hour.
      let both = b.period.milliseconds.upperBound - a.period.milliseconds.lowerBound
      #expect(both > length, comment)
    }
  }

  @Test func `an hour that daylight saving repeats is two points, one that it leaves out none`() throws {
    let harness = try EngineHarness(
      AppDefinition(
        appID: "shop", platform: "wechat", timeZone: "Europe/Berlin", sessionRules: .classic))
    // 2024-10-27 at 00:30 and 01:30 UTC: 02:30 twice.
    let first: Int64 = 1_729_989_000_000
    func launch(_ user: String, _ time: Int64) -> [ReferenceEvent] {
      [ReferenceEvent(user: user, time: time, sequence: 0, offset: 0, name: "$launch")]
    }
    try harness.apply(
      [launch("a", first), launch("b", first + 1), launch("c", first + 3_600_000)],
      receivedMilliseconds: first + 200_000_000)
    let autumn = try #require(CivilDay("20241027")).index
    let query = TrendQuery(appID: "shop", days: autumn...autumn, granularity: .hour)
    let answer = try harness.engine.trend(query, control: QueryControl())
    #expect(answer.points.count == 25)
    let twice = answer.points.filter { $0.period.refDate == "20241027T02" }
    #expect(twice.map(\.metrics.sessionCount) == [2, 1])
    for (ordinal, users) in [(1, ["a", "b"]), (2, ["c"])] {
      let list = try harness.engine.trendUsers(
        query, .visitUsers, refDate: "20241027T02", ordinal: ordinal, series: nil,
        control: QueryControl())
      #expect(list.openIDs == users)
    }
    let spring = try #require(CivilDay("20240331")).index
    let names = try harness.engine.trend(
      TrendQuery(appID: "shop", days: spring...spring, granularity: .hour), control: QueryControl()
    ).points.map(\.period.refDate)
    #expect(names.count == 23 && !names.contains("20240331T02"))
    let minutes = try harness.engine.trend(
      TrendQuery(appID: "shop", days: spring...spring, granularity: .minute), control: QueryControl()
    ).points.map(\.period.refDate)
    #expect(minutes.count == 23 * 60 && minutes[120] == "20240331T0300")
  }

  @Test func `longer ranges by the minute and the hour are refused`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    func refusal(_ days: ClosedRange<Int>, _ granularity: Granularity, compared: Bool) -> String? {
      var query = TrendQuery(appID: "shop", days: compared ? 0...0 : days, granularity: granularity)
      if compared { query.compareDays = days }
      do {
        _ = try harness.engine.trend(query, control: QueryControl())
        return nil
      } catch {
        return "\(error)"
      }
    }
    #expect(refusal(0...2, .minute, compared: false) == "range: has 3 days, at most 2 by minute")
    #expect(refusal(0...92, .hour, compared: true) == "compare_range: has 93 days, at most 92 by hour")
    #expect(refusal(0...1, .minute, compared: false) == nil)
    #expect(refusal(0...91, .hour, compared: false) == nil)
  }

  private func randomQuery(_ data: RandomData, _ random: inout SeededRandom) -> TrendQuery {
    let origin = Int(data.origin / 86_400_000)
    let begin = origin - 2 + random.below(10)
    var query = TrendQuery(
      appID: "shop", days: begin...begin + random.below(12),
      granularity: random.pick([.day, .week, .month, .all]))
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
    _ query: TrendQuery, _ data: RandomData, _ harness: EngineHarness, _ comment: String,
    isListing: Bool
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
    if isListing { try checkUsers(answer, query, harness, comment) }
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

  /// The users behind the numbers of some points are as many as they say.
  private func checkUsers(
    _ answer: TrendAnswer, _ query: TrendQuery, _ harness: EngineHarness, _ comment: Comment
  ) throws {
    func check(_ points: [TrendPoint], _ series: SeriesCell?) throws {
      guard let point = points.dropFirst(points.count / 2).first else { return }
      let numbers: [(TrendWanted.Kind, UInt64)] = [
        (.visitTotal, point.metrics.visitTotal), (.visitUsers, point.metrics.visitUsers),
        (.visitNewUsers, point.metrics.visitNewUsers), (.shareUsers, point.metrics.shareUsers),
      ]
      for (kind, number) in numbers {
        let list = try harness.engine.trendUsers(
          query, kind, refDate: point.period.refDate, ordinal: 1, series: series,
          control: QueryControl())
        #expect(Set(list.openIDs).count == Int(number), "\(comment) \(kind) \(point.period.refDate)")
        #expect(list.openIDs.count == Int(number), comment)
      }
    }
    try check(answer.points, nil)
    for series in answer.breakdown {
      try check(series.points, SeriesCell(value: series.value, isOther: series.isOther))
    }
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
