import Events
import Query
import TestKit
import Testing

/// Funnels of every kind against the reference that tries every chain.
@Suite struct FunnelChainTests {
  private static let names = ["$launch", "$page_view", "catalog", "add_to_cart", "purchase", "$share"]

  @Test(arguments: 0..<300) func `every kind agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 7_170_000)
    var data = RandomData(&random)
    addShares(to: &data, &random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<5 {
      var query = randomQuery(data, &random)
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      let control = random.oneIn(3) ? QueryControl(bytesMax: 80_000 + random.below(100_000)) : QueryControl()
      let answer = try harness.engine.funnel(query, control: control)
      let outcomes = reference(query, data).outcomes(data.events)
      compare(answer.steps, outcomes, query, comment)
      try checkBreakdown(answer, outcomes, query, data, comment)
      try checkUsers(answer, query, harness, comment)
      if let compared = query.compareDays {
        query.days = compared
        compare(answer.compareSteps, reference(query, data).outcomes(data.events), query, comment)
      }
    }
  }

  /// Shares that events carry, and by which opens came.
  private func addShares(to data: inout RandomData, _ random: inout SeededRandom) {
    let shares: [ReferenceValue] = ["s1", "s2", "s3"].map { .text($0) }
    for batch in data.batches.indices {
      let cameBy: ReferenceValue? = random.below(2) == 0 ? random.pick(shares) : nil
      for event in data.batches[batch].indices {
        data.batches[batch][event].context["share_id"] = cameBy
        if random.oneIn(3) { data.batches[batch][event].fields["share_id"] = random.pick(shares) }
      }
    }
    data.events = data.batches.flatMap { $0 }
  }

  // MARK: Questions

  private func randomQuery(_ data: RandomData, _ random: inout SeededRandom) -> FunnelQuery {
    let begin = Int(data.origin / 86_400_000) - 1 + random.below(6)
    var query = FunnelQuery(
      appID: "shop", days: begin...begin + random.below(6),
      steps: (0..<(2 + random.below(3))).map { _ in
        FunnelQuery.Step(
          (0...random.below(2)).map { _ in random.pick(Self.names) },
          filter: random.oneIn(5) ? RandomFilters.tree(&random) : nil)
      },
      windowMilliseconds: random.pick([nil, 60_000, 1_800_000, 86_400_000, 3 * 86_400_000]),
      breakdownLimit: 1 + random.below(3),
      traffic: TrafficChoice(includesExcludedScenes: random.below(2) == 0))
    if random.oneIn(4) { query.compareDays = begin - 1...begin + random.below(4) }
    if random.oneIn(4) { query.filter = RandomFilters.tree(&random) }
    if random.below(2) == 0 {
      query.breakdown = random.pick(["platform", "page_path", "event", "source_key"])
      query.breakdownBy = random.pick(FunnelQuery.BreakdownBy.allCases)
    }
    if random.oneIn(4) {
      invite(&query, &random)
    } else {
      vary(&query, data, &random)
    }
    return query
  }

  private func invite(_ query: inout FunnelQuery, _ random: inout SeededRandom) {
    for step in query.steps.indices where step > 0 {
      query.steps[step].isByInvitedUser = random.below(2) == 0
    }
    if query.isAcross, query.breakdownBy == .lastStep { query.breakdownBy = .firstStep }
  }

  private func vary(
    _ query: inout FunnelQuery, _ data: RandomData, _ random: inout SeededRandom
  ) {
    query.order = random.pick([.ordered, .ordered, .strict, .any])
    query.count = random.pick([.users, .users, .opens, .entries])
    if random.oneIn(3) {
      // A field that no event has is refused.
      let fields = ["tag", "price"].filter { name in data.events.contains { $0.fields[name] != nil } }
      query.holdConstant = Array(
        (["page_path", "platform"] + fields).shuffled(using: &random).prefix(1 + random.below(3)))
    }
    if query.order != .any {
      for step in query.steps.indices.dropFirst().dropLast() {
        query.steps[step].isOptional = random.oneIn(3)
      }
    }
    guard query.order == .ordered, random.below(2) == 0 else { return }
    query.exclusions = (0...random.below(2)).map { _ in
      let after = random.below(query.steps.count - 1)
      let before = after + 1 + random.below(query.steps.count - after - 1)
      return FunnelQuery.Exclusion(
        [random.pick(RandomData.names)], filter: random.oneIn(4) ? RandomFilters.tree(&random) : nil,
        steps: random.oneIn(3) ? nil : after..<before)
    }
  }

  private func reference(_ query: FunnelQuery, _ data: RandomData) -> ReferenceChains {
    func test(_ events: [String], _ filter: FilterTree?) -> (ReferenceEvent) -> Bool {
      { event in
        events.contains(event.name) && (filter.map { RandomFilters.matches($0, event) } ?? true)
      }
    }
    guard let calendar = AppCalendar(data.zone) else { preconditionFailure("no zone \(data.zone)") }
    var reference = ReferenceChains(
      steps: query.steps.map { step in
        var own = ReferenceChains.Step(test(step.events, step.filter))
        own.isOptional = step.isOptional
        own.isInvited = step.isByInvitedUser
        return own
      },
      range: calendar.range(ofDays: query.days), rules: data.rules,
      counts: { counts($0, query) }, value: { data.value($0, of: $1) })
    reference.window = query.windowMilliseconds
    reference.held = query.holdConstant
    reference.order = [.ordered: .ordered, .strict: .strict, .any: .any][query.order] ?? .ordered
    reference.count = [.users: .users, .opens: .opens, .entries: .entries][query.count] ?? .users
    reference.exclusions = query.exclusions.map { exclusion in
      ReferenceChains.Exclusion(
        test(exclusion.events, exclusion.filter), behind: exclusion.steps ?? 0..<query.steps.count - 1)
    }
    return reference
  }

  private func counts(_ event: ReferenceEvent, _ query: FunnelQuery) -> Bool {
    event.channel == "release" && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
      && (query.filter.map { RandomFilters.matches($0, event) } ?? true)
  }

  // MARK: Answers

  private func compare(
    _ steps: [FunnelStepResult], _ outcomes: [ReferenceChains.Outcome], _ query: FunnelQuery,
    _ comment: Comment
  ) {
    for (index, step) in steps.enumerated() {
      let done = outcomes.filter { $0.events.count > index && $0.events[index] != nil }
      #expect(step.users == UInt64(done.count), comment)
      guard index > 0 else { continue }
      let previous = query.steps[..<index].lastIndex { !$0.isOptional } ?? 0
      let before = outcomes.count { $0.events.count > previous && $0.events[previous] != nil }
      #expect(step.dropOffUsers == UInt64(before - done.count), comment)
      let chains = done.map { $0.events.map { $0?.time } }
      check(step.fromFirst, chains.compactMap { difference($0[index], $0[0]) }, comment)
      check(step.fromPrevious, chains.compactMap { difference($0[index], $0[previous]) }, comment)
    }
  }

  private func difference(_ a: Int64?, _ b: Int64?) -> Int64? {
    if let a, let b { a - b } else { nil }
  }

  private func check(_ summary: DurationSummary, _ durations: [Int64], _ comment: Comment) {
    let sorted = durations.sorted().map { Double($0) }
    guard !sorted.isEmpty else {
      #expect(summary == DurationSummary(), comment)
      return
    }
    func quantile(_ share: Double) -> Double {
      let place = share * Double(sorted.count - 1)
      let low = sorted[Int(place)]
      return low + (place - place.rounded(.down)) * (sorted[min(Int(place) + 1, sorted.count - 1)] - low)
    }
    #expect(abs(summary.mean - sorted.reduce(0, +) / Double(sorted.count)) < 1e-3, comment)
    #expect(abs(summary.median - quantile(0.5)) < 1e-3, comment)
    #expect(abs(summary.p90 - quantile(0.9)) < 1e-3, comment)
  }

  private func checkBreakdown(
    _ answer: FunnelAnswer, _ outcomes: [ReferenceChains.Outcome], _ query: FunnelQuery,
    _ data: RandomData, _ comment: Comment
  ) throws {
    guard let field = query.breakdown else { return }
    let calendar = try #require(AppCalendar(data.zone))
    let touches = Dictionary(
      grouping: data.events.filter {
        counts($0, query) && calendar.range(ofDays: query.days).contains($0.time)
      }.sorted(by: ReferenceEvent.comesBefore), by: \.user)
    func value(_ outcome: ReferenceChains.Outcome) -> ReferenceValue? {
      switch query.breakdownBy {
      case .firstStep: data.value(field, of: outcome.first)
      case .lastStep: data.value(field, of: outcome.last)
      case .userFirstTouch: touches[outcome.first.user]?.first.flatMap { data.value(field, of: $0) }
      case .userLastTouch: touches[outcome.first.user]?.last.flatMap { data.value(field, of: $0) }
      }
    }
    let shown = answer.breakdown.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) }
    #expect(shown.count == min(Set(outcomes.map(value)).count, query.breakdownLimit), comment)
    for group in answer.breakdown {
      let own = group.value.map(RandomFilters.reference)
      compare(
        group.steps, outcomes.filter { group.isOther ? !shown.contains(value($0)) : value($0) == own },
        query, comment)
    }
  }

  /// The users behind every number are as many as it says.
  private func checkUsers(
    _ answer: FunnelAnswer, _ query: FunnelQuery, _ harness: EngineHarness, _ comment: Comment
  ) throws {
    guard query.count == .users else { return }
    func check(_ steps: [FunnelStepResult], _ group: FunnelCell.Group) throws {
      for (index, step) in steps.enumerated() {
        var cell = FunnelCell(step: index, group: group)
        let users = try harness.engine.funnelUsers(query, cell, control: QueryControl())
        #expect(users.map { UInt64(Set($0).count) } == step.users, comment)
        guard index > 0 else { continue }
        cell.droppedOff = true
        let lost = try harness.engine.funnelUsers(query, cell, control: QueryControl())
        #expect(lost.map { UInt64(Set($0).count) } == step.dropOffUsers, comment)
        #expect(Set(lost ?? []).isDisjoint(with: users ?? []), comment)
      }
    }
    try check(answer.steps, .all)
    if query.steps.count < 3 {
      for group in answer.breakdown { try check(group.steps, group.isOther ? .other : .value(group.value)) }
    }
    if answer.breakdown.allSatisfy({ !$0.isOther }) {
      let other = FunnelCell(step: 0, group: .other)
      #expect(try harness.engine.funnelUsers(query, other, control: QueryControl()) == nil, comment)
    }
  }

  // MARK: Refusals

  @Test(arguments: [
    "order_optional", "first_optional", "last_optional", "first_invited", "invited_strict", "invited_opens",
    "invited_excluded", "invited_held", "invited_optional", "invited_last_step", "strict_excluded", "any_excluded",
    "exclusion_inverted", "exclusion_beyond", "eleven_exclusions", "four_held", "held_twice", "held_unknown", "by_without",
    "exclusion_name",
  ])
  func `what cannot be meant is refused by name`(_ kind: String) throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var query = FunnelQuery(
      appID: "shop", days: 0...0, steps: ["a", "b", "c"].map { FunnelQuery.Step([$0]) },
      windowMilliseconds: 1_000)
    let named = spoil(&query, kind)
    do {
      _ = try harness.engine.funnel(query, control: QueryControl())
      Issue.record("\(kind) was answered")
    } catch let error as QueryError {
      #expect(error.kind == .invalidArgument)
      #expect(error.description.hasPrefix(named), "\(error)")
    }
  }

  private func spoil(_ query: inout FunnelQuery, _ kind: String) -> String {
    let exclusion = FunnelQuery.Exclusion(["d"])
    if kind.hasPrefix("invited") { query.steps[1].isByInvitedUser = true }
    switch kind {
    case "order_optional":
      query.order = .any
      query.steps[1].isOptional = true
      return "steps[1].optional"
    case "first_optional":
      query.steps[0].isOptional = true
      return "steps[0].optional"
    case "last_optional":
      query.steps[2].isOptional = true
      return "steps[2].optional"
    case "first_invited":
      query.steps[0].isByInvitedUser = true
      return "steps[0].by_invited_user"
    case "invited_strict": query.order = .strict
    case "invited_opens": query.count = .opens
    case "invited_excluded": query.exclusions = [exclusion]
    case "invited_held": query.holdConstant = ["platform"]
    case "invited_optional": query.steps[1].isOptional = true
    case "invited_last_step":
      query.breakdown = "platform"
      query.breakdownBy = .lastStep
      return "breakdown_by"
    case "strict_excluded", "any_excluded":
      query.order = kind == "any_excluded" ? .any : .strict
      query.exclusions = [exclusion]
      return "exclusions"
    case "exclusion_inverted", "exclusion_beyond":
      query.exclusions = [FunnelQuery.Exclusion(["d"], steps: kind == "exclusion_beyond" ? 1..<3 : 1..<1)]
      return "exclusions[0]"
    case "eleven_exclusions":
      query.exclusions = Array(repeating: exclusion, count: 11)
      return "exclusions"
    case "four_held":
      query.holdConstant = ["platform", "country", "city", "province"]
      return "hold_constant"
    case "held_twice":
      query.holdConstant = ["platform", "platform"]
      return "hold_constant[1]"
    case "held_unknown":
      query.holdConstant = ["platform", "colour"]
      return "hold_constant[1]"
    case "by_without":
      query.breakdownBy = .userFirstTouch
      return "breakdown_by"
    default:
      query.exclusions = [FunnelQuery.Exclusion(["Not A Name"])]
      return "exclusions[0].events"
    }
    return "steps[1].by_invited_user"
  }

  // MARK: By hand

  private func reached(
    _ events: [(name: String, time: Int64)], _ steps: [String] = ["a", "b", "c"],
    _ change: (inout FunnelQuery) -> Void
  ) throws -> [UInt64] {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let rows = events.enumerated().map { index, event in
      ReferenceEvent(user: "u", time: event.time, sequence: 0, offset: UInt64(index), name: event.name)
    }
    try harness.apply([rows], receivedMilliseconds: 0)
    var query = FunnelQuery(
      appID: "shop", days: 0...0, steps: steps.map { FunnelQuery.Step([$0]) }, windowMilliseconds: 1_000)
    change(&query)
    return try harness.engine.funnel(query, control: QueryControl()).steps.map(\.users)
  }

  @Test func `strict lets nothing lie between`() throws {
    #expect(try reached([("a", 1), ("b", 2), ("c", 3)]) { $0.order = .strict } == [1, 1, 1])
    #expect(try reached([("a", 1), ("x", 2), ("b", 3), ("c", 4)]) { $0.order = .strict } == [1, 0, 0])
    #expect(try reached([("a", 1), ("a", 2), ("b", 3), ("c", 4)]) { $0.order = .strict } == [1, 1, 1])
  }

  @Test func `any order needs an event of its own for each step`() throws {
    #expect(try reached([("c", 1), ("b", 2), ("a", 3)]) { $0.order = .any } == [1, 1, 1])
    #expect(try reached([("a", 1), ("a", 2)], ["a", "a", "a"]) { $0.order = .any } == [1, 1, 0])
    #expect(try reached([("c", 1), ("a", 2_000)]) { $0.order = .any } == [1, 0, 0])
  }

  @Test func `an exclusion cuts only between its steps`() throws {
    let events: [(name: String, time: Int64)] = [("a", 1), ("b", 2), ("x", 3), ("b", 4), ("c", 5)]
    #expect(try reached(events) { $0.exclusions = [.init(["x"], steps: 0..<1)] } == [1, 1, 1])
    // The chain that waits with its step 2 until after x goes on.
    #expect(try reached(events) { $0.exclusions = [.init(["x"], steps: 1..<2)] } == [1, 1, 1])
    #expect(try reached(events) { $0.exclusions = [.init(["x"])] } == [1, 1, 0])
  }

  @Test func `an optional step counts those whose chain has it`() throws {
    #expect(try reached([("a", 1), ("c", 3)]) { $0.steps[1].isOptional = true } == [1, 0, 1])
    #expect(try reached([("a", 1), ("b", 2), ("c", 3)]) { $0.steps[1].isOptional = true } == [1, 1, 1])
  }

  @Test func `entries begin again after a conversion and after the window`() throws {
    let twice: [(name: String, time: Int64)] = [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("a", 2_000)]
    #expect(try reached(twice, ["a", "b"]) { $0.count = .entries } == [3, 1])
  }

  @Test func `a chain of opens lies within one`() throws {
    let events: [(name: String, time: Int64)] = [("$launch", 0), ("b", 10), ("$launch", 20), ("c", 30)]
    #expect(try reached(events, ["$launch", "b", "c"]) { $0.count = .opens } == [2, 1, 0])
    #expect(try reached(events, ["$launch", "c"]) { $0.count = .opens } == [2, 1])
  }
}

extension FunnelQuery {
  fileprivate var isAcross: Bool { steps.contains { $0.isByInvitedUser } }
}
