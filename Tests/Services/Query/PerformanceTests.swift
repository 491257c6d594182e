import Events
import Query
import RPC
import TestKit
import Testing

@Suite struct PerformanceTests {
  @Test(arguments: 0..<150) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 54_000_000)
    var data = RandomData(&random)
    data.measure(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<3 {
      let origin = Int(data.origin / 86_400_000)
      let begin = origin - 1 + random.below(6)
      var query = PerformanceQuery(
        appID: "shop", days: begin...begin + random.below(8),
        granularity: random.pick([.day, .week, .month, .all]))
      if random.below(2) == 0 { query.metrics = ["launch", "request", "never"].shuffled(using: &random) }
      if random.below(2) == 0 { query.filter = RandomFilters.tree(&random, depth: 1) }
      if random.below(2) == 0 {
        query.breakdown = random.pick(["platform", "province", "page_path", "open_id", "age"])
        query.breakdownLimit = 1 + random.below(3)
      }
      if random.oneIn(3) { query.compareDays = origin...origin + random.below(5) }
      query.traffic = TrafficChoice(includesExcludedScenes: random.below(2) == 0)
      do {
        try Check(query, data, harness, "seed \(seed)").all(&random)
      } catch let error as QueryError {
        Issue.record("seed \(seed) \(query): \(error)")
      }
    }
  }

  private struct Check {
    let query: PerformanceQuery
    let data: RandomData
    let harness: EngineHarness
    let answer: PerformanceAnswer
    let comment: Comment

    init(
      _ query: PerformanceQuery, _ data: RandomData, _ harness: EngineHarness, _ comment: String
    ) throws {
      self.query = query
      self.data = data
      self.harness = harness
      self.comment = Comment(rawValue: "\(comment) \(query)")
      answer = try harness.engine.performance(query, control: QueryControl())
    }

    func counts(_ event: ReferenceEvent) -> Bool {
      event.channel == "release" && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
    }

    func matches(_ event: ReferenceEvent) -> Bool {
      counts(event) && query.filter.map { RandomFilters.matches($0, event) } ?? true
    }

    func range(_ days: ClosedRange<Int>) -> Range<Int64> {
      guard let calendar = ReferenceCalendar(data.zone) else { return 0..<0 }
      let (first, last) = (CivilDay(index: days.lowerBound), CivilDay(index: days.upperBound))
      return calendar.day(first.year, first.month, first.day).lowerBound
        ..< calendar.day(last.year, last.month, last.day).upperBound
    }

    /// Measurements: of `$performance`, with a name and a number.
    var measured: [ReferenceEvent] {
      data.events.filter { event in
        guard event.name == "$performance", matches(event),
          ReferenceAnalysis.number(event.fields["duration_ms"]) != nil,
          case .text(let name)? = event.fields["metric"]
        else { return false }
        return query.metrics.isEmpty || query.metrics.contains(name)
      }
    }

    func all(_ random: inout SeededRandom) throws {
      let inRange = measured.filter { range(query.days).contains($0.time) }
      let byName = Dictionary(grouping: inRange) { $0.fields["metric"] }
      if query.metrics.isEmpty {
        #expect(Set(answer.series.map { .text($0.metric) }) == Set(byName.keys), comment)
        let counts = answer.series.map(\.total.count)
        #expect(counts == counts.sorted(by: >), comment)
      } else {
        #expect(answer.series.map(\.metric) == query.metrics, comment)
      }
      series(answer.series) { _ in true }
      stability(answer.stability, range(query.days)) { _ in true }
      #expect((answer.compareStability == nil) == (query.compareDays == nil), comment)
      if let days = query.compareDays, let compared = answer.compareStability {
        stability(compared, range(days)) { _ in true }
      }
      try breakdown(inRange, &random)
    }

    func series(_ series: [PerformanceSeries], _ isIn: (ReferenceEvent) -> Bool) {
      for one in series {
        let events = measured.filter { $0.fields["metric"] == .text(one.metric) && isIn($0) }
        duration(one.total, events, range(query.days))
        for point in one.points { duration(point.duration, events, point.period.milliseconds) }
        #expect(one.points.first?.period.milliseconds.lowerBound == range(query.days).lowerBound, comment)
        #expect(one.points.last?.period.milliseconds.upperBound == range(query.days).upperBound, comment)
        #expect((one.compareTotal == nil) == (query.compareDays == nil), comment)
        if let days = query.compareDays, let total = one.compareTotal {
          duration(total, events, range(days))
        }
      }
    }

    func duration(_ metrics: DurationMetrics, _ events: [ReferenceEvent], _ time: Range<Int64>) {
      let events = events.filter { time.contains($0.time) }
      let values = events.map { $0.fields["duration_ms"] }
      #expect(metrics.count == UInt64(events.count), comment)
      let figures = [
        ("users", Double(metrics.users)), ("avg", metrics.mean), ("p50", metrics.p50),
        ("p75", metrics.p75), ("p90", metrics.p90), ("p95", metrics.p95), ("p99", metrics.p99),
        ("max", metrics.max),
      ]
      for (name, figure) in figures {
        let expected = ReferenceAnalysis.value(name, events, values) ?? 0
        #expect(abs(figure - expected) <= 1e-9 * max(1, abs(expected)), "\(comment) \(name)")
      }
    }

    func stability(
      _ stability: StabilityMetrics, _ time: Range<Int64>, _ isIn: @escaping (ReferenceEvent) -> Bool
    ) {
      let errors = data.events.filter {
        $0.name == "$error" && matches($0) && isIn($0) && time.contains($0.time)
      }
      let crashes = errors.filter { $0.fields["kind"] == .text("crash") }
      let trend = ReferenceTrend(
        data.events, period: time, rules: data.rules, counts: counts,
        matches: { matches($0) && isIn($0) })
      #expect(stability.errors == UInt64(errors.count), comment)
      #expect(stability.crashes == UInt64(crashes.count), comment)
      #expect(stability.errorUsers == UInt64(Set(errors.map(\.user)).count), comment)
      #expect(stability.crashUsers == UInt64(Set(crashes.map(\.user)).count), comment)
      #expect(stability.visitUsers == UInt64(trend.visitUsers), comment)
      #expect(stability.sessionCount == UInt64(trend.sessionCount), comment)
    }

    func breakdown(_ inRange: [ReferenceEvent], _ random: inout SeededRandom) throws {
      guard let field = query.breakdown else {
        #expect(answer.breakdown.isEmpty, comment)
        try users(nil, inRange, &random)
        return
      }
      let counts = Dictionary(grouping: inRange) { data.value(field, of: $0) }.mapValues(\.count)
      let shown = answer.breakdown.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) }
      #expect(shown.count == min(counts.count, query.breakdownLimit), comment)
      #expect(
        shown.map { counts[$0] ?? -1 } == Array(counts.values.sorted(by: >).prefix(shown.count)), comment)
      #expect(answer.breakdown.contains(where: \.isOther) == (counts.count > shown.count), comment)
      for group in answer.breakdown {
        let isIn = { (event: ReferenceEvent) in
          let value = data.value(field, of: event)
          return group.isOther
            ? !shown.contains(value) : value == group.value.map(RandomFilters.reference)
        }
        series(group.series, isIn)
        stability(group.stability, range(query.days), isIn)
        if random.oneIn(3) { try users(group, inRange.filter(isIn), &random) }
      }
    }

    func users(
      _ group: PerformanceGroup?, _ measured: [ReferenceEvent], _ random: inout SeededRandom
    ) throws {
      let key = group.map { $0.isOther ? [] : [$0.value] } ?? []
      func list(_ cell: PerformanceCell) throws -> [String] {
        try harness.engine.performanceUsers(
          query, cell, group: key, isOther: group?.isOther ?? false, control: QueryControl()
        ).openIDs
      }
      let stability = group?.stability ?? answer.stability
      #expect(try list(.errors).count == Int(stability.errorUsers), comment)
      #expect(try list(.crashes).count == Int(stability.crashUsers), comment)
      guard let series = (group?.series ?? answer.series).randomElement(using: &random) else { return }
      let point = random.below(2) == 0 ? nil : series.points.randomElement(using: &random)
      let time = point?.period.milliseconds ?? range(query.days)
      let expected = Set(
        measured.filter { $0.fields["metric"] == .text(series.metric) && time.contains($0.time) }
          .map(\.user))
      let found = try list(.measured(metric: series.metric, refDate: point?.period.refDate))
      #expect(Set(found) == expected && found.count == expected.count, comment)
    }
  }

  // MARK: - Rules

  private func harness(_ events: [ReferenceEvent]) throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 90_000_000)
    return harness
  }

  private let view = ReferenceEvent(user: "u", time: 1_000, sequence: 0, offset: 0, name: "$page_view")

  private func error(_ change: (inout PerformanceQuery) -> Void) throws -> String {
    var query = PerformanceQuery(appID: "shop", days: 0...0)
    change(&query)
    do {
      _ = try harness([view]).engine.performance(query, control: QueryControl())
      return "answered"
    } catch let error as QueryError {
      return error.description
    }
  }

  @Test func `what is asked wrongly is refused by name`() throws {
    #expect(try error { $0.metrics = ["a", "a"] } == "metrics: a name is given twice")
    #expect(try error { $0.metrics = [""] } == "metrics[0]: has 0 bytes, must have 1-256")
    #expect(try error { $0.metrics = (0...100).map(String.init) }.hasPrefix("metrics: 101 given"))
    #expect(try error { $0.breakdown = "colour" }.hasPrefix("breakdown: no field"))
    #expect(try error { $0.breakdownLimit = 0 }.hasPrefix("breakdown_limit: is 0"))
    #expect(try error { $0.filter = .and([]) }.hasPrefix("filter"))
    #expect(try error { $0.days = 0...3_660; $0.metrics = (0..<20).map { "m\($0)" } }.contains("at most 40000"))
  }

  @Test func `an app that measures nothing has no series, and those asked for are 0`() throws {
    let engine = try harness([view]).engine
    let none = try engine.performance(
      PerformanceQuery(appID: "shop", days: 0...0, breakdown: "platform"), control: QueryControl())
    #expect(none.series.isEmpty && none.breakdown.isEmpty)
    #expect(none.stability.visitUsers == 1 && none.stability.sessionCount == 1 && none.stability.errors == 0)
    let asked = try engine.performance(
      PerformanceQuery(appID: "shop", days: 0...0, metrics: ["launch"]), control: QueryControl())
    #expect(asked.series.map(\.total) == [DurationMetrics()])
  }
}

extension RandomData {
  /// Makes some of the events measurements and errors.
  mutating func measure(_ random: inout SeededRandom) {
    for batch in batches.indices {
      for event in batches[batch].indices {
        switch batches[batch][event].name {
        case "catalog", "add_to_cart":
          batches[batch][event].name = "$performance"
          if !random.oneIn(8) {
            batches[batch][event].fields["metric"] = .text(random.pick(["launch", "request", "first_render"]))
          }
          if !random.oneIn(8) {
            batches[batch][event].fields["duration_ms"] =
              random.oneIn(3) ? .double(Double(random.below(8)) / 2) : .integer(Int64(random.below(9)))
          }
        case "$click", "purchase":
          batches[batch][event].name = "$error"
          if random.below(2) == 0 {
            batches[batch][event].fields["kind"] = .text(random.pick(["crash", "script"]))
          }
        default: break
        }
      }
    }
    events = batches.flatMap { $0 }
  }
}
