import Events
import Messages
import Query
import RPC
import Store
import TestKit
import Testing

/// Days that are older than what is kept.
@Suite struct DayRetentionTests {
  private static let day: Int64 = 86_400_000

  private func harness() throws -> EngineHarness {
    try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
  }

  /// `user0` comes on every day, the others on one each.
  private func events(_ days: Range<Int>) -> [[ReferenceEvent]] {
    days.flatMap { day in
      ["user0", "only\(day)"].map { user in
        [
          ReferenceEvent(
            user: user, time: Int64(day) * Self.day + 5_000, sequence: UInt64(day + 1), offset: 0,
            name: "$page_view")
        ]
      }
    }
  }

  private func metrics(_ harness: EngineHarness, _ days: ClosedRange<Int>) throws -> (
    metrics: TrendMetrics, isComplete: Bool
  ) {
    let answer = try harness.engine.trend(
      TrendQuery(appID: "shop", days: days, granularity: .all), control: QueryControl())
    return (try #require(answer.points.first).metrics, answer.info.isComplete)
  }

  private func segments(_ harness: EngineHarness) throws -> [Int] {
    try harness.store.read {
      try $0.query("SELECT day FROM segment ORDER BY day") { $0.int(0) }
    }
  }

  @Test func `old days are dropped, and who asks for them is told`() throws {
    let harness = try harness()
    try harness.apply(events(0..<10), receivedMilliseconds: 10 * Self.day)
    try harness.engine.mergeIfDue(rows: 1)
    #expect(try segments(harness) == Array(0..<10))
    #expect(try metrics(harness, 0...9).isComplete)
    // The log's last moment lies on day 10: 8, 9 and 10 are kept.
    try harness.engine.mergeIfDue(rows: .max, retentionDays: 3)
    #expect(try segments(harness) == [8, 9])
    for _ in 0..<2 {
      let all = try metrics(harness, 0...9)
      #expect(all.metrics.visitUsers == 3 && !all.isComplete)
      #expect(try !metrics(harness, 7...9).isComplete)
      let kept = try metrics(harness, 8...9)
      #expect(kept.isComplete && kept.metrics.visitUsers == 3)
      // Who came first on a dropped day is not new, and still counts as one who ever came.
      #expect(kept.metrics.visitNewUsers == 2 && kept.metrics.visitTotal == 11)
      // With a filter it is counted from the events of all days.
      var query = TrendQuery(appID: "shop", days: 8...9, granularity: .all)
      query.filter = .condition(FilterCondition("event", .exists, []))
      #expect(try !harness.engine.trend(query, control: QueryControl()).info.isComplete)
      try harness.reopen()
    }
    // To keep more later brings nothing back.
    try harness.engine.mergeIfDue(rows: .max, retentionDays: 30)
    #expect(try !metrics(harness, 0...9).isComplete)
  }

  @Test(arguments: [Granularity.hour, .day, .week, .month, .all])
  func `the list behind a number of dropped days is as long as the number`(_ granularity: Granularity) throws {
    let harness = try harness()
    try harness.apply(events(0..<40), receivedMilliseconds: 40 * Self.day)
    // 1970-02-08, in the middle of a month, to 02-09.
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3)
    let query = TrendQuery(appID: "shop", days: 0...39, granularity: granularity)
    let points = try harness.engine.trend(query, control: QueryControl()).points
    #expect(points.last?.metrics.visitTotal == 41)
    for point in points {
      let metrics = point.metrics
      for (kind, number) in [
        (TrendWanted.Kind.visitTotal, metrics.visitTotal), (.visitUsers, metrics.visitUsers),
        (.visitNewUsers, metrics.visitNewUsers),
      ] {
        let list = try harness.engine.trendUsers(
          query, kind, refDate: point.period.refDate, ordinal: 1, series: nil,
          control: QueryControl())
        #expect(UInt64(list.openIDs.count) == number, "\(point.period.refDate) \(kind)")
      }
      #expect(metrics.visitNewUsers <= metrics.visitUsers)
    }
  }

  @Test func `who came first on a dropped day of a month is new in it while another of its days is left`() throws {
    let harness = try harness()
    try harness.apply(events(0..<10), receivedMilliseconds: 10 * Self.day)
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3)
    // user0, and those of the two days that are left.
    #expect(try metrics(harness, 0...9).metrics.visitNewUsers == 3)
  }

  @Test func `tiers and lifecycle of dropped days count who is left`() async throws {
    let harness = try harness()
    try harness.apply(events(0..<10), receivedMilliseconds: 10 * Self.day)
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3)
    let users = UsersService(
      runner: ReportRunner(engine: harness.engine, configuration: QueryConfiguration()))
    func context(_ method: MethodDescriptor) -> CallContext {
      CallContext(
        method: method, principal: Principal(tokenID: "t", appID: "shop", scopes: ["query:read"]))
    }
    var tiers = ProtoGetUserTiersRequest()
    tiers.range.beginDate = "19700101"
    tiers.range.endDate = "19700110"
    var lifecycle = ProtoGetLifecycleRequest()
    lifecycle.range = tiers.range
    for unit in [ProtoGranularity.day, .week] {
      lifecycle.granularity = unit
      for point in try await users.getLifecycle(
        lifecycle, context: context(UsersMethods.getLifecycle)
      ).points {
        #expect(point.new + point.returning + point.resurrecting <= 3, "\(point)")
      }
    }
    let points = try await users.getUserTiers(
      tiers, context: context(UsersMethods.getUserTiers)
    ).points
    for (day, point) in points.enumerated() {
      #expect(point.new + point.active + point.dormant + point.churned == UInt64(day + 2), "\(point)")
      #expect(day >= 8 || point.new == 0, "\(point)")
    }
  }

  @Test func `a clock of ingest that is set ahead drops nothing that the time here would keep`() throws {
    let harness = try harness()
    try harness.apply(events(0..<10), receivedMilliseconds: 3_652 * Self.day)
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3, nowMilliseconds: 10 * Self.day)
    #expect(try segments(harness) == [8, 9])
  }

  @Test func `late events of dropped days are dropped too`() throws {
    let harness = try harness()
    try harness.apply(events(0..<10), receivedMilliseconds: 10 * Self.day)
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3)
    try harness.apply(events(2..<9), receivedMilliseconds: 10 * Self.day)
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3)
    #expect(try segments(harness) == [8, 9])
    #expect(harness.engine.unsealedRows == 0)
    #expect(try metrics(harness, 8...8).metrics.eventCount == 4)
  }

  @Test func `a changed table of scenes does not make old users new`() throws {
    let harness = try harness()
    try harness.apply(events(0..<10), receivedMilliseconds: 10 * Self.day)
    try harness.engine.mergeIfDue(rows: 1, retentionDays: 3)
    var override = SceneOverride(code: 1001)
    override.isExcluded = true
    for reopened in [false, true] {
      try harness.redefine(AppSources(platform: "wechat", overrides: reopened ? [] : [override]))
      if reopened { try harness.reopen() }
      #expect(try metrics(harness, 8...9).metrics.visitNewUsers == 2)
      #expect(try metrics(harness, 8...9).metrics.visitTotal == 11)
    }
  }

  @Test func `what was dropped when does not show in the bytes that stay`() throws {
    let (grown, rebuilt) = (try harness(), try harness())
    for day in 0..<10 {
      try grown.apply(events(day..<day + 1), receivedMilliseconds: Int64(day) * Self.day + 6_000)
      try grown.engine.mergeIfDue(rows: 1, retentionDays: 4)
    }
    try rebuilt.apply(events(0..<10), receivedMilliseconds: 9 * Self.day + 6_000)
    for harness in [grown, rebuilt] {
      for _ in 0..<2 { try harness.engine.mergeIfDue(rows: 1, retentionDays: 4) }
    }
    #expect(try StoreContent.lines(grown.store) == StoreContent.lines(rebuilt.store))
    #expect(try segments(grown) == [6, 7, 8, 9])
  }
}
