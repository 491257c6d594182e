import Events
import Query
import TestKit
import Testing

@Suite struct FunnelTests {
  @Test(arguments: 0..<300) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 7_070_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<4 {
      // Little memory: days come in batches, and blocks of users are put off.
      let control = random.oneIn(3) ? QueryControl(bytesMax: 60_000 + random.below(100_000)) : QueryControl()
      try check(randomQuery(data, &random), data, harness, control, "seed \(seed)")
    }
  }

  /// Every event may do every step, and none follows another in time: all of them are remembered to the end.
  @Test func `what users have done is held to the query's memory`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let events = (0..<20_000).map { number in
      ReferenceEvent(
        user: "u", time: Int64(number) * 20_000, sequence: UInt64(number), offset: 0, name: "tap")
    }
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 6 * 86_400_000)
    try harness.engine.mergeIfDue(rows: 1)
    for isPlain in [true, false] {
      var query = FunnelQuery(
        appID: "shop", days: 0...5, steps: Array(repeating: FunnelQuery.Step(["tap"]), count: 20),
        windowMilliseconds: 1)
      if !isPlain { query.count = .entries }
      let error = #expect(throws: QueryError.self) {
        try harness.engine.funnel(query, control: QueryControl(bytesMax: 1_000_000))
      }
      #expect(error?.kind == .resourceExhausted && error?.description.contains("what the funnel's users have done") == true)
      let answer = try harness.engine.funnel(query, control: QueryControl())
      #expect(answer.steps[0].users == (isPlain ? 1 : 20_000) && answer.steps[1].users == 0)
    }
  }

  private func randomQuery(_ data: RandomData, _ random: inout SeededRandom) -> FunnelQuery {
    let begin = Int(data.origin / 86_400_000) - 1 + random.below(6)
    let names = ["$launch", "$page_view", "catalog", "add_to_cart", "purchase", "$share", "never_seen"]
    let steps = (0..<(2 + random.below(3))).map { _ in
      FunnelQuery.Step(
        (0...random.below(2)).map { _ in random.pick(names) },
        filter: random.oneIn(3) ? RandomFilters.tree(&random) : nil)
    }
    return FunnelQuery(
      appID: "shop", days: begin...begin + random.below(8), steps: steps,
      windowMilliseconds: random.pick([nil, 1, 60_000, 1_800_000, 86_400_000, 3 * 86_400_000]),
      breakdown: random.below(2) == 0 ? random.pick(["platform", "page_path", "event"]) : nil,
      breakdownLimit: 1 + random.below(3),
      traffic: TrafficChoice(includesExcludedScenes: random.below(2) == 0))
  }

  private func check(
    _ query: FunnelQuery, _ data: RandomData, _ harness: EngineHarness, _ control: QueryControl,
    _ comment: String
  ) throws {
    let answer = try harness.engine.funnel(query, control: control)
    let comment = Comment(rawValue: "\(comment) \(query)")
    let calendar = try #require(AppCalendar(data.zone))
    let reference = ReferenceFunnel(
      data.events, range: calendar.range(ofDays: query.days), window: query.windowMilliseconds,
      counts: { event in
        event.channel == "release" && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
      },
      steps: query.steps.map { step in
        { event in
          step.events.contains(event.name)
            && (step.filter.map { RandomFilters.matches($0, event) } ?? true)
        }
      })
    let outcomes = Array(reference.outcomes.values)
    compare(answer.steps, outcomes, comment)
    checkBreakdown(answer, outcomes, query, comment)
  }

  private func compare(
    _ steps: [FunnelStepResult], _ outcomes: [ReferenceFunnel.Outcome], _ comment: Comment
  ) {
    for (index, step) in steps.enumerated() {
      let reached = outcomes.filter { $0.times.count > index }
      #expect(step.users == UInt64(reached.count), comment)
      guard index > 0 else { continue }
      let before = outcomes.count { $0.times.count > index - 1 }
      #expect(step.dropOffUsers == UInt64(before - reached.count), comment)
      let times = reached.map { Double($0.times[index] - $0.times[0]) }.sorted()
      let mean = times.isEmpty ? 0 : times.reduce(0, +) / Double(times.count)
      #expect(abs(step.fromFirst.mean - mean) < 1e-3, comment)
      let middle = times.isEmpty ? 0 : (times[(times.count - 1) / 2] + times[times.count / 2]) / 2
      #expect(step.fromFirst.median == middle, comment)
      let last = reached.map { Double($0.times[index] - $0.times[index - 1]) }
      #expect(abs(step.fromPrevious.mean * Double(max(1, last.count)) - last.reduce(0, +)) < 1, comment)
    }
  }

  private func checkBreakdown(
    _ answer: FunnelAnswer, _ outcomes: [ReferenceFunnel.Outcome], _ query: FunnelQuery,
    _ comment: Comment
  ) {
    guard let field = query.breakdown else { return }
    let shown = answer.breakdown.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) }
    let values = Set(outcomes.map { $0.first.value(field) })
    #expect(shown.count == min(values.count, query.breakdownLimit), comment)
    for group in answer.breakdown {
      let value = group.value.map(RandomFilters.reference)
      compare(
        group.steps,
        outcomes.filter { outcome in
          let own = outcome.first.value(field)
          return group.isOther ? !shown.contains(own) : own == value
        }, comment)
    }
  }

  // MARK: Boundaries

  private func answer(
    _ events: [(name: String, time: Int64)], days: ClosedRange<Int> = 0...0, window: Int64?,
    steps: [String] = ["a", "b", "c"]
  ) throws -> FunnelAnswer {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let rows = events.enumerated().map { index, event in
      ReferenceEvent(
        user: "u", time: event.time, sequence: 0, offset: UInt64(index), name: event.name)
    }
    try harness.apply([rows], receivedMilliseconds: 0)
    return try harness.engine.funnel(
      FunnelQuery(
        appID: "shop", days: days, steps: steps.map { FunnelQuery.Step([$0]) },
        windowMilliseconds: window),
      control: QueryControl())
  }

  @Test(arguments: [(100, 3), (99, 2)])
  func `the window's boundary is included`(_ window: Int64, _ reached: Int) throws {
    let answer = try answer([("a", 1_000), ("b", 1_050), ("c", 1_100)], window: window)
    #expect(answer.steps.count { $0.users == 1 } == reached)
  }

  @Test func `later steps may lie after the range, step 1 may not`() throws {
    let day: Int64 = 86_400_000
    let after = try answer([("a", day - 1), ("b", day), ("c", day + 5)], window: day)
    #expect(after.steps.map(\.users) == [1, 1, 1])
    let whole = try answer([("a", day - 1), ("b", day), ("c", day + 5)], window: nil)
    #expect(whole.steps.map(\.users) == [1, 0, 0])
    let late = try answer([("a", day), ("b", day + 1), ("c", day + 5)], window: day)
    #expect(late.steps.map(\.users) == [0, 0, 0])
  }

  @Test func `one event does one step, equal times convert in the order of the log`() throws {
    #expect(try answer([("a", 5)], window: 10, steps: ["a", "a"]).steps.map(\.users) == [1, 0])
    let twice = try answer([("a", 5), ("a", 5)], window: 10, steps: ["a", "a"])
    #expect(twice.steps.map(\.users) == [1, 1])
    #expect(try answer([("b", 5), ("a", 5)], window: 10, steps: ["a", "b"]).steps[1].users == 0)
  }

  @Test func `a later step 1 may reach further, and the first such chain is timed`() throws {
    let answer = try answer(
      [("a", 0), ("b", 10), ("a", 200), ("a", 210), ("b", 220), ("c", 290)], window: 100)
    #expect(answer.steps.map(\.users) == [1, 1, 1])
    #expect(answer.steps[2].fromFirst.mean == 90)
    #expect(answer.steps[1].fromFirst.median == 20)
  }

  /// - Parameter window: 0: none.
  @Test(arguments: [(0, 3), (5_000_000_000, 3), (4_999_999_999, 2), (100, 1)])
  func `times further apart than 32 bits hold are told apart`(_ window: Int64, _ reached: Int) throws {
    let answer = try answer(
      [("a", 7), ("b", 4_000_000_007), ("c", 5_000_000_007)], days: 0...60,
      window: window == 0 ? nil : window)
    #expect(answer.steps.count { $0.users == 1 } == reached)
    if reached == 3 { #expect(answer.steps[2].fromFirst.mean == 5_000_000_000) }
  }

  @Test func `a day's rows are the same, kept and not`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var random = SeededRandom(seed: 7)
    let rows = (0..<3_000).map { index in
      ReferenceEvent(
        user: "u\(index % 300)", time: Int64(index) * 20_000, sequence: 0, offset: UInt64(index),
        name: random.pick(["a", "b", "c", "x", "y", "z"]))
    }
    try harness.apply(rows.map { [$0] }, receivedMilliseconds: 86_400_000)
    func answer() throws -> FunnelAnswer {
      try harness.engine.funnel(
        FunnelQuery(
          appID: "shop", days: 0...0, steps: ["a", "b", "c"].map { FunnelQuery.Step([$0]) },
          windowMilliseconds: nil, breakdown: "open_id", breakdownLimit: 5),
        control: QueryControl())
    }
    let unsealed = try answer()
    try harness.engine.mergeIfDue(rows: 1)
    for _ in 0..<2 {
      let sealed = try answer()
      #expect(sealed.steps == unsealed.steps)
      #expect(sealed.breakdown == unsealed.breakdown)
    }
    #expect(unsealed.steps[2].users > 0)
  }
}
