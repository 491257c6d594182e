import Events
import Query
import RPC
import Synchronization
import TestKit
import Testing

/// Several apps in one service: what one does shows in no other's answers, and does not keep it from its turn.
@Suite struct AppIsolationTests {
  private static let day: Int64 = 86_400_000

  private func events(_ count: Int, from first: Int) -> [[ReferenceEvent]] {
    (first..<first + count).map { index in
      var event = ReferenceEvent(
        user: "user\(index % 300)", time: Int64(index % 5) * Self.day + Int64(index), sequence: 0,
        offset: 0, name: "$page_view")
      event.page = "pages/\(index % 40)"
      return [event]
    }
  }

  private func trend(_ engine: QueryEngine, _ app: String) throws -> TrendAnswer {
    var query = TrendQuery(appID: app, days: 0...9, granularity: .day)
    query.breakdown = "page_path"
    return try engine.trend(query, control: QueryControl())
  }

  @Test func `queries and merges of a large app change nothing in a small one's answers`() async throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "small", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    try harness.apply(events(50, from: 0), receivedMilliseconds: 10 * Self.day)
    let expected = try trend(harness.engine, "small")
    try harness.addApp("large")
    let (engine, isDone) = (harness.engine, Done())
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        repeat {
          let answer = try self.trend(engine, "small")
          #expect(answer.points == expected.points && answer.breakdown == expected.breakdown)
          await Task.yield()
        } while !isDone.flag.load(ordering: .relaxed)
      }
      group.addTask {
        repeat {
          _ = try self.trend(engine, "large")
          await Task.yield()
        } while !isDone.flag.load(ordering: .relaxed)
      }
      for step in 0..<40 {
        try harness.apply(events(100, from: step * 100), to: "large")
        if step % 3 == 0 { try engine.mergeIfDue(rows: 60) }
        await Task.yield()
      }
      isDone.flag.store(true, ordering: .relaxed)
      try await group.waitForAll()
    }
    #expect(try trend(engine, "small").points == expected.points)
    #expect(try trend(engine, "large").points.map(\.metrics.eventCount).prefix(5).reduce(0, +) == 4_000)
    // The small app's rows were below the bound all the time.
    #expect(try trend(engine, "large").info.eventsRead == 4_000)
  }

  private final class Done: Sendable {
    let flag = Atomic<Bool>(false)
  }

  /// Runs queries of apps on one thread, all waiting behind one that is held, and notes the order in which they run.
  private func order(_ apps: [String], waitingMax: Int = 100) async throws -> (ran: [String], refused: Int) {
    let pool = QueryPool(threads: 1, waitingMax: waitingMax)
    let (hold, notes) = (Hold(), Notes())
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await pool.run(QueryControl(), app: "large") {
          while hold.isHeld.load(ordering: .acquiring) { }
        }
      }
      await hold.started(pool)
      for app in apps {
        let waiting = pool.waitingCount
        let before = notes.refused.load(ordering: .relaxed)
        group.addTask {
          do {
            try await pool.run(QueryControl(), app: app) { notes.ran.withLock { $0.append(app) } }
          } catch is QueryError {
            notes.refused.add(1, ordering: .relaxed)
          }
        }
        while pool.waitingCount == waiting, notes.refused.load(ordering: .relaxed) == before {
          await Task.yield()
        }
      }
      hold.isHeld.store(false, ordering: .releasing)
      try await group.waitForAll()
    }
    return (notes.ran.withLock { $0 }, notes.refused.load(ordering: .relaxed))
  }

  private final class Notes: Sendable {
    let ran = Mutex<[String]>([])
    let refused = Atomic<Int>(0)
  }

  /// Keeps the pool's only thread busy.
  private final class Hold: Sendable {
    let isHeld = Atomic<Bool>(true)

    /// Until the thread is taken.
    func started(_ pool: QueryPool) async {
      while pool.runningCount == 0 { await Task.yield() }
    }
  }

  @Test func `an app that asks much waits for itself`() async throws {
    let large = Array(repeating: "large", count: 5)
    #expect(try await order(large + ["small"]).ran == ["small"] + large)
    #expect(
      try await order(["a", "a", "a", "b", "b", "c"]).ran == ["a", "b", "c", "a", "b", "a"])
  }

  @Test func `an app that fills the queue leaves each other one a place`() async throws {
    let found = try await order(["large", "large", "large", "small", "small"], waitingMax: 2)
    #expect(found.refused == 2)
    #expect(found.ran == ["small", "large", "large"])
  }
}
