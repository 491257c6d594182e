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

  /// Contexts of which some follow from others, mostly; fields of all rows of an event, of some, and of few.
  private static func following(_ rows: Int) -> [ReferenceEvent] {
    var random = SeededRandom(seed: 5)
    return (0..<rows).map { index in
      let user = index * 7_919 % 300
      var event = ReferenceEvent(
        user: "user\(user)", time: Int64(index % 3) * 86_400_000 + Int64(index) * 10_000,
        sequence: UInt64(index), offset: UInt64(index), name: index % 3 == 0 ? "buy" : "$page_view")
      event.page = "pages/\(index / 2 % 40)"
      let share = user % 45
      event.context = [
        "share_id": .text("share \(share)"),
        // One in 100 is of another province than its share.
        "province": .text("province \(random.oneIn(100) ? 99 : share % 7)"),
        "campaign_source": .text("source \(share % 4)"), "age": .integer(Int64(20 + share % 9)),
        "platform": .text(user % 13 == 0 ? "ios" : "android"),
      ]
      event.scene = Int32(1_001 + user % 5)
      if index % 3 == 0 { event.fields["price"] = .double(Double(index % 90) / 10) }
      if index % 3 != 0, random.oneIn(4) { event.fields["query"] = .text("query \(index % 50)") }
      if random.oneIn(50) { event.fields["note"] = .text("note \(index % 9)") }
      return event
    }
  }

  @Test func `columns that follow from others are read as they came, sealed, compressed and merged again`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let events = Self.following(6_000)
    let asked = [
      "share_id", "province", "campaign_source", "age", "platform", "scene", "page_path", "query", "price", "note",
    ]
    func answers() throws -> [TrendAnswer] {
      try asked.map { field in
        try harness.engine.trend(
          TrendQuery(
            appID: "shop", days: 0...3, filter: .condition(FilterCondition(field, .exists)),
            breakdown: field),
          control: QueryControl())
      }
    }
    try harness.apply(events[..<4_000].map { [$0] }, receivedMilliseconds: 0)
    let first = try answers()
    try harness.engine.mergeIfDue(rows: 1)
    #expect(try answers() == first)
    let before = try bytes(harness)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    #expect(try bytes(harness) < before)
    try harness.reopen()
    #expect(try answers() == first)
    try harness.apply(events[4_000...].map { [$0] }, receivedMilliseconds: 0)
    let all = try answers()
    try harness.engine.mergeIfDue(rows: 1)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    #expect(try answers() == all)
    try harness.reopen()
    #expect(try answers() == all)
  }

  @Test func `users whose names are of one length are compressed by place, and found again`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let names = (0..<12_000).map { (index: Int) -> String in
      let random = String(UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15, radix: 36)
      return "o\(1_000_000 + index)\(random.suffix(11))abcdefgh"
    }.filter { $0.utf8.count == 27 }
    #expect(names.count > 11_000)
    let events = names.enumerated().map { index, name in
      ReferenceEvent(
        user: name, time: Int64(index), sequence: 0, offset: UInt64(index), name: "buy")
    }
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    func chunks() throws -> [Int] {
      try harness.store.read {
        try $0.query("SELECT encoding FROM dictionary WHERE kind = 1 ORDER BY first_code") { $0.int(0) }
      }
    }
    #expect(try chunks() == [2])
    try harness.reopen()
    // Each is known: none gets another code.
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 0)
    #expect(try chunks() == [2])
    let users = try harness.engine.trend(
      TrendQuery(appID: "shop", days: 0...0, granularity: .all), control: QueryControl()
    ).points[0].metrics.visitUsers
    #expect(users == UInt64(names.count))
  }

  @Test func `a damaged compressed column is refused`() throws {
    let harness = try harness(4_000)
    try harness.engine.mergeIfDue(rows: 1)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    try harness.store.write { connection in
      let data = try connection.first("SELECT data FROM segment_column WHERE number = 1") { $0.bytes(0) }
      var damaged = try #require(data)
      damaged[damaged.count / 2] ^= 4
      try connection.execute(
        "UPDATE segment_column SET data = ? WHERE number = 1", [.blob(damaged)])
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
    try harness.engine.mergeIfDue(rows: 1, .cheap)
    #expect(harness.engine.unsealedRows == 1)
    #expect(try answers(harness.engine).map(\.points) == before.map(\.points))
    try harness.reopen()
    #expect(harness.engine.unsealedRows == 1)
    let all = try answers(harness.engine)
    try harness.engine.mergeIfDue(rows: 1)
    #expect(harness.engine.unsealedRows == 0)
    #expect(try answers(harness.engine) == all)
  }

  /// While the log is far ahead: the last day, half of which is still to come, would be written twice.
  @Test func `a day that the log has not gone past waits, and its row blocks stay as they are`() throws {
    let harness = try harness(0)
    let day: Int64 = 86_400_000
    func apply(_ count: Int, at time: Int64) throws {
      let events = (0..<count).map { number in
        var event = ReferenceEvent(
          user: "u\(number % 7)", time: time + Int64(number), sequence: 0, offset: UInt64(number), name: "buy")
        event.context = ["province": .text("province \(number % 3)")]
        event.fields = ["price": .double(Double(number) + 3.5)]
        return event
      }
      try harness.apply([events], receivedMilliseconds: 0)
      try harness.engine.mergeIfDue(rows: 1, .past)
    }
    func blocks() throws -> [Int64] {
      try harness.store.read { try $0.query("SELECT id FROM row_block ORDER BY id") { $0.int64(0) } }
    }
    try apply(3, at: day - 1)
    #expect(harness.engine.unsealedRows == 2)
    let left = try blocks()
    try apply(5, at: day + 1_000)
    #expect(harness.engine.unsealedRows == 7)
    try apply(2, at: 2 * day)
    #expect(harness.engine.unsealedRows == 2)
    #expect(try blocks().allSatisfy { !left.contains($0) })
    let before = try blocks()
    try apply(2, at: day + 5_000)
    #expect(harness.engine.unsealedRows == 2)
    #expect(try blocks() == before)
    try apply(4, at: 2 * day + 9)
    #expect(harness.engine.unsealedRows == 6)
    #expect(try blocks().count == 2)
    let all = try answers(harness.engine)
    try harness.reopen()
    #expect(harness.engine.unsealedRows == 6)
    #expect(try answers(harness.engine) == all)
    try harness.engine.mergeIfDue(rows: 1)
    #expect(try answers(harness.engine) == all)
    #expect(try blocks().isEmpty)
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
