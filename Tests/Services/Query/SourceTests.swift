import Events
import Query
import RPC
import Store
import TestKit
import Testing

/// What an app says of its scenes holds for all of its history, from the next question on.
@Suite struct SourceTests {
  private func harness() throws -> EngineHarness {
    try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
  }

  private static let day: Int64 = 86_400_000

  private func view(_ user: String, _ time: Int64, scene: Int32, source: String = "") -> ReferenceEvent {
    var event = ReferenceEvent(user: user, time: time, sequence: 0, offset: 0, name: "$page_view")
    event.page = "pages/a"
    event.scene = scene
    event.isExcludedScene = false
    if !source.isEmpty { event.context["campaign_source"] = .text(source) }
    return event
  }

  /// Days 0 and 1, each by one user of the scenes 1175 and 1001.
  private func fill(_ harness: EngineHarness, sealed: Bool) throws {
    try harness.apply(
      [
        [view("a", 1_000, scene: 1175)], [view("b", 2_000, scene: 1001)],
        [view("a", Self.day + 1_000, scene: 1001)], [view("c", Self.day + 2_000, scene: 1175)],
      ], receivedMilliseconds: 3 * Self.day)
    if sealed { try harness.engine.mergeIfDue(rows: 1) }
  }

  private func override(
    _ code: Int, _ change: (inout SceneOverride) -> Void
  ) -> AppSources {
    var override = SceneOverride(code: code)
    change(&override)
    return AppSources(platform: "wechat", overrides: [override])
  }

  private func trend(
    _ harness: EngineHarness, breakdown: String? = nil, filter: FilterTree? = nil
  ) throws -> TrendAnswer {
    try harness.engine.trend(
      TrendQuery(
        appID: "shop", days: 0...1, granularity: .day, filter: filter, breakdown: breakdown),
      control: QueryControl())
  }

  private func series(_ answer: TrendAnswer) -> [FieldValue?: [UInt64]] {
    Dictionary(
      uniqueKeysWithValues: answer.breakdown.map { ($0.value, $0.points.map(\.metrics.visitUsers)) })
  }

  @Test(arguments: [false, true])
  func `another source key of a scene changes yesterday's breakdown at once`(sealed: Bool) throws {
    let harness = try harness()
    try fill(harness, sealed: sealed)
    #expect(try series(trend(harness, breakdown: "source_key")) == [.integer(10): [1, 1], .integer(1): [1, 1]])
    try harness.redefine(override(1175) { $0.sourceKey = 48 })
    #expect(try series(trend(harness, breakdown: "source_key")) == [.integer(48): [1, 1], .integer(1): [1, 1]])
    try harness.reopen()
    #expect(try series(trend(harness, breakdown: "source_key")) == [.integer(48): [1, 1], .integer(1): [1, 1]])
    try harness.redefine(AppSources(platform: "wechat"))
    #expect(try series(trend(harness, breakdown: "source_key")) == [.integer(10): [1, 1], .integer(1): [1, 1]])
  }

  @Test(arguments: [false, true])
  func `an exclusion changes yesterday's users, new users and what was left out`(
    sealed: Bool
  ) throws {
    let harness = try harness()
    try fill(harness, sealed: sealed)
    func numbers() throws -> [[UInt64]] {
      let answer = try trend(harness)
      return answer.points.map { [$0.metrics.visitUsers, $0.metrics.visitNewUsers, $0.metrics.visitTotal] }
        + [[answer.info.excluded[.scene] ?? 0]]
    }
    let before = try numbers()
    #expect(before == [[2, 2, 2], [2, 1, 3], [0]])
    try harness.redefine(override(1175) { $0.isExcluded = true })
    // Without the scene 1175, `a` came first on the second day, and `c` never.
    let after: [[UInt64]] = [[1, 1, 1], [1, 1, 2], [2]]
    #expect(try numbers() == after)
    try harness.reopen()
    #expect(try numbers() == after)
    try harness.engine.mergeIfDue(rows: 1)
    try harness.reopen()
    #expect(try numbers() == after)
    try harness.redefine(AppSources(platform: "wechat"))
    #expect(try numbers() == before)
  }

  @Test func `an exclusion that is taken back counts what was left out when it came`() throws {
    let harness = try harness()
    try harness.apply([[view("bot", 1_000, scene: 1129)]], receivedMilliseconds: Self.day)
    #expect(try trend(harness).points.map(\.metrics.visitUsers) == [0, 0])
    try harness.redefine(override(1129) { $0.isExcluded = false })
    #expect(try trend(harness).points.map(\.metrics.visitUsers) == [1, 0])
    #expect(try trend(harness).info.excluded == [:])
  }

  @Test func `a change whose transaction fails changes nothing`() throws {
    let harness = try harness()
    try fill(harness, sealed: true)
    try harness.redefineAndFail(override(1175) { $0.isExcluded = true })
    #expect(try trend(harness).points.map(\.metrics.visitUsers) == [2, 2])
    try harness.apply([[view("d", 3_000, scene: 1175)]], receivedMilliseconds: 3 * Self.day)
    #expect(try trend(harness).points.map(\.metrics.visitUsers) == [3, 2])
  }

  @Test func `a file whose first active times another table made is read anew`() throws {
    let harness = try harness()
    try fill(harness, sealed: true)
    try harness.redefine(override(1175) { $0.isExcluded = true })
    // As an earlier release left it: the times are of the sealed days, by no table that is known.
    try harness.store.write { try $0.execute("UPDATE app SET times_exclusion = NULL") }
    try harness.reopen()
    #expect(try trend(harness).points.map(\.metrics.visitNewUsers) == [1, 1])
  }

  @Test func `channels follow the app's groups, and may be filtered by`() throws {
    let harness = try harness()
    try harness.apply(
      [
        [view("a", 1_000, scene: 1006)], [view("b", 2_000, scene: 1006, source: "mail")],
        [view("c", 3_000, scene: 0)],
      ], receivedMilliseconds: 3 * Self.day)
    #expect(
      try series(trend(harness, breakdown: "channel")) == [.text("search"): [2, 0], .text("other"): [1, 0]])
    var rule = ChannelRule()
    rule.campaignSources = ["mail"]
    try harness.redefine(
      AppSources(platform: "wechat", groups: [ChannelGroup(name: "letters", rules: [rule])]))
    #expect(
      try series(trend(harness, breakdown: "channel"))
        == [.text("search"): [1, 0], .text("letters"): [1, 0], .text("other"): [1, 0]])
    let letters = FilterTree.condition(FilterCondition("channel", .eq, [.text("letters")]))
    #expect(try trend(harness, filter: letters).points.map(\.metrics.visitUsers) == [1, 0])
    let unknown = FilterTree.condition(FilterCondition("source_key", .notExists))
    #expect(try trend(harness, filter: unknown).points.map(\.metrics.visitUsers) == [1, 0])
    let search = FilterTree.condition(FilterCondition("source_key", .eq, [.integer(2)]))
    #expect(try trend(harness, filter: search).points.map(\.metrics.visitUsers) == [2, 0])
  }

  @Test func `an operator that does not fit a source field is refused`() throws {
    let harness = try harness()
    for condition in [
      FilterCondition("source_key", .prefix, [.text("1")]),
      FilterCondition("source_key", .eq, [.text("1")]), FilterCondition("channel", .gt, [.integer(1)]),
    ] {
      let error = #expect(throws: QueryError.self) { try trend(harness, filter: .condition(condition)) }
      #expect(error?.kind == .invalidArgument)
    }
  }
}
