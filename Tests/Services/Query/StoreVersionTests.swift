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
  private func check(_ engine: QueryEngine) throws {
    let answer = try engine.trend(
      TrendQuery(appID: "shop", days: 0...9), control: QueryControl())
    #expect(answer.points.map(\.metrics.eventCount) == [40, 40, 40, 40, 40, 0, 0, 0, 0, 0])
    #expect(answer.points.map(\.metrics.visitUsers) == [10, 10, 10, 10, 10, 0, 0, 0, 0, 0])
    #expect(answer.points.map(\.metrics.visitNewUsers) == [10, 10, 10, 10, 10, 0, 0, 0, 0, 0])
    let dear = try engine.trend(
      TrendQuery(
        appID: "shop", days: 0...9, granularity: .all,
        filter: .condition(
          FilterCondition("price", .ge, [.integer(150)]))),
      control: QueryControl())
    #expect(dear.points.map(\.metrics.eventCount) == [50])
  }

  @Test func `a file with segments of version 1 is read, and merged into version 2`() throws {
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
    // One event on the first day, left out of every count by its channel.
    var event = ReferenceEvent(user: "user0", time: 5, sequence: 0, offset: 200, name: "buy")
    event.channel = "develop"
    let bytes: [UInt8] = try EngineHarness.encode([event]).serializedBytes()
    let appender = RowAppender(engine: engine)
    let position = AppliedPosition(nextOffset: 201, receivedMilliseconds: 0)
    try new.write { connection in
      try bytes.withUnsafeBytes {
        try appender.append(
          $0, appID: "shop", clock: EventClock(received: 0, offset: 0, isImport: true))
      }
      try engine.willCommit(position, in: connection)
    }
    engine.didCommit(position)
    try check(engine)
    try engine.mergeIfDue(rows: 1)
    try engine.mergeIfDue(rows: 1)
    #expect(try versions() == [2, 1, 1, 1, 1])
    try check(engine)
  }
}
