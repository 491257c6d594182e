import Events
import Foundation
import LiveStats
import Messages
import Store
import Subscription
import TestKit
import Testing

/// After an erasure answers are those of a store that never saw the user, and no byte of the user is in the files.
@Suite struct LiveErasureTests {
  private static let now = LiveFixture.now
  private static let minute = now / 60_000

  private func batches(_ random: inout SeededRandom, count: Int, users: Int) -> [[Fact]] {
    (0..<count).map { number in
      let user = random.below(users)
      return (0...random.below(5)).map { index in
        var fact = Fact(
          user: "open-\(user)-", time: Self.now - Int64(random.below(60 * 60_000)),
          sequence: UInt64(number * 10 + index))
        fact.name = random.pick(["$page_view", "$page_view", "click", "$launch", "$background"])
        fact.page = random.pick(["", "pages/a", "pages/b", "pages/of-\(user)-"])
        fact.isPassive = random.oneIn(7)
        return fact
      }
    }
  }

  private func answers(_ fixture: LiveFixture) throws -> [String] {
    var lines: [String] = []
    for page in ["", "pages/a", "pages/b"] {
      for width in [1, 5, 60] as [Int64] {
        let range = SeriesRange(
          firstMinute: Self.minute / 60 * 60 - 120, bucketMinutes: width, bucketCount: Int(240 / width))
        lines += try fixture.series(range, page: page).map { "\(page) \($0)" }
      }
    }
    return try lines + fixture.read { reader in
      let list = try reader.pages(Self.minute - 100..<Self.minute + 1, limit: 100)
      return ["\(list)", "\(reader.basis)"]
    }
  }

  /// The first line that differs; nil: none.
  private func difference(_ a: [String], _ b: [String]) -> String? {
    a.count == b.count ? zip(a, b).first { $0 != $1 }.map { "\($0) | \($1)" } : "\(a.count) and \(b.count) lines"
  }

  @Test(arguments: 0..<16) func `nothing of an erased user is left, and the others are as they were`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 400)
    let rules: SessionRules = seed % 2 == 0 ? .classic : .everyShow
    let (grown, never) = (try LiveFixture(rules: rules), try LiveFixture(rules: rules))
    let users = 2 + random.below(8)
    let erased = Set((0..<users).filter { _ in random.below(2) == 0 }.map { "open-\($0)-" })
    for _ in 0..<2 {
      var rest = batches(&random, count: 60, users: users)[...]
      while !rest.isEmpty {
        let some = rest.prefix(1 + random.below(12))
        rest = rest.dropFirst(some.count)
        try grown.commit(some.map { ProtoCollectRequest($0) })
        try never.commit(
          some.filter { !erased.contains($0[0].user) }.map { ProtoCollectRequest($0) })
        if random.oneIn(5) { try grown.restart() }
      }
      #expect(try erased.isEmpty || difference(answers(grown), answers(never)) != nil)
      for user in erased {
        #expect(try !grown.erase(user).isEmpty, "watchers are told")
        if random.oneIn(3) { try grown.restart() }
      }
      #expect(try difference(answers(grown), answers(never)) == nil, "seed \(seed)")
      #expect(grown.scrub.waiting == erased.count)
      #expect(try grown.scrub.scrub())
      #expect(grown.scrub.waiting == 0)
      let bytes = try grown.files()
      for user in 0..<users where erased.contains("open-\(user)-") {
        for mark in ["open-\(user)-", "pages/of-\(user)-"] {
          #expect(bytes.range(of: Data(mark.utf8)) == nil, "\(mark) is still in the files")
        }
      }
    }
    // They come again: as strangers.
    let again = batches(&random, count: 60, users: users)
    for fixture in [grown, never] { try fixture.commit(again.map { ProtoCollectRequest($0) }) }
    #expect(try difference(answers(grown), answers(never)) == nil, "seed \(seed), again")
  }

  @Test func `a user among thousands of one minute is taken out of the part that holds them`() throws {
    let fixture = try LiveFixture()
    for slice in 0..<3 {
      try fixture.commit(
        (0..<1_200).map {
          ProtoCollectRequest([Fact(user: "user\(slice * 1_200 + $0)", time: Self.now, page: "pages/a")])
        })
    }
    let range = SeriesRange(firstMinute: Self.minute / 5 * 5, bucketMinutes: 5, bucketCount: 1)
    #expect(try fixture.series(range)[0].users == 3_600)
    for (number, user) in ["user7", "user1500", "user3599"].enumerated() {
      try fixture.erase(user)
      if number == 1 { try fixture.restart() }
      for page in ["", "pages/a"] {
        let point = try fixture.series(range, page: page)[0]
        let left = UInt64(3_599 - number)
        #expect([point.users, point.visits, point.opens, point.events] == [left, left, left, left])
      }
    }
  }

  @Test func `a row that an earlier release wrote leaves counts without a name, and nothing else`() throws {
    let fixture = try LiveFixture()
    try fixture.commit(
      ["a", "b"].map { ProtoCollectRequest([Fact(user: "open-\($0)-", time: Self.now, page: "pages/p")]) })
    try fixture.store.write { connection in
      let timeline = try connection.first("SELECT timeline FROM live_user WHERE open_id = 'open-a-'") { row in
        var reader = PackedReader(row.blob(0))
        return try OpenTimeline(from: &reader)
      }
      var writer = PackedWriter()
      try #require(timeline).encode(into: &writer)
      try connection.execute(
        "UPDATE live_user SET timeline = ? WHERE open_id = 'open-a-'", [.blob(writer.bytes)])
    }
    try fixture.erase("open-a-")
    let range = SeriesRange(firstMinute: Self.minute, bucketMinutes: 1, bucketCount: 1)
    let point = try fixture.series(range)[0]
    #expect([point.users, point.opens, point.visits, point.events] == [1, 1, 2, 2])
    try fixture.scrub.scrub()
    #expect(try fixture.files().range(of: Data("open-a-".utf8)) == nil)
  }

  @Test func `what the sweep left in free pages goes too, also after a restart`() throws {
    let fixture = try LiveFixture(retentionMinutes: 60)
    try fixture.commit(
      (0..<200).map { ProtoCollectRequest([Fact(user: "open-\($0)-", time: Self.now, page: "pages/p")]) })
    fixture.clock.advance(5 * 3_600_000)
    var sweep = LiveSweep()
    let horizon = fixture.view.horizonMinute
    let deleted = try fixture.store.write { try sweep.step($0, horizonMinute: horizon) }
    #expect(deleted.users == 200)
    fixture.store.checkpoint()
    #expect(try fixture.files().range(of: Data("open-77-".utf8)) != nil, "else this tests nothing")
    try fixture.erase("open-77-")
    try fixture.restart()
    #expect(fixture.scrub.waiting == 1)
    try fixture.scrub.scrub()
    #expect(fixture.scrub.waiting == 0)
    #expect(try fixture.files().range(of: Data("open-77-".utf8)) == nil)
  }

  @Test func `a reader of an older state holds only the last step up`() throws {
    let fixture = try LiveFixture()
    try fixture.commit([ProtoCollectRequest([Fact(user: "open-a-", time: Self.now, page: "pages/p")])])
    try fixture.store.read { connection in
      // The reader's state begins with its first question.
      _ = try connection.first("SELECT count(*) FROM live_user") { $0.int(0) }
      try fixture.erase("open-a-")
      #expect(try !fixture.scrub.scrub())
      #expect(fixture.scrub.waiting == 1)
    }
    #expect(try fixture.scrub.scrub())
    #expect(try fixture.files().range(of: Data("open-a-".utf8)) == nil)
  }
}
