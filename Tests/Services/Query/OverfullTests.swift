import Events
import Query
import Store
import Subscription
import TestKit
import Testing

@Suite struct OverfullTests {
  /// A log that comes faster than it is merged waits for merges: were one that fails passed by, memory would grow without end.
  @Test func `a merge that fails with a commit fails the next one, and is tried again`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let consumer = QueryConsumer(engine: harness.engine, unsealedRowsMax: 10)
    let events = (0..<20).map {
      ReferenceEvent(user: "u\($0)", time: 1_000, sequence: 0, offset: UInt64($0), name: "buy")
    }
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 2_000)
    try harness.store.write {
      try $0.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON main.segment BEGIN SELECT RAISE(ABORT, 'full'); END")
    }
    let next = LogPosition(nextOffset: 20, lastReceivedMilliseconds: 2_000)
    func commit() throws {
      do {
        try harness.store.write { try consumer.willCommit(next, in: $0) }
      } catch {
        consumer.didRollBack()
        throw error
      }
      consumer.didCommit(next)
    }
    try commit()
    #expect(throws: StoreError.self) { try commit() }
    try commit()
    try harness.store.write { try $0.execute("DROP TRIGGER full") }
    #expect(throws: StoreError.self) { try commit() }
    #expect(harness.engine.unsealedRows == 20)
    try commit()
    #expect(harness.engine.unsealedRows == 0)
    try commit()
  }

  /// The bound is one for all apps: those that have most of the rows are sealed, until the log may go on.
  @Test func `rows of all apps count together, and the apps that have most of them are sealed`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let consumer = QueryConsumer(engine: harness.engine, unsealedRowsMax: 30)
    func events(_ count: Int) -> [[ReferenceEvent]] {
      (0..<count).map {
        [ReferenceEvent(user: "u\($0)", time: 1_000, sequence: 0, offset: UInt64($0), name: "buy")]
      }
    }
    try harness.apply(events(4), receivedMilliseconds: 2_000)
    for (app, count) in [("large", 11), ("larger", 13)] {
      try harness.addApp(app)
      try harness.apply(events(count), to: app)
    }
    consumer.didCommit(LogPosition(nextOffset: 28, lastReceivedMilliseconds: 2_000))
    #expect(harness.engine.unsealedRows == 28)
    try harness.apply(events(3), to: "larger")
    consumer.didCommit(LogPosition(nextOffset: 31, lastReceivedMilliseconds: 2_000))
    #expect(harness.engine.unsealedRows == 4)
  }
}
