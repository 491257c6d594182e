import Events
import Foundation
import Query
import RPC
import TestKit
import Testing

/// Tiers, lifecycle, stickiness, repurchase against the brute-force reference, and with each other and the trend.
@Suite struct UsersTests {
  private struct World {
    let data: RandomData
    let harness: EngineHarness
    let traffic: TrafficChoice
    let reference: ReferenceUsers
    let days: ClosedRange<Int>
    let comment: Comment
    var random: SeededRandom

    init(_ seed: Int, base: UInt64, comment: String = "") throws {
      random = SeededRandom(seed: UInt64(seed) + base)
      data = RandomData(&random)
      harness = try EngineHarness(try data.definition)
      try data.apply(to: harness, &random)
      let traffic = TrafficChoice(
        channel: random.oneIn(6) ? 2 : 1, includesExcludedScenes: random.below(2) == 0)
      self.traffic = traffic
      reference = ReferenceUsers(data.events) { event in
        event.channel == (traffic.channel == 1 ? "release" : "trial")
          && (traffic.includesExcludedScenes || !event.isExcludedScene)
      }
      let begin = Int(data.origin / 86_400_000) - 3 + random.below(10)
      days = begin...begin + random.below(10)
      self.comment = Comment(rawValue: "seed \(seed) days \(days) \(traffic) \(comment)")
    }

    var engine: QueryEngine { harness.engine }

    func day(_ index: Int) -> Range<Int64> {
      guard let calendar = ReferenceCalendar(data.zone) else { return 0..<0 }
      let civil = CivilDay(index: index)
      return calendar.day(civil.year, civil.month, civil.day)
    }

    func range(_ days: ClosedRange<Int>) -> Range<Int64> {
      day(days.lowerBound).lowerBound..<day(days.upperBound).upperBound
    }

    func check(_ list: UserList, _ expected: Set<String>) {
      #expect(Set(list.openIDs) == expected && list.openIDs.count == expected.count, comment)
    }
  }

  @Test(arguments: 0..<150) func `tiers agree with the reference`(_ seed: Int) throws {
    var world = try World(seed, base: 53_000_000)
    let active = 1 + world.random.below(4)
    let rule = world.random.below(2) == 0 ? (7, 30) : (active, active + 1 + world.random.below(6))
    var query = UserTiersQuery(
      appID: "shop", days: world.days, activeDays: rule.0, dormantDays: rule.1,
      traffic: world.traffic)
    query.compareDays = world.random.oneIn(3) ? world.days.lowerBound - 2...world.days.lowerBound + 1 : nil
    let answer = try world.engine.userTiers(query, control: QueryControl())
    #expect(answer.points.map(\.period.days.lowerBound) == Array(world.days), world.comment)
    for point in answer.points + answer.comparePoints {
      let day = point.period.days.lowerBound
      for tier in UserTier.allCases {
        let expected = world.reference.tier(
          tier.rawValue, activeDays: rule.0, dormantDays: rule.1) { world.day(day - $0) }
        #expect(point[tier] == UInt64(expected.count), "\(world.comment) \(rule) \(day) \(tier)")
        guard world.random.oneIn(8), world.days.contains(day) else { continue }
        world.check(
          try world.engine.tierUsers(
            query, tier, refDate: point.period.refDate, control: QueryControl()), expected)
      }
    }
    let trend = try world.engine.trend(
      TrendQuery(appID: "shop", days: world.days, traffic: world.traffic), control: QueryControl())
    #expect(
      answer.points.map { $0.users.reduce(0, +) } == trend.points.map(\.metrics.visitTotal), world.comment)
  }

  @Test(arguments: 0..<150) func `lifecycle agrees with the reference`(_ seed: Int) throws {
    var world = try World(seed, base: 53_200_000)
    var query = LifecycleQuery(
      appID: "shop", days: world.days, unit: world.random.pick(CalendarUnit.allCases),
      traffic: world.traffic)
    query.compareDays = world.random.oneIn(3) ? world.days : nil
    let answer = try world.engine.lifecycle(query, control: QueryControl())
    #expect(answer.comparePoints == (query.compareDays == nil ? [] : answer.points), world.comment)
    guard let calendar = ReferenceCalendar(world.data.zone) else { return }
    let unit = query.unit
    func interval(_ moment: Int64) -> Range<Int64> {
      switch unit {
      case .day: calendar.interval(.day, around: moment)
      case .week: calendar.interval(.weekOfYear, around: moment)
      case .month: calendar.interval(.month, around: moment)
      }
    }
    var begin = interval(world.range(world.days).lowerBound).lowerBound
    for point in answer.points {
      let period = interval(begin)
      let before = interval(begin - 1)
      #expect(point.period.milliseconds == period, world.comment)
      let figures = [point.new, point.returning, point.resurrecting, point.dormant]
      for (stage, figure) in zip(LifecycleStage.allCases, figures) {
        let expected = world.reference.stage(stage.rawValue, period, before: before)
        #expect(figure == UInt64(expected.count), "\(world.comment) \(query) \(stage)")
        guard world.random.oneIn(6) else { continue }
        world.check(
          try world.engine.lifecycleUsers(
            query, stage, refDate: point.period.refDate, control: QueryControl()), expected)
      }
      #expect(
        point.new + point.returning + point.resurrecting
          == UInt64(world.reference.active(period).count), world.comment)
      begin = period.upperBound
    }
    #expect(begin >= world.range(world.days).upperBound, world.comment)
  }

  @Test(arguments: 0..<150) func `stickiness agrees with the reference`(_ seed: Int) throws {
    var world = try World(seed, base: 53_400_000)
    var query = StickinessQuery(appID: "shop", days: world.days, traffic: world.traffic)
    if world.random.below(2) == 0 {
      query.event = EventChoice(
        (0...world.random.below(3)).map { _ in world.random.pick(RandomData.names) },
        filter: world.random.oneIn(3) ? RandomFilters.tree(&world.random) : nil)
    }
    query.compareDays = world.random.oneIn(4) ? world.days : nil
    let answer = try world.engine.stickiness(query, control: QueryControl())
    #expect(answer.comparePoints == (query.compareDays == nil ? [] : answer.points), world.comment)
    func users(_ days: ClosedRange<Int>) -> Set<String> {
      guard let choice = query.event else { return world.reference.active(world.range(days)) }
      return world.reference.doing(world.range(days)) { event in
        choice.events.contains(event.name)
          && choice.filter.map { RandomFilters.matches($0, event) } ?? true
      }
    }
    for (point, day) in zip(answer.points, world.days) {
      for (window, figure) in [(1, point.dau), (7, point.wau), (30, point.mau)] {
        let expected = users(day - window + 1...day)
        #expect(figure == UInt64(expected.count), "\(world.comment) \(query) \(day) \(window)")
        guard world.random.oneIn(8) else { continue }
        world.check(
          try world.engine.stickinessUsers(
            query, .window(days: window, refDate: point.period.refDate), control: QueryControl()),
          expected)
      }
      #expect(point.dauPerMau == (point.mau == 0 ? 0 : Double(point.dau) / Double(point.mau)), world.comment)
    }
    var dayCounts: [String: Int] = [:]
    for day in world.days { for user in users(day...day) { dayCounts[user, default: 0] += 1 } }
    for days in 1...world.days.count {
      let expected = Set(dayCounts.filter { $0.value == days }.keys)
      #expect(answer.bars.first { $0.days == days }?.users ?? 0 == UInt64(expected.count), world.comment)
      if world.random.oneIn(5) {
        world.check(
          try world.engine.stickinessUsers(query, .bar(days: days), control: QueryControl()), expected)
      }
    }
    guard query.event == nil else { return }
    let trend = try world.engine.trend(
      TrendQuery(appID: "shop", days: world.days, traffic: world.traffic), control: QueryControl())
    #expect(answer.points.map(\.dau) == trend.points.map(\.metrics.visitUsers), world.comment)
  }

  @Test(arguments: 0..<150) func `repurchase agrees with the reference`(_ seed: Int) throws {
    var world = try World(seed, base: 53_600_000)
    let choice = EventChoice(
      (0...world.random.below(3)).map { _ in world.random.pick(RandomData.names) },
      filter: world.random.oneIn(3) ? RandomFilters.tree(&world.random) : nil)
    var query = RepurchaseQuery(
      appID: "shop", days: world.days, order: choice, traffic: world.traffic)
    if world.random.below(2) == 0 { query.gapDays = [1, 2, 4] }
    query.compareDays = world.random.oneIn(4) ? world.days : nil
    let answer = try world.engine.repurchase(query, control: QueryControl())
    #expect(answer.compare == (query.compareDays == nil ? nil : answer.metrics), world.comment)
    let orders = world.reference.orders(world.range(world.days)) { event in
      choice.events.contains(event.name)
        && choice.filter.map { RandomFilters.matches($0, event) } ?? true
    }
    let gaps = orders.mapValues { times in zip(times, times.dropFirst()).map { $1 - $0 } }
    let all = gaps.values.joined().map(Double.init).sorted()
    let metrics = answer.metrics
    #expect(metrics.orders == UInt64(orders.values.joined().count), world.comment)
    #expect(metrics.buyers == UInt64(orders.count), world.comment)
    #expect(metrics.repeatBuyers == UInt64(orders.values.count { $0.count > 1 }), world.comment)
    #expect(metrics.medianGapMilliseconds == ReferenceAnalysis.quantile(0.5, all) ?? 0, world.comment)
    let mean = all.isEmpty ? 0 : all.reduce(0, +) / Double(all.count)
    #expect(abs(metrics.meanGapMilliseconds - mean) <= 1e-6 * mean, world.comment)
    var lower = -1.0
    for bar in metrics.gaps {
      let upper = bar.days == 0 ? Double.infinity : Double(bar.days) * 86_400_000
      let isIn = { (gap: Int64) in Double(gap) > lower && Double(gap) <= upper }
      let users = Set(gaps.filter { $0.value.contains(where: isIn) }.keys)
      #expect(bar.gaps == UInt64(gaps.values.joined().count(where: isIn)), world.comment)
      #expect(bar.users == UInt64(users.count), world.comment)
      if world.random.oneIn(4) {
        world.check(
          try world.engine.repurchaseUsers(query, .gap(days: bar.days), control: QueryControl()), users)
      }
      lower = upper
    }
    #expect(metrics.gaps.map(\.days) == query.gapDays + [0], world.comment)
    world.check(
      try world.engine.repurchaseUsers(query, .repeatBuyers, control: QueryControl()),
      Set(orders.filter { $0.value.count > 1 }.keys))
    world.check(
      try world.engine.repurchaseUsers(query, .buyers, control: QueryControl()), Set(orders.keys))
  }

  // MARK: - Refusals

  private func message(_ body: (QueryEngine) throws -> Void) throws -> String {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let event = ReferenceEvent(user: "u", time: 1_000, sequence: 0, offset: 0, name: "buy")
    try harness.apply([[event]], receivedMilliseconds: 2_000)
    do {
      try body(harness.engine)
      return "answered"
    } catch let error as QueryError {
      return error.description
    }
  }

  private func tiers(_ change: (inout UserTiersQuery) -> Void) throws -> String {
    var query = UserTiersQuery(appID: "shop", days: 0...0)
    change(&query)
    return try message { _ = try $0.userTiers(query, control: QueryControl()) }
  }

  @Test func `tiers whose bounds cannot be are refused`() throws {
    #expect(try tiers { $0.activeDays = 0 } == "active_days: is 0, must be 1-365")
    #expect(try tiers { $0.activeDays = 366 }.hasPrefix("active_days: is 366"))
    #expect(try tiers { $0.dormantDays = 7 }.hasPrefix("dormant_days: is 7, must be more than active_days, 7"))
    #expect(try tiers { $0.dormantDays = 3_651 }.hasPrefix("dormant_days: is 3651"))
    #expect(try tiers { _ in } == "answered")
    let query = UserTiersQuery(appID: "shop", days: 0...0)
    #expect(
      try message { _ = try $0.tierUsers(query, .new, refDate: "19700102", control: QueryControl()) }
        .hasPrefix("cell.ref_date"))
  }

  @Test func `stickiness of too many days or of no event is refused`() throws {
    func stickiness(_ days: ClosedRange<Int>, _ event: EventChoice?) throws -> String {
      try message {
        _ = try $0.stickiness(
          StickinessQuery(appID: "shop", days: days, event: event), control: QueryControl())
      }
    }
    #expect(try stickiness(0...366, nil) == "range: has 367 days, must have at most 366")
    #expect(try stickiness(0...1, EventChoice([])).hasPrefix("event.events: 0 given"))
    #expect(try stickiness(0...1, EventChoice(["buy"], filter: .and([]))).hasPrefix("event.filter"))
    #expect(try stickiness(0...365, EventChoice(["buy"])) == "answered")
  }

  @Test func `repurchase with classes out of order or without an order is refused`() throws {
    func repurchase(_ order: EventChoice, _ gaps: [Int]?) throws -> String {
      try message {
        _ = try $0.repurchase(
          RepurchaseQuery(appID: "shop", days: 0...0, order: order, gapDays: gaps),
          control: QueryControl())
      }
    }
    #expect(try repurchase(EventChoice([]), nil).hasPrefix("order.events: 0 given"))
    #expect(try repurchase(EventChoice(["buy"]), [2, 2]).hasPrefix("gap_days[1]: is 2, must be more than"))
    #expect(try repurchase(EventChoice(["buy"]), [0]).hasPrefix("gap_days[0]: is 0"))
    #expect(try repurchase(EventChoice(["buy"]), Array(1...51)).hasPrefix("gap_days: 51 given"))
    #expect(try repurchase(EventChoice(["buy"]), nil) == "answered")
  }

  @Test func `the rule of tiers counts days back from the day, which is the first`() {
    let rule = UserTierRule.classic
    #expect(rule.tier(first: 100, last: 100, on: 100) == .new)
    #expect(rule.tier(first: 1, last: 94, on: 100) == .active)
    #expect(rule.tier(first: 1, last: 93, on: 100) == .dormant)
    #expect(rule.tier(first: 1, last: 71, on: 100) == .dormant)
    #expect(rule.tier(first: 1, last: 70, on: 100) == .churned)
  }
}
