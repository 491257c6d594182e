import Events
import Query
import RPC
import Store
import Synchronization
import TestKit
import Testing

@Suite struct DurabilityTests {
  private final class Flag: Sendable {
    let isSet = Atomic<Bool>(false)
  }

  private func harness() throws -> EngineHarness {
    try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
  }

  private func events(_ count: Int, from first: Int) -> [ReferenceEvent] {
    (first..<first + count).map { index in
      var event = ReferenceEvent(
        user: "user\(index % 50)", time: Int64(index % 5) * 86_400_000 + Int64(index), sequence: 0,
        offset: UInt64(index), name: "buy")
      event.fields = ["price": .integer(Int64(index))]
      return event
    }
  }

  private func total(_ engine: QueryEngine) throws -> (events: UInt64, offset: UInt64, users: UInt64) {
    let answer = try engine.trend(
      TrendQuery(appID: "shop", days: 0...9, granularity: .all), control: QueryControl())
    let metrics = try #require(answer.points.first).metrics
    return (metrics.eventCount, answer.info.position.nextOffset, metrics.visitUsers)
  }

  @Test(arguments: [0, 5, 30, 50, 80, 99]) func `a damaged block of columns is never counted`(_ percent: Int) throws {
    let harness = try harness()
    try harness.apply(events(200, from: 0).map { [$0] }, receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1)
    try harness.store.write { connection in
      let found = try connection.query(
        "SELECT segment, data FROM segment_column WHERE number = 1"
      ) { (id: $0.int64(0), data: $0.bytes(1)) }
      var (id, data) = try #require(found.first)
      data[data.count * percent / 100] ^= 1
      try connection.execute(
        "UPDATE segment_column SET data = ? WHERE segment = ? AND number = 1",
        [.blob(data), .integer(id)])
    }
    try harness.reopen()
    // A question reads what it needs only: one of these two needs each of the columns.
    #expect(throws: (any Error).self) {
      _ = try total(harness.engine)
      let filter = FilterTree.condition(FilterCondition("scene", .notExists))
      _ = try harness.engine.trend(
        TrendQuery(appID: "shop", days: 0...9, filter: filter), control: QueryControl())
    }
  }

  @Test func `a damaged row block is refused at start`() throws {
    let harness = try harness()
    try harness.apply(events(20, from: 0).map { [$0] }, receivedMilliseconds: 0)
    try harness.store.write { try $0.execute("UPDATE row_block SET checksum = checksum + 1") }
    #expect(throws: (any Error).self) { try harness.reopen() }
  }

  @Test func `a merge that was cut off before its end changes nothing`() throws {
    let harness = try harness()
    try harness.apply(events(200, from: 0).map { [$0] }, receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1)
    // What a crash leaves that comes after the segments are written and before they are put in force.
    try harness.store.write { connection in
      try connection.execute(
        """
        INSERT INTO segment(
          app, day, begin_ms, version, row_count, context_columns, last_ms, fields, in_force)
        SELECT app, day, begin_ms, version, row_count, context_columns, last_ms, fields, 0
        FROM segment
        """)
    }
    try harness.reopen()
    #expect(try total(harness.engine).events == 200)
    let segments = try harness.store.read { try $0.first("SELECT count(*) FROM segment") { $0.int(0) } }
    #expect(segments == 5)
  }

  @Test func `every answer holds exactly the events before its offset, whatever runs meanwhile`() async throws {
    let harness = try harness()
    let engine = harness.engine
    let flag = Flag()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<2 {
        group.addTask {
          var last: UInt64 = 0
          repeat {
            let answer = try engine.trend(
              TrendQuery(appID: "shop", days: 0...9, granularity: .all), control: QueryControl())
            let counted = answer.points[0].metrics.eventCount
            #expect(counted == answer.info.position.nextOffset)
            #expect(counted >= last)
            last = counted
            // The pool may have no more threads than these tasks.
            await Task.yield()
          } while !flag.isSet.load(ordering: .relaxed)
        }
      }
      for step in 0..<150 {
        try harness.apply(events(7, from: step * 7).map { [$0] }, receivedMilliseconds: 0)
        if step % 4 == 0 { try engine.mergeIfDue(rows: 1) }
        await Task.yield()
      }
      flag.isSet.store(true, ordering: .relaxed)
      try await group.waitForAll()
    }
    let end = try total(engine)
    #expect(end.events == 1_050 && end.users == 50)
    // Replaced segments are deleted once nobody reads them.
    try engine.mergeIfDue(rows: 1)
    let segments = try harness.store.read { try $0.first("SELECT count(*) FROM segment") { $0.int(0) } }
    #expect(segments == 5)
  }
}
