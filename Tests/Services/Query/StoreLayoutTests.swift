import Events
import Query
import Store
import TestKit
import Testing

/// What a day looks like in the file and in memory changes no answer.
@Suite struct StoreLayoutTests {
  private func harness(_ rows: Int) throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let events = (0..<rows).map { index in
      var event = ReferenceEvent(
        user: "user\(index * 7_919 % 300)", time: Int64(index % 8) * 86_400_000 + Int64(index) * 1_000,
        sequence: UInt64(index), offset: UInt64(index), name: index % 3 == 0 ? "buy" : "$page_view")
      event.page = "pages/\(index % 40)"
      event.context = ["province": .text("province \(index % 300 % 30)")]
      event.fields = index % 3 == 0 ? ["price": .double(Double(index % 90) / 10)] : [:]
      return event
    }
    for begin in stride(from: 0, to: rows, by: 500) {
      try harness.apply(
        events[begin..<min(begin + 500, rows)].map { [$0] }, receivedMilliseconds: 0)
    }
    return harness
  }

  private func answers(_ engine: QueryEngine) throws -> [TrendAnswer] {
    try [nil, FilterTree.condition(FilterCondition("price", .gt, [.double(4)]))].map { filter in
      try engine.trend(
        TrendQuery(appID: "shop", days: 0...9, filter: filter, breakdown: "province"),
        control: QueryControl())
    }
  }

  private func bytes(_ harness: EngineHarness) throws -> Int {
    try harness.store.read {
      try $0.first("SELECT sum(length(data)) FROM segment_column") { $0.int(0) } ?? 0
    }
  }

  @Test func `a compressed day takes less and answers the same`() throws {
    let harness = try harness(4_000)
    let unsealed = try answers(harness.engine)
    try harness.engine.mergeIfDue(rows: 1)
    let before = try bytes(harness)
    #expect(try answers(harness.engine) == unsealed)
    #expect(try harness.engine.compressIfQuiet(seconds: 3_600) == false)
    #expect(harness.engine.looseDays == 8)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    #expect(harness.engine.looseDays == 0)
    #expect(try bytes(harness) < before * 9 / 10)
    #expect(try answers(harness.engine) == unsealed)
    try harness.reopen()
    #expect(harness.engine.looseDays == 0)
    #expect(try answers(harness.engine) == unsealed)
  }

  @Test func `a damaged compressed column is refused`() throws {
    let harness = try harness(4_000)
    try harness.engine.mergeIfDue(rows: 1)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    try harness.store.write { connection in
      let data = try connection.first("SELECT data FROM segment_column WHERE number = 3") { $0.bytes(0) }
      var damaged = try #require(data)
      damaged[damaged.count / 2] ^= 4
      try connection.execute(
        "UPDATE segment_column SET data = ? WHERE number = 3", [.blob(damaged)])
    }
    try harness.reopen()
    #expect(throws: (any Error).self) { try answers(harness.engine) }
  }

  @Test(arguments: [0, 60_000, 150_000, 64 << 20]) func `the cache keeps its budget and changes no answer`(
    _ budget: Int
  ) throws {
    let harness = try harness(3_000)
    let expected = try answers(harness.engine)
    try harness.engine.mergeIfDue(rows: 1)
    let engine = try QueryEngine(store: harness.store, cacheBytesMax: budget)
    for _ in 0..<3 {
      #expect(try answers(engine) == expected)
      #expect(engine.cacheBytes <= budget)
    }
    #expect(budget < 1 << 20 || engine.cacheBytes > 3_000 * 17)
    engine.giveMemoryBack()
    #expect(engine.cacheBytes == 0)
  }

  @Test func `a day that few rows come to is not written again for each of them`() throws {
    let harness = try harness(4_000)
    try harness.engine.mergeIfDue(rows: 1)
    let before = try answers(harness.engine)
    var late = ReferenceEvent(user: "late", time: 5, sequence: 0, offset: 4_000, name: "buy")
    late.channel = "trial"
    var fresh = late
    fresh.time = 9 * 86_400_000
    try harness.apply([[late], [fresh]], receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1, leavesFew: true)
    #expect(harness.engine.unsealedRows == 1)
    #expect(try answers(harness.engine).map(\.points) == before.map(\.points))
    try harness.reopen()
    #expect(harness.engine.unsealedRows == 1)
    let all = try answers(harness.engine)
    try harness.engine.mergeIfDue(rows: 1)
    #expect(harness.engine.unsealedRows == 0)
    #expect(try answers(harness.engine) == all)
  }

  @Test func `unused pages are given back to the disk`() throws {
    let harness = try harness(4_000)
    func pages() throws -> Int {
      try harness.store.read { try $0.first("PRAGMA page_count") { $0.int(0) } ?? 0 }
    }
    for _ in 0..<3 {
      try harness.engine.mergeIfDue(rows: 1)
      while try harness.engine.compressIfQuiet(seconds: 0) {}
    }
    try harness.store.write { try $0.execute("CREATE TABLE filler(data BLOB)") }
    for _ in 0..<40 {
      try harness.store.write { try $0.execute("INSERT INTO filler VALUES (zeroblob(20000))") }
    }
    try harness.store.write { try $0.execute("DELETE FROM filler") }
    let before = try pages()
    while try harness.engine.shrinkFile() {}
    #expect(try pages() < before - 50)
  }
}
