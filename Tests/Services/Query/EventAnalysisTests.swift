import Events
import Query
import RPC
import TestKit
import Testing

@Suite struct EventAnalysisTests {
  /// Each seed is one app of random data and several random questions.
  @Test(arguments: 0..<200) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 51_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<4 {
      let query = randomQuery(data, &random)
      do {
        try Check(query, data, harness, "seed \(seed)").all(&random)
      } catch let error as QueryError {
        Issue.record("seed \(seed) \(query): \(error)")
      }
    }
  }

  /// Counted by runs of rows where the whole day counts, and by the rows of the other days.
  @Test(arguments: 0..<200) func `what users and contexts decide agrees with the reference`(
    _ seed: Int
  ) throws {
    var random = SeededRandom(seed: UInt64(seed) + 57_000_000)
    let data = RandomData(&random, isOfReleases: !random.oneIn(4))
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<5 {
      let query = queryOfContexts(data, &random)
      do {
        try Check(query, data, harness, "seed \(seed)").all(&random)
      } catch let error as QueryError {
        Issue.record("seed \(seed) \(query): \(error)")
      }
    }
  }

  private func queryOfContexts(
    _ data: RandomData, _ random: inout SeededRandom
  ) -> EventAnalysisQuery {
    let begin = Int(data.origin / 86_400_000) - 1 + random.below(4)
    let events = random.oneIn(3) ? [] : (0...random.below(2)).map { _ in random.pick(RandomData.names) }
    let own = random.oneIn(3) ? RandomFilters.tree(&random, isOfContext: true) : nil
    let metrics = [EventAnalysisQuery.Metric.total, .users, .perUser].shuffled(using: &random)
    var query = EventAnalysisQuery(
      appID: "shop", days: begin...begin + random.below(12),
      granularity: random.pick([.day, .day, .week, .month, .all]),
      series: metrics.prefix(1 + random.below(3)).map { .init(EventChoice(events, filter: own), $0) })
    if random.below(2) == 0 { query.filter = RandomFilters.tree(&random, isOfContext: true) }
    let fields = ["platform", "province", "age", "source_key", "channel"].filter { data.has($0) }
    if random.below(3) > 0 {
      query.groupBy = Array(fields.shuffled(using: &random).prefix(1 + random.below(3)))
      query.groupLimit = 1 + random.below(6)
    }
    if random.oneIn(3) { query.compareDays = begin + 2...begin + 2 + random.below(5) }
    query.traffic = TrafficChoice(channel: 1, includesExcludedScenes: !random.oneIn(4))
    return query
  }

  private func randomQuery(
    _ data: RandomData, _ random: inout SeededRandom
  ) -> EventAnalysisQuery {
    let origin = Int(data.origin / 86_400_000)
    let begin = origin - 2 + random.below(10)
    var query = EventAnalysisQuery(
      appID: "shop", days: begin...begin + random.below(12),
      granularity: random.pick(Granularity.allCases),
      series: (0...random.below(3)).map { _ in series(data, &random) })
    if query.granularity == .minute, !random.oneIn(4) { query.granularity = .hour }
    if query.granularity == .minute { query.days = begin...begin }
    if query.granularity == .hour { query.days = begin...begin + random.below(3) }
    if random.below(2) == 0 { query.filter = RandomFilters.tree(&random) }
    let fields = [
      "platform", "province", "event", "page_path", "open_id", "age", "source_key", "channel",
      "tag", "price", "rate", "vip", "release_channel",
    ].filter { data.has($0) }
    if random.below(3) > 0 {
      query.groupBy = Array(fields.shuffled(using: &random).prefix(1 + random.below(3)))
      query.groupLimit = 1 + random.below(6)
    }
    if query.granularity == .minute { query.groupLimit = min(query.groupLimit, 2) }
    if random.oneIn(3) {
      let other = origin + random.below(6)
      query.compareDays = other...other + random.below(query.granularity == .minute ? 1 : 5)
    }
    if random.below(2) == 0 {
      query.formulas = [
        .init("f", random.pick(["A", "-A * 2 + 1", "A / A", "(A - 1) / (A + 1) / A", ".5*A"]))
      ]
    }
    query.traffic = TrafficChoice(
      channel: random.oneIn(6) ? 2 : 1, includesExcludedScenes: random.below(2) == 0)
    return query
  }

  private func series(
    _ data: RandomData, _ random: inout SeededRandom
  ) -> EventAnalysisQuery.Series {
    let events = random.below(2) == 0 ? [] : (0...random.below(2)).map { _ in random.pick(RandomData.names) }
    let filter = random.oneIn(3) ? RandomFilters.tree(&random) : nil
    let numeric = ["price", "rate", "age", "scene", "source_key"].filter { data.has($0) }
    let any = (numeric + ["tag", "vip", "platform", "page_path", "event", "channel", "open_id"])
      .filter { data.has($0) }
    let metric = random.pick(EventAnalysisQuery.Metric.allCases)
    let field =
      switch metric {
      case .total, .users, .perUser: ""
      case .distinct: random.pick(any)
      default: random.pick(numeric)
      }
    return .init(EventChoice(events, filter: filter), metric, field: field)
  }

  /// One answer, number by number.
  private struct Check {
    let query: EventAnalysisQuery
    let data: RandomData
    let harness: EngineHarness
    let answer: EventAnalysisAnswer
    let comment: Comment

    init(
      _ query: EventAnalysisQuery, _ data: RandomData, _ harness: EngineHarness, _ comment: String
    ) throws {
      self.query = query
      self.data = data
      self.harness = harness
      self.comment = Comment(rawValue: "\(comment) \(query)")
      answer = try harness.engine.analyzeEvents(query, control: QueryControl())
    }

    func all(_ random: inout SeededRandom) throws {
      tally()
      if query.groupBy.isEmpty {
        #expect(answer.groups.isEmpty, comment)
        results(answer.results) { _ in true }
      } else {
        #expect(answer.results.isEmpty, comment)
        groups()
      }
      try users(&random)
    }

    // MARK: Events

    func counts(_ event: ReferenceEvent) -> Bool {
      event.channel == (query.traffic.channel == 1 ? "release" : "trial")
        && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
    }

    /// The events that a series looks at.
    func isLooked(_ series: EventAnalysisQuery.Series, _ event: ReferenceEvent) -> Bool {
      guard series.events.events.isEmpty || series.events.events.contains(event.name) else {
        return false
      }
      switch series.metric {
      case .total, .users, .perUser: return true
      case .distinct: return data.value(series.field, of: event) != nil
      default: return ReferenceAnalysis.number(data.value(series.field, of: event)) != nil
      }
    }

    func matches(_ series: EventAnalysisQuery.Series, _ event: ReferenceEvent) -> Bool {
      isLooked(series, event) && counts(event)
        && (series.events.filter.map { RandomFilters.matches($0, event) } ?? true)
        && (query.filter.map { RandomFilters.matches($0, event) } ?? true)
    }

    func key(_ event: ReferenceEvent) -> [ReferenceValue?] {
      query.groupBy.map { data.value($0, of: event) }
    }

    func range(_ days: ClosedRange<Int>) -> Range<Int64> {
      guard let calendar = ReferenceCalendar(data.zone) else { return 0..<0 }
      let (first, last) = (CivilDay(index: days.lowerBound), CivilDay(index: days.upperBound))
      return calendar.day(first.year, first.month, first.day).lowerBound
        ..< calendar.day(last.year, last.month, last.day).upperBound
    }

    // MARK: Numbers

    func results(_ results: [EventSeriesResult], _ isIn: (ReferenceEvent) -> Bool) {
      #expect(results.count == query.series.count + query.formulas.count, comment)
      for (index, series) in query.series.enumerated() {
        let events = data.events.filter { matches(series, $0) && isIn($0) }
        let result = results[index]
        for point in result.points + result.comparePoints {
          same(point.value, value(series, events, point.period.milliseconds))
        }
        #expect(result.total.period.milliseconds == range(query.days), comment)
        let bounds = result.points.map(\.period.milliseconds)
        #expect(bounds.first?.lowerBound == range(query.days).lowerBound, comment)
        #expect(bounds.last?.upperBound == range(query.days).upperBound, comment)
        #expect(zip(bounds, bounds.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound }, comment)
        same(result.total.value, value(series, events, range(query.days)))
        #expect((result.compareTotal == nil) == (query.compareDays == nil), comment)
        if let days = query.compareDays {
          same(result.compareTotal?.value, value(series, events, range(days)))
        }
      }
      for (result, formula) in zip(results.dropFirst(query.series.count), query.formulas) {
        for (point, a) in zip(result.points, results[0].points) {
          same(point.value, a.value.flatMap { Self.formula(formula.expression, $0) })
        }
        same(result.total.value, results[0].total.value.flatMap { Self.formula(formula.expression, $0) })
      }
    }

    static func formula(_ text: String, _ a: Double) -> Double? {
      let value =
        switch text {
        case "A": a
        case "-A * 2 + 1": -a * 2 + 1
        case "A / A": a / a
        case "(A - 1) / (A + 1) / A": (a - 1) / (a + 1) / a
        default: 0.5 * a
        }
      return value.isFinite ? value : nil
    }

    func value(
      _ series: EventAnalysisQuery.Series, _ events: [ReferenceEvent], _ range: Range<Int64>
    ) -> Double? {
      let events = events.filter { range.contains($0.time) }
      let metric = series.metric == .perUser ? "per_user" : "\(series.metric)"
      return ReferenceAnalysis.value(
        metric, events, events.map { data.value(series.field, of: $0) })
    }

    func same(_ a: Double?, _ b: Double?) {
      guard let a, let b else {
        #expect(a == b, comment)
        return
      }
      #expect(abs(a - b) <= 1e-9 * max(1, abs(a)), comment)
    }

    // MARK: Groups

    func groups() {
      let range = range(query.days)
      let matched = data.events.filter { event in query.series.contains { matches($0, event) } }
      let met = Set(matched.filter { range.contains($0.time) }.map(key))
      let shown = answer.groups.filter { !$0.isOther }
      let keys = shown.map { $0.key.map { $0.map(RandomFilters.reference) } }
      #expect(keys.count == min(met.count, query.groupLimit), comment)
      #expect(Set(keys).isSubset(of: met) && Set(keys).count == keys.count, comment)
      let ranks = { (key: [ReferenceValue?]) in
        data.events.count {
          range.contains($0.time) && matches(query.series[0], $0) && self.key($0) == key
        }
      }
      #expect(keys.map(ranks) == Array(met.map(ranks).sorted(by: >).prefix(keys.count)), comment)
      for (key, group) in zip(keys, shown) { results(group.results) { self.key($0) == key } }
      let compared = query.compareDays.map { self.range($0) } ?? 0..<0
      let hasOther =
        met.count > keys.count
        || matched.contains { compared.contains($0.time) && !keys.contains(key($0)) }
      let others = answer.groups.filter(\.isOther)
      #expect(others.count == (hasOther ? 1 : 0), comment)
      for other in others {
        #expect(other.key.isEmpty, comment)
        results(other.results) { !keys.contains(key($0)) }
      }
    }

    // MARK: The rest

    func tally() {
      let events = data.events.filter { range(query.days).contains($0.time) }
      var read: UInt64 = 0
      var excluded: [OmissionReason: UInt64] = [:]
      for event in events {
        if query.series.contains(where: { matches($0, event) }) { read += 1; continue }
        guard query.series.contains(where: { isLooked($0, event) }) else { continue }
        let reason: OmissionReason =
          if event.isExcludedScene && !query.traffic.includesExcludedScenes { .scene }
          else if !counts(event) { .releaseChannel } else { .filter }
        excluded[reason, default: 0] += 1
      }
      #expect(answer.info.eventsRead == read, comment)
      #expect(answer.info.excluded == excluded, comment)
    }

    /// The list of users behind a number has exactly the number's length, and the right users.
    func users(_ random: inout SeededRandom) throws {
      let group = answer.groups.randomElement(using: &random)
      let results = group?.results ?? answer.results
      guard !results.isEmpty else { return }
      let index = random.below(query.series.count)
      let point = random.below(2) == 0 ? nil : results[index].points.randomElement(using: &random)
      let cell = EventCell(
        series: results[index].name, refDate: point?.period.refDate, group: group?.key ?? [],
        isOther: group?.isOther ?? false)
      let list = try harness.engine.eventUsers(query, cell, control: QueryControl())
      let keys = answer.groups.filter { !$0.isOther }.map { $0.key.map { $0.map(RandomFilters.reference) } }
      // An hour that is repeated has two points of one name: the first is meant.
      let first = results[index].points.first { $0.period.refDate == point?.period.refDate }
      let range = first?.period.milliseconds ?? range(query.days)
      let expected = data.events.filter { event in
        guard matches(query.series[index], event), range.contains(event.time) else { return false }
        guard let group else { return true }
        return group.isOther
          ? !keys.contains(key(event))
          : key(event) == group.key.map { $0.map(RandomFilters.reference) }
      }
      #expect(Set(list.openIDs) == Set(expected.map(\.user)), comment)
      #expect(list.openIDs.count == Set(list.openIDs).count, comment)
    }
  }

  // MARK: - Agreement

  /// Passive events count here but make no user active: without them the users of every event are visit_uv.
  @Test(arguments: 0..<100) func `the users and the number of all events are the trend's`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 51_500_000)
    var data = RandomData(&random)
    let hasPassive = random.oneIn(4)
    for batch in data.batches.indices {
      for event in data.batches[batch].indices where !hasPassive {
        data.batches[batch][event].isPassive = false
      }
    }
    data.events = data.batches.flatMap { $0 }
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    let begin = Int(data.origin / 86_400_000) - 2 + random.below(6)
    let days = begin...begin + random.below(12)
    let traffic = TrafficChoice(includesExcludedScenes: random.below(2) == 0)
    let filter = random.oneIn(3) ? RandomFilters.tree(&random) : nil
    for granularity in [Granularity.day, .week, .month, .all] {
      let analysis = try harness.engine.analyzeEvents(
        EventAnalysisQuery(
          appID: "shop", days: days, granularity: granularity,
          series: [.init(EventChoice(), .users), .init()], filter: filter, traffic: traffic),
        control: QueryControl())
      let trend = try harness.engine.trend(
        TrendQuery(
          appID: "shop", days: days, granularity: granularity, filter: filter, traffic: traffic),
        control: QueryControl())
      let comment = Comment(rawValue: "seed \(seed) \(days) \(granularity)")
      #expect(
        analysis.results[1].points.map(\.value) == trend.points.map { Double($0.metrics.eventCount) },
        comment)
      if !hasPassive {
        #expect(
          analysis.results[0].points.map(\.value) == trend.points.map { Double($0.metrics.visitUsers) },
          comment)
      }
      #expect(analysis.info == trend.info, comment)
    }
  }

  // MARK: - Refusals

  private func harness() throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var event = ReferenceEvent(user: "u", time: 1_000, sequence: 0, offset: 0, name: "buy")
    event.fields = ["price": .integer(.max), "tag": .text("red")]
    var other = event
    other.time = 2_000
    try harness.apply([[event], [other]], receivedMilliseconds: 2_000)
    return harness
  }

  private func error(_ change: (inout EventAnalysisQuery) -> Void) throws -> String {
    var query = EventAnalysisQuery(appID: "shop", days: 0...0, series: [.init()])
    change(&query)
    do {
      _ = try harness().engine.analyzeEvents(query, control: QueryControl())
      return "answered"
    } catch let error as QueryError {
      return error.description
    }
  }

  @Test func `what is asked wrongly is refused by name`() throws {
    #expect(try error { $0.series = [] } == "series: 0 given, must be 1-10")
    #expect(try error { $0.series = Array(repeating: .init(), count: 11) }.hasPrefix("series: 11"))
    #expect(try error { $0.series = [.init(EventChoice(["No Name"]))] }.hasPrefix("series[0].events"))
    #expect(try error { $0.series = [.init(EventChoice(), .sum)] }.hasPrefix("series[0].field: required"))
    #expect(try error { $0.series = [.init(EventChoice(), .total, field: "price")] }.hasPrefix("series[0].field"))
    #expect(
      try error { $0.series = [.init(EventChoice(), .avg, field: "tag")] }
        == "series[0].field: tag is a string, avg needs a number")
    #expect(try error { $0.series = [.init(EventChoice(), .sum, field: "prise")] }.hasPrefix("series[0].field: no field"))
    #expect(try error { $0.series = [.init(name: "1a")] }.hasPrefix("series[0].name"))
    #expect(try error { $0.series = [.init(name: "B"), .init()] } == "series[1].name: B is given twice")
    #expect(try error { $0.formulas = [.init("A", "1")] } == "formulas[0].name: A is given twice")
    #expect(try error { $0.groupBy = ["colour"] }.hasPrefix("group_by[0]: no field"))
    #expect(try error { $0.groupBy = ["tag", "tag"] }.hasPrefix("group_by"))
    #expect(try error { $0.groupBy = ["tag", "price", "event", "open_id"] } == "group_by: 4 given, must be at most 3")
    #expect(try error { $0.groupLimit = 1_001 } == "group_limit: is 1001, must be 1-1000")
    #expect(try error { $0.filter = .and([]) }.hasPrefix("filter"))
    #expect(try error { $0.granularity = .minute; $0.days = 0...2 } == "range: has 3 days, at most 2 by minute")
    #expect(try error { $0.granularity = .hour; $0.days = 0...92 }.hasPrefix("range: has 93 days"))
    #expect(try error { $0.series = [.init(EventChoice(filter: .and([])))] }.hasPrefix("series[0].filter"))
    #expect(try error { _ in } == "answered")
  }

  @Test(arguments: [
    ("", "has 0 bytes"), ("A +", "at 4"), ("A B", "at 3: B is not expected"), ("(A", "at 3: )"),
    ("A + $", "at 5: $"), ("x1", "at 1: no series is named x1"), ("1.2.3", "at 1: 1.2.3 is no number"),
    ("A)", "at 2"), ("* A", "at 1"), (String(repeating: "(", count: 257), "has 257 bytes"),
  ])
  func `a formula that does not parse is refused with the place`(_ text: String, _ why: String) throws {
    let message = try error { $0.formulas = [.init("f", text)] }
    #expect(message.hasPrefix("formulas[0].expression: \(why)"), "\(message)")
  }

  @Test func `integers are added up exactly`() throws {
    let query = EventAnalysisQuery(
      appID: "shop", days: 0...0,
      series: [.init(EventChoice(["buy"]), .sum, field: "price"), .init(EventChoice(), .avg, field: "price")])
    let answer = try harness().engine.analyzeEvents(query, control: QueryControl())
    #expect(answer.results[0].total.value == Double(Int128(Int64.max) * 2))
    #expect(answer.results[1].total.value == Double(Int64.max))
  }

  /// So many users that a small group's are not kept as a bit of each.
  @Test func `users of groups of all sizes are counted once among many users`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let rows = (0..<24_000).map { index in
      var event = ReferenceEvent(
        user: "u\(index % 6_000)", time: Int64(index) * 10_000, sequence: 0, offset: UInt64(index),
        name: "buy")
      // Of user i the highest power of two in i + 1: groups of 3,000 users down to a few.
      event.fields["size"] = .integer(Int64((index % 6_000 + 1).trailingZeroBitCount))
      return event
    }
    try harness.apply(rows.map { [$0] }, receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1)
    let query = EventAnalysisQuery(
      appID: "shop", days: 0...2, series: [.init(EventChoice(["buy"]), .users)], groupBy: ["size"])
    for granularity in [Granularity.day, .week, .all] {
      var query = query
      query.granularity = granularity
      let answer = try harness.engine.analyzeEvents(query, control: QueryControl())
      for group in answer.groups {
        guard case .integer(let size)?? = group.key.first else {
          Issue.record("a group without a size")
          continue
        }
        let users = (1...6_000).count { $0.trailingZeroBitCount == size }
        #expect(group.results[0].total.value == Double(users), "size \(size)")
      }
      #expect(answer.groups.count == 13)
    }
  }

  @Test func `memory is bounded`() throws {
    let query = EventAnalysisQuery(appID: "shop", days: 0...0, series: [.init()])
    #expect(throws: QueryError.self) {
      try harness().engine.analyzeEvents(query, control: QueryControl(bytesMax: 16))
    }
  }
}

extension RandomData {
  /// Whether an event has the field, or every app does.
  func has(_ field: String) -> Bool {
    !["price", "rate", "tag", "vip"].contains(field) || events.contains { $0.fields[field] != nil }
  }
}
