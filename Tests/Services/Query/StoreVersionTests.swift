import Events
import Foundation
import Query
import Store
import SwiftProtobuf
import TestKit
import Testing

@Suite struct StoreVersionTests {
  private func store(_ folder: URL, _ migrations: [Migration]) throws -> Store {
    try Store(
      path: folder.appendingPathComponent("query.sqlite").path,
      options: StoreOptions(durability: .normal), migrations: migrations)
  }

  /// 200 events `buy` of 50 users on five days, with `price` 0 ... 199.
  private func check(_ engine: QueryEngine, from firstDay: Int = 0) throws {
    let days = firstDay...firstDay + 9
    let answer = try engine.trend(
      TrendQuery(appID: "shop", days: days), control: QueryControl())
    #expect(answer.points.map(\.metrics.eventCount) == [40, 40, 40, 40, 40, 0, 0, 0, 0, 0])
    #expect(answer.points.map(\.metrics.visitUsers) == [10, 10, 10, 10, 10, 0, 0, 0, 0, 0])
    #expect(answer.points.map(\.metrics.visitNewUsers) == [10, 10, 10, 10, 10, 0, 0, 0, 0, 0])
    let dear = try engine.trend(
      TrendQuery(
        appID: "shop", days: days, granularity: .all,
        filter: .condition(
          FilterCondition("price", .ge, [.integer(150)]))),
      control: QueryControl())
    #expect(dear.points.map(\.metrics.eventCount) == [50])
  }

  /// How many events each value of a field has.
  private func counts(_ engine: QueryEngine, by field: String, days: ClosedRange<Int>) throws -> [String: UInt64] {
    let answer = try engine.trend(
      TrendQuery(appID: "shop", days: days, granularity: .all, breakdown: field),
      control: QueryControl())
    let values = answer.breakdown.map { ("\($0.value)", $0.points[0].metrics.eventCount) }
    return Dictionary(uniqueKeysWithValues: values)
  }

  @Test func `a file with segments of version 1 is read, and merged into the latest`() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("footfall-query-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let first = QueryEngine.migrations(from: 1)
    let old = try store(folder, first)
    try old.write { try $0.executeScript(version1Store) }
    old.close()
    let new = try store(folder, first + QueryEngine.laterMigrations(from: first.count + 1))
    defer { new.close() }
    let engine = try QueryEngine(store: new)
    try check(engine)
    let versions = { try new.read { try $0.query("SELECT version FROM segment ORDER BY day") { $0.int64(0) } } }
    #expect(try versions() == [1, 1, 1, 1, 1])
    try applyUncounted(engine, new, time: 5, offset: 200)
    try check(engine)
    try engine.mergeIfDue(rows: 1)
    try engine.mergeIfDue(rows: 1)
    #expect(try versions() == [3, 1, 1, 1, 1])
    try check(engine)
  }

  /// One event of a user who is there, left out of every count by its channel.
  private func applyUncounted(
    _ engine: QueryEngine, _ store: Store, time: Int64, offset: UInt64
  ) throws {
    var event = ReferenceEvent(user: "user0", time: time, sequence: 0, offset: offset, name: "buy")
    event.channel = "develop"
    let bytes: [UInt8] = try EngineHarness.encode([event]).serializedBytes()
    let appender = RowAppender(engine: engine)
    let position = AppliedPosition(nextOffset: offset + 1, receivedMilliseconds: 0)
    try store.write { connection in
      try bytes.withUnsafeBytes {
        try appender.append(
          $0, appID: "shop", clock: EventClock(received: 0, offset: 0, isImport: true))
      }
      try engine.willCommit(position, in: connection)
    }
    engine.didCommit(position)
  }

  @Test func `a file with segments of version 2 is read, compressed in its place, and merged into the latest`() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("footfall-query-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let first = QueryEngine.migrations(from: 1)
    let store = try store(folder, first + QueryEngine.laterMigrations(from: first.count + 1))
    defer { store.close() }
    try store.write { try $0.executeScript(version2Store) }
    let firstDay = 19_723
    let days = firstDay...firstDay + 9
    let fields = ["province", "city", "device_brand", "device_model", "scene", "page_path"]
    let versions = { try store.read { try $0.query("SELECT version FROM segment ORDER BY day") { $0.int64(0) } } }
    func all(_ engine: QueryEngine) throws -> [[String: UInt64]] {
      try fields.map { try counts(engine, by: $0, days: days) }
    }
    let engine = try QueryEngine(store: store)
    try check(engine, from: firstDay)
    #expect(try versions() == [2, 2, 2, 2, 2])
    let before = try all(engine)
    #expect(before.map(\.count) == [3, 9, 2, 4, 2, 3])
    #expect(before.allSatisfy { $0.values.reduce(0, +) == 200 })
    while try engine.compressIfQuiet(seconds: 0) {}
    #expect(try versions() == [2, 2, 2, 2, 2])
    try applyUncounted(engine, store, time: Int64(firstDay) * 86_400_000 + 5, offset: 203)
    try engine.mergeIfDue(rows: 1)
    try engine.mergeIfDue(rows: 1)
    #expect(try versions() == [3, 2, 2, 2, 2])
    try check(engine, from: firstDay)
    #expect(try all(engine) == before)
    let again = try QueryEngine(store: store)
    try check(again, from: firstDay)
    #expect(try all(again) == before)
  }
}
