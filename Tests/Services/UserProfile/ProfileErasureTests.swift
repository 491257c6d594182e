import Events
import Foundation
import Messages
import Store
import Subscription
import TestKit
import Testing
import UserProfile

/// After an erasure answers are those of a store that never saw the user, and no byte of the user is in the files.
@Suite struct ProfileErasureTests {
  private static let now: Int64 = 1_763_790_000_000

  private func batches(_ random: inout SeededRandom, count: Int, users: Int) -> [FactBatch] {
    (0..<count).map { number in
      let user = random.below(users)
      var batch = FactBatch(facts: [])
      batch.gender = random.pick(["", "female", "male"])
      batch.province = random.pick(["", "shared", "province-\(user)-"])
      batch.facts = (0...random.below(5)).map { index in
        var fact = Fact(
          user: "open-\(user)-", time: Self.now - Int64(random.below(40 * 86_400)) * 1_000,
          sequence: UInt64(number * 10 + index))
        fact.name = random.pick(["$page_view", "click", "$launch"])
        fact.page = random.pick(["", "pages/a", "pages/of-\(user)-"])
        fact.isPassive = random.oneIn(9)
        if random.oneIn(9) { fact.channel = .trial }
        if random.oneIn(9) { fact.scene = 1129 }
        return fact
      }
      return batch
    }
  }

  private func answers(_ fixture: ProfileFixture, users: Int) throws -> [String] {
    var lines = ["\(try fixture.latestMilliseconds())"]
    for last in stride(from: fixture.day(Self.now) - 45, through: fixture.day(Self.now) + 1, by: 3) {
      for count in [1, 7, 30] as [Int32] {
        let days = (last - count + 1)...last
        let portrait = try fixture.portrait(days)
        let groups = [portrait.active, portrait.new].map { raw in
          // An app without users has no groups, or empty ones.
          let sorted = raw.groups.filter { !$0.value.isEmpty }
            .sorted { $0.key.rawValue < $1.key.rawValue }
            .map { "\($0.key) \($0.value.sorted { $0.key < $1.key })" }
          return "\(raw.users) \(sorted)"
        }
        lines.append("\(days) \(groups) \(try fixture.totals(days))")
      }
    }
    for user in 0..<users {
      guard let state = try fixture.user("open-\(user)-") else { continue }
      lines.append(
        "\(user) \(state.firstActiveMilliseconds) \(state.lastActiveMilliseconds) \(state.events) \(state.excluded)")
    }
    return lines
  }

  /// What rows there are beside those of users.
  private func rows(_ fixture: ProfileFixture) throws -> Set<String> {
    try fixture.store.read { connection in
      let values = try connection.query("SELECT attribute, value FROM code_value") {
        "value \($0.int(0)) \($0.string(1))"
      }
      let days = try connection.query("SELECT day, events, scene, channel FROM day_count") {
        "count \($0.int(0)) \($0.int(1)) \($0.int(2)) \($0.int(3))"
      }
      let bits = try connection.query("SELECT kind, day FROM day_users") {
        "users \($0.int(0)) \($0.int(1))"
      }
      return Set(values + days + bits)
    }
  }

  /// The first line that differs; nil: none.
  private func difference(_ a: [String], _ b: [String]) -> String? {
    a.count == b.count ? zip(a, b).first { $0 != $1 }.map { "\($0) | \($1)" } : "\(a.count) and \(b.count) lines"
  }

  @Test(arguments: 0..<16) func `nothing of an erased user is left, and the others are as they were`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 900)
    let (grown, never) = (try ProfileFixture(), try ProfileFixture())
    let users = 2 + random.below(8)
    let erased = Set((0..<users).filter { _ in random.below(2) == 0 }.map { "open-\($0)-" })
    for _ in 0..<2 {
      var rest = batches(&random, count: 60, users: users)[...]
      while !rest.isEmpty {
        let some = rest.prefix(1 + random.below(12))
        rest = rest.dropFirst(some.count)
        try grown.commit(some.map(\.message))
        try never.commit(some.filter { !erased.contains($0.facts[0].user) }.map(\.message))
        if random.oneIn(5) { try grown.restart() }
      }
      #expect(
        try erased.isEmpty || difference(answers(grown, users: users), answers(never, users: users)) != nil)
      for user in erased {
        try grown.erase(user)
        if random.oneIn(3) { try grown.restart() }
      }
      #expect(
        try difference(answers(grown, users: users), answers(never, users: users)) == nil, "seed \(seed)")
      // Values that nobody has any more go too, whoever had them.
      #expect(try erased.isEmpty || rows(grown).isSubset(of: rows(never)), "seed \(seed)")
      #expect(grown.scrub.waiting == erased.count)
      #expect(try grown.scrub.scrub())
      #expect(grown.scrub.waiting == 0)
      let bytes = try grown.files()
      for user in 0..<users where erased.contains("open-\(user)-") {
        for mark in ["open-\(user)-", "pages/of-\(user)-", "province-\(user)-"] {
          #expect(bytes.range(of: Data(mark.utf8)) == nil, "\(mark) is still in the files")
        }
      }
    }
    // They come again: as strangers.
    let again = batches(&random, count: 60, users: users)
    for fixture in [grown, never] { try fixture.commit(again.map(\.message)) }
    #expect(
        try difference(answers(grown, users: users), answers(never, users: users)) == nil, "seed \(seed), again")
  }

  @Test func `an erasure that is rolled back changes nothing, and a user of another app stays`() throws {
    struct Crash: Error {}
    let fixture = try ProfileFixture()
    var batch = FactBatch(facts: [Fact(user: "open-a-", time: Self.now)])
    batch.province = "shared"
    try fixture.commit([batch.message])
    let before = try answers(fixture, users: 1)
    for (appID, fails) in [(ProfileFixture.appID, true), ("other", false)] {
      do {
        try fixture.store.write { connection in
          let wasKnown = try fixture.applier.erase(
            appID: appID, connection: connection,
            rules: {
              .init(
                calendar: fixture.calendar, session: .classic,
                exclusions: DefaultExclusions(platform: "wechat"))
            }, where: { _ in true })
          #expect(wasKnown == fails)
          try fixture.applier.flush(connection)
          if fails { throw Crash() }
        }
      } catch is Crash {
        fixture.applier.discard()
      }
    }
    #expect(try answers(fixture, users: 1) == before)
    #expect(try fixture.user("open-a-") != nil)
    try fixture.commit([batch.message])
    #expect(try fixture.user("open-a-")?.events == 2)
  }

  @Test func `a row of version 1 is read, and can be erased`() throws {
    let fixture = try ProfileFixture()
    let batches = ["a", "b"].map { FactBatch(facts: [Fact(user: "open-\($0)-", time: Self.now)]) }
    try fixture.commit(batches.map(\.message))
    try fixture.store.write { connection in
      var bytes = try #require(
        try connection.first("SELECT state FROM user WHERE open_id = 'open-a-'") { $0.bytes(0) })
      #expect(bytes[0] == 2)
      // Behind the timeline: the distance of the last event, which is none, and one day of one event.
      var tail = PackedWriter()
      tail.signed(0)
      var counted = CountedDays()
      counted.count(fixture.day(Self.now))
      counted.encode(into: &tail)
      #expect(bytes.suffix(tail.bytes.count) == tail.bytes[...])
      bytes.removeLast(tail.bytes.count)
      bytes[0] = 1
      try connection.execute("UPDATE user SET state = ? WHERE open_id = 'open-a-'", [.blob(bytes)])
    }
    #expect(try fixture.user("open-a-")?.lastEventMilliseconds == Self.now)
    let days = fixture.day(Self.now)...fixture.day(Self.now)
    try fixture.erase("open-a-")
    #expect(try fixture.user("open-a-") == nil)
    #expect(try fixture.portrait(days).active.users == 1)
    // Which days its events were of is not known: a count without a name.
    #expect(try fixture.totals(days).events == 2)
    try fixture.erase("open-b-")
    #expect(try fixture.totals(days).events == 1)
  }
}
