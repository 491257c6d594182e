import Events
import LiveStats
import Messages
import Store
import SwiftProtobuf
import TestKit
import Testing

@Suite("Counting by the minute")
struct LiveCountingTests {
  private static let now = LiveFixture.now

  /// Batches of a few users over three hours, in disorder: each user's own events too.
  private func batches(_ random: inout SeededRandom, count: Int, users: Int) -> [[Fact]] {
    var sequence: UInt64 = 0
    return (0..<count).map { _ in
      let user = "u\(random.below(users))"
      var time = Self.now - Int64(random.below(10_800_000))
      return (0...random.below(6)).map { _ in
        sequence += 1
        time += Int64(random.below(40_000))
        var fact = Fact(user: user, time: time, sequence: sequence)
        fact.name = random.pick([
          "$page_view", "$page_view", "click", "$launch", "$foreground", "$background",
        ])
        fact.page = random.pick(["", "pages/a", "pages/b", "pages/商品"])
        if random.oneIn(12) { fact.user = "u\(random.below(users))" }
        if random.oneIn(10) { fact.isPassive = true }
        if random.oneIn(15) { fact.channel = random.pick([.trial, .develop, .release]) }
        if random.oneIn(15) { fact.scene = random.pick([1129, 1001]) }
        return fact
      }
    }
  }

  private func expectEqual(
    _ fixture: LiveFixture, _ facts: [Fact], seed: UInt64
  ) throws {
    let reference = LiveReference(facts: facts, rules: fixture.rules)
    for width in [1, 5, 10, 30, 60] as [Int64] {
      let first = (Self.now / 60_000 - 240) / width * width
      let range = SeriesRange(
        firstMinute: first, bucketMinutes: width, bucketCount: Int(300 / width))
      for page in ["", "pages/a", "pages/b", "pages/商品", "pages/nowhere"] {
        let points = try fixture.series(range, page: page)
        #expect(points == reference.series(range, page: page), "seed \(seed), \(width) min, \(page)")
      }
    }
    let minutes = (Self.now / 60_000 - 100)..<(Self.now / 60_000)
    let pages = try fixture.read { try $0.pages(minutes, limit: 10) }
    #expect(pages.pages == reference.pages(minutes), "seed \(seed)")
    #expect(pages.pageCount == reference.pages(minutes).count, "seed \(seed)")
    let basis = try fixture.read { reader in
      _ = try reader.series(
        page: 0,
        SeriesRange(
          firstMinute: minutes.lowerBound, bucketMinutes: 1, bucketCount: minutes.count))
      return reader.basis
    }
    #expect(
      Int(basis.excludedScene + basis.excludedChannel) == reference.excluded(minutes),
      "seed \(seed)")
  }

  @Test(
    "Random events in disorder, cut into random transactions, with restarts in the middle, give the plain counts",
    arguments: [UInt64](1...12))
  func random(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let fixture = try LiveFixture(rules: seed % 2 == 0 ? .classic : .everyShow)
    let batches = batches(&random, count: 120, users: 1 + random.below(12))
    var rest = batches[...]
    while !rest.isEmpty {
      let transaction = rest.prefix(1 + random.below(20))
      rest = rest.dropFirst(transaction.count)
      try fixture.commit(transaction.map { ProtoCollectRequest($0) })
      if random.oneIn(6) { try fixture.restart() }
    }
    try expectEqual(fixture, batches.flatMap { $0 }, seed: seed)
  }

  @Test("A transaction that is rolled back leaves nothing behind, and can be done again")
  func rolledBack() throws {
    struct Crash: Error {}
    let fixture = try LiveFixture()
    let facts = [
      Fact(user: "a", time: Self.now, page: "pages/a"), Fact(user: "b", time: Self.now, page: "p"),
    ]
    try fixture.commit([ProtoCollectRequest([facts[0]])])
    #expect(throws: Crash.self) {
      try fixture.store.write { connection in
        let bytes: [UInt8] = try ProtoCollectRequest([facts[1]]).serializedBytes()
        try bytes.withUnsafeBytes { message in
          let reader = BatchReader()
          try reader.read(message)
          try fixture.applier.apply(
            appID: LiveFixture.appID, reader, message: message,
            clock: EventClock(received: 0, offset: 0, isImport: true), horizonMinute: 0,
            connection: connection
          ) { .init(session: .classic, exclusions: DefaultExclusions(platform: "wechat")) }
        }
        _ = try fixture.applier.flush(connection)
        throw Crash()
      }
    }
    fixture.applier.discard()
    try fixture.commit([ProtoCollectRequest([facts[1]])])
    try expectEqual(fixture, facts, seed: 0)
  }

  @Test("Another table of scenes holds for what follows it in the log, whatever a transaction holds")
  func changedScenes() throws {
    var override = SceneOverride(code: 1001)
    override.isExcluded = true
    let fixture = try LiveFixture()
    try fixture.commit(
      (0..<3).map { ProtoCollectRequest([Fact(user: "a", time: Self.now - 90_000 + $0, scene: 1001)]) },
      then: SceneTable.wechat.applying([override]))
    let basis = try fixture.read { reader in
      _ = try reader.series(
        page: 0,
        SeriesRange(firstMinute: Self.now / 60_000 - 5, bucketMinutes: 1, bucketCount: 5))
      return reader.basis
    }
    #expect(basis.excludedScene == 2)
  }

  @Test("Thousands of users of one minute are counted exactly, over parts and restarts")
  func manyUsers() throws {
    let fixture = try LiveFixture()
    var facts: [Fact] = []
    for round in 0..<3 {
      for slice in 0..<4 {
        let users = (slice * 700)..<(slice * 700 + 900 + round * 100)
        let new = users.map {
          Fact(user: "user\($0)", time: Self.now + Int64(round) * 60_000, page: "pages/a")
        }
        facts += new
        try fixture.commit(
          stride(from: 0, to: new.count, by: 100).map {
            ProtoCollectRequest(Array(new[$0..<min($0 + 100, new.count)]))
          })
      }
      try fixture.restart()
    }
    let reference = LiveReference(facts: facts, rules: .classic)
    for width in [1, 5] as [Int64] {
      let range = SeriesRange(
        firstMinute: Self.now / 60_000 / 5 * 5, bucketMinutes: width, bucketCount: 5)
      #expect(try fixture.series(range) == reference.series(range))
      #expect(try fixture.series(range, page: "pages/a") == reference.series(range, page: "pages/a"))
    }
  }

  @Test("A late event lands in its own minute and can move the beginning of an open")
  func late() throws {
    let fixture = try LiveFixture()
    let minute = Self.now / 60_000
    try fixture.commit([ProtoCollectRequest([Fact(user: "a", time: Self.now, page: "p")])])
    let range = SeriesRange(firstMinute: minute - 10, bucketMinutes: 1, bucketCount: 11)
    #expect(try fixture.series(range).map(\.opens) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    let changes = try fixture.commit([
      ProtoCollectRequest([Fact(user: "a", time: Self.now - 300_000, page: "q")])
    ])
    #expect(try fixture.series(range).map(\.opens) == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    #expect(try fixture.series(range, page: "q").map(\.opens).reduce(0, +) == 1)
    #expect(try fixture.series(range, page: "p").map(\.opens).reduce(0, +) == 0)
    #expect(Set(changes.filter { $0.page == 0 }.map(\.minute)) == [minute - 5, minute])
  }

  @Test("Events older than the retention are dropped and told of, others never")
  func retention() throws {
    let fixture = try LiveFixture(retentionMinutes: 60)
    let minute = Self.now / 60_000
    try fixture.commit([
      ProtoCollectRequest([
        Fact(user: "a", time: (minute - 60) * 60_000 + 59_999, page: "p"),
        Fact(user: "a", time: (minute - 59) * 60_000, page: "p"),
      ])
    ])
    let all = SeriesRange(firstMinute: minute - 100, bucketMinutes: 1, bucketCount: 101)
    #expect(try fixture.series(all).map(\.events).reduce(0, +) == 1)
    let dropped = try fixture.read { reader in
      _ = try reader.series(page: 0, all)
      return reader.basis.dropped
    }
    #expect(dropped == 1)
    let kept = SeriesRange(firstMinute: minute - 59, bucketMinutes: 1, bucketCount: 60)
    let none = try fixture.read { reader in
      _ = try reader.series(page: 0, kept)
      return reader.basis.dropped
    }
    #expect(none == 0)
    // An hour later the minute has left the answers, swept or not.
    fixture.clock.advance(3_600_000)
    #expect(try fixture.series(all).map(\.events).reduce(0, +) == 0)
  }
}
