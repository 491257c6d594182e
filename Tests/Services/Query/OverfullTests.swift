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
}
