import Events
import Query
import RPC
import TestKit
import Testing

/// What is asked wrongly is refused by name, never answered with nothing.
@Suite struct RefusalTests {
  private func harness() throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var event = ReferenceEvent(user: "u", time: 1_000, sequence: 0, offset: 0, name: "buy")
    event.fields = ["price": .integer(3), "tag": .text("red"), "vip": .boolean(true)]
    try harness.apply([[event]], receivedMilliseconds: 2_000)
    return harness
  }

  private func error(_ condition: FilterCondition) throws -> QueryError? {
    try error { query in query.filter = .condition(condition) }
  }

  private func error(_ change: (inout TrendQuery) -> Void) throws -> QueryError? {
    let harness = try harness()
    var query = TrendQuery(appID: "shop", days: 0...0)
    change(&query)
    do {
      _ = try harness.engine.trend(query, control: QueryControl())
      return nil
    } catch let error as QueryError {
      return error
    }
  }

  @Test(arguments: [
    (FilterCondition("prise", .eq, [.integer(1)]), "filter.condition.field"),
    (FilterCondition("tag", .lt, [.text("a")]), "filter.condition.operator"),
    (FilterCondition("price", .contains, [.text("3")]), "filter.condition.operator"),
    (FilterCondition("price", .eq, [.text("3")]), "filter.condition.values"),
    (FilterCondition("tag", .eq, [.integer(3)]), "filter.condition.values"),
    (FilterCondition("vip", .gt, [.boolean(true)]), "filter.condition.operator"),
    (FilterCondition("platform", .eq, []), "filter.condition.values"),
    (FilterCondition("platform", .exists, [.text("x")]), "filter.condition.values"),
    (FilterCondition("price", .between, [.integer(3)]), "filter.condition.values"),
    (FilterCondition("price", .between, [.integer(3), .integer(2)]), "filter.condition.values"),
    (FilterCondition("tag", .regex, [.text("(")]), "filter.condition.values"),
    (FilterCondition("tag", .regex, [.text("(?=x)")]), "filter.condition.values"),
    (
      FilterCondition("tag", .regex, [.text(String(repeating: "a", count: 257))]),
      "filter.condition.values"
    ),
    (FilterCondition("scene", .prefix, [.text("1")]), "filter.condition.operator"),
  ])
  func `a condition that cannot be meant`(_ condition: FilterCondition, _ named: String) throws {
    let error = try #require(try error(condition))
    #expect(error.kind == .invalidArgument)
    #expect(error.description.hasPrefix(named), "\(error)")
  }

  @Test(arguments: [
    FilterCondition("stay_ms", .ge, [.integer(1)]), FilterCondition("price", .between, [.integer(1), .double(3.5)]),
    FilterCondition("event", .in, [.text("never_seen")]), FilterCondition("vip", .ne, [.boolean(true)]),
    FilterCondition("page_path", .notExists), FilterCondition("release_channel", .eq, [.text("release")]),
  ])
  func `a condition that is fine`(_ condition: FilterCondition) throws {
    #expect(try error(condition) == nil)
  }

  @Test func `unknown apps, breakdowns and limits`() throws {
    #expect(try error { $0.appID = "other" }?.kind == .notFound)
    #expect(try error { $0.breakdown = "colour" }?.description.hasPrefix("breakdown") == true)
    #expect(try error { $0.breakdownLimit = 1_001 }?.kind == .invalidArgument)
    #expect(try error { $0.filter = .and([]) }?.kind == .invalidArgument)
    var deep = FilterTree.condition(FilterCondition("platform", .exists))
    for _ in 0..<8 { deep = .not(deep) }
    #expect(try error { $0.filter = deep }?.description.contains("8") == true)
  }

  @Test func `funnels of the wrong size`() throws {
    let harness = try harness()
    func kind(_ steps: [FunnelQuery.Step], window: Int64? = 1) -> QueryError.Kind? {
      let query = FunnelQuery(appID: "shop", days: 0...0, steps: steps, windowMilliseconds: window)
      do {
        _ = try harness.engine.funnel(query, control: QueryControl())
        return nil
      } catch {
        return (error as? QueryError)?.kind
      }
    }
    let step = FunnelQuery.Step(["buy"])
    #expect(kind([step]) == .invalidArgument)
    #expect(kind(Array(repeating: step, count: 21)) == .invalidArgument)
    #expect(kind([step, FunnelQuery.Step([])]) == .invalidArgument)
    #expect(kind([step, FunnelQuery.Step(["No Name"])]) == .invalidArgument)
    #expect(kind([step, step], window: 0) == .invalidArgument)
    #expect(kind([step, step], window: 3_661 * 86_400_000) == .invalidArgument)
    #expect(kind(Array(repeating: step, count: 20)) == nil)
  }

  @Test func `a query ends at its deadline, when cancelled, and at its memory`() throws {
    let harness = try harness()
    func kind(_ control: QueryControl) -> QueryError.Kind? {
      do {
        _ = try harness.engine.trend(TrendQuery(appID: "shop", days: 0...0), control: control)
        return nil
      } catch {
        return (error as? QueryError)?.kind
      }
    }
    #expect(kind(QueryControl(deadline: Deadline(nanoseconds: 0))) == .deadlineExceeded)
    #expect(kind(QueryControl(bytesMax: 16)) == .resourceExhausted)
    let cancelled = QueryControl()
    cancelled.cancel()
    #expect(kind(cancelled) == .cancelled)
  }

  @Test func `an answer of too many points is refused before it is worked out`() throws {
    let harness = try harness()
    let events = (0..<12).map { user in
      ReferenceEvent(user: "u\(user)", time: 1_000, sequence: 0, offset: UInt64(user) + 1, name: "buy")
    }
    try harness.apply([events], receivedMilliseconds: 2_000)
    func refusal(_ limit: Int) -> QueryError? {
      var query = TrendQuery(appID: "shop", days: 0...3_652)
      query.breakdown = "open_id"
      query.breakdownLimit = limit
      do {
        _ = try harness.engine.trend(query, control: QueryControl())
        return nil
      } catch {
        return error as? QueryError
      }
    }
    #expect(refusal(12)?.kind == .resourceExhausted)
    #expect(refusal(12)?.description.contains("at most 40000") == true)
    #expect(refusal(5) == nil)
  }
}
