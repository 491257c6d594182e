import Events
import Messages
import Store
import SwiftProtobuf
import TestKit
import Testing
import UserProfile

@Suite("Applying events to people")
struct ProfileApplyingTests {
  private static let now: Int64 = 1_763_790_000_000

  private func batches(_ random: inout SeededRandom, count: Int, users: Int) -> [FactBatch] {
    var sequence: UInt64 = 0
    return (0..<count).map { _ in
      let user = "u\(random.below(users))"
      var time = Self.now - Int64(random.below(40 * 86_400)) * 1_000
      var batch = FactBatch(facts: [])
      batch.gender = random.pick(["", "female", "male"])
      batch.province = random.pick(["", "北京", "广东", "浙江", "p\(random.below(30))"])
      batch.facts = (0...random.below(6)).map { _ in
        sequence += 1
        time += Int64(random.below(1_000_000))
        var fact = Fact(user: user, time: time, sequence: sequence)
        fact.name = random.pick(["$page_view", "click", "$launch", "$foreground", "$background"])
        fact.page = random.pick(["", "pages/a", "pages/b"])
        if random.oneIn(9) { fact.user = "u\(random.below(users))" }
        if random.oneIn(9) { fact.isPassive = true }
        if random.oneIn(12) { fact.channel = random.pick([.trial, .develop]) }
        if random.oneIn(12) { fact.scene = random.pick([1129, 1001]) }
        if random.oneIn(9) { fact.province = random.pick(["上海", "四川"]) }
        return fact
      }
      return batch
    }
  }

  @Test(
    "Random events in disorder, cut into random transactions, with restarts, give the plain figures",
    arguments: [UInt64](1...12))
  func random(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let fixture = try ProfileFixture(
      rules: seed % 2 == 0 ? .classic : .everyShow,
      zone: seed % 3 == 0 ? "America/New_York" : "Asia/Shanghai")
    let users = 1 + random.below(20)
    let batches = batches(&random, count: 150, users: users)
    var rest = batches[...]
    while !rest.isEmpty {
      let transaction = rest.prefix(1 + random.below(25))
      rest = rest.dropFirst(transaction.count)
      try fixture.commit(transaction.map(\.message))
      if random.oneIn(6) { try fixture.restart() }
    }
    let reference = ProfileReference(
      facts: batches.flatMap(\.resolved), rules: fixture.rules, day: fixture.day)
    for user in 0..<users { try expectEqual(fixture, reference, "u\(user)", seed) }
    for last in stride(from: fixture.day(Self.now) - 30, through: fixture.day(Self.now), by: 7) {
      for count in [1, 7, 30] as [Int32] {
        let days = (last - count + 1)...last
        let portrait = try fixture.portrait(days)
        #expect(portrait.active == reference.portrait(days, new: false), "seed \(seed), \(days)")
        #expect(portrait.new == reference.portrait(days, new: true), "seed \(seed), \(days)")
        let totals = try fixture.totals(days)
        #expect(totals == reference.totals(days), "seed \(seed), \(days)")
      }
    }
  }

  private func expectEqual(
    _ fixture: ProfileFixture, _ reference: ProfileReference, _ user: String, _ seed: UInt64
  ) throws {
    let expected = reference.user(user)
    guard let state = try fixture.user(user) else {
      #expect(expected == nil, "seed \(seed), \(user)")
      return
    }
    let found = ProfileReference.User(
      first: state.firstActiveMilliseconds, last: state.lastActiveMilliseconds,
      opens: Int(state.opens(fixture.rules)), pageViews: Int(state.pageViews),
      events: Int(state.events), days: Int(state.days.count),
      gender: state.attributes.text(.gender), province: state.attributes.text(.province),
      page: state.attributes.text(.pagePath),
      excluded: Int(state.excluded.scene + state.excluded.channel))
    #expect(found == expected, "seed \(seed), \(user)")
  }

  @Test("The latest event time wins, not the latest arrival; each attribute has its time")
  func latestWins() throws {
    let fixture = try ProfileFixture()
    try fixture.commit([
      FactBatch(gender: "female", province: "北京", facts: [Fact(user: "a", time: 2_000)]).message
    ])
    try fixture.commit([
      FactBatch(gender: "", province: "广东", facts: [Fact(user: "a", time: 1_000)]).message
    ])
    try fixture.commit([
      FactBatch(gender: "male", facts: [Fact(user: "a", time: 3_000)]).message
    ])
    let user = try #require(try fixture.user("a"))
    #expect(user.attributes[.province]?.value == .text("北京"))
    #expect(user.attributes[.province]?.timeMilliseconds == 2_000)
    #expect(user.attributes[.gender]?.value == .text("male"))
    #expect(user.attributes[.gender]?.timeMilliseconds == 3_000)
  }

  @Test("A late event from before the first one moves the day on which a user is new")
  func firstDayMoves() throws {
    let fixture = try ProfileFixture()
    try fixture.commit([FactBatch(facts: [Fact(user: "a", time: Self.now)]).message])
    let today = fixture.day(Self.now)
    #expect(try fixture.portrait(today...today).new.users == 1)
    try fixture.commit([
      FactBatch(facts: [Fact(user: "a", time: Self.now - 86_400_000)]).message
    ])
    #expect(try fixture.portrait(today...today).new.users == 0)
    #expect(try fixture.portrait((today - 1)...(today - 1)).new.users == 1)
    #expect(try fixture.portrait((today - 1)...today).active.users == 1)
  }

  @Test("A transaction that is rolled back leaves nothing behind, and can be done again")
  func rolledBack() throws {
    struct Crash: Error {}
    let fixture = try ProfileFixture()
    let batch = FactBatch(gender: "female", facts: [Fact(user: "a", time: Self.now)])
    #expect(throws: Crash.self) {
      try fixture.store.write { connection in
        let bytes: [UInt8] = try batch.message.serializedBytes()
        try bytes.withUnsafeBytes { message in
          let reader = BatchReader()
          try reader.read(message)
          try fixture.applier.apply(
            appID: ProfileFixture.appID, reader, message: message,
            clock: EventClock(received: 0, offset: 0, isImport: true), connection: connection
          ) {
            .init(
              calendar: fixture.calendar, session: .classic,
              exclusions: DefaultExclusions(platform: "wechat"))
          }
        }
        try fixture.applier.flush(connection)
        throw Crash()
      }
    }
    fixture.applier.discard()
    #expect(try fixture.user("a") == nil)
    try fixture.commit([batch.message])
    #expect(try fixture.user("a")?.events == 1)
    let today = fixture.day(Self.now)
    #expect(try fixture.portrait(today...today).active.groups[.gender] == ["female": 1])
  }

  @Test("Another table of scenes holds for what follows it in the log, whatever a transaction holds")
  func changedScenes() throws {
    var override = SceneOverride(code: 1001)
    override.isExcluded = true
    let scenes = SceneTable.wechat.applying([override])
    let batches = (0..<3).map {
      FactBatch(facts: [Fact(user: "a", time: Self.now + $0, scene: 1001)]).message
    }
    let fixture = try ProfileFixture()
    try fixture.commit(batches, then: scenes)
    #expect(try fixture.user("a")?.events == 1)
    try fixture.commit(batches)
    #expect(try fixture.user("a")?.events == 4)
  }

  @Test("Users beyond one chunk of the columns are counted")
  func manyUsers() throws {
    let fixture = try ProfileFixture()
    let users = ProfileLimits.chunkUsers + 300
    for first in stride(from: 0, to: users, by: 1_000) {
      try fixture.commit(
        (first..<min(first + 1_000, users)).map {
          FactBatch(
            gender: $0 % 3 == 0 ? "female" : "male", facts: [Fact(user: "u\($0)", time: Self.now)]
          ).message
        })
    }
    let today = fixture.day(Self.now)
    let portrait = try fixture.portrait(today...today)
    let women = (users + 2) / 3
    #expect(portrait.active.users == UInt64(users))
    #expect(
      portrait.active.groups[.gender]
        == ["female": UInt64(women), "male": UInt64(users - women)])
    #expect(portrait.active.groups[.province] == ["": UInt64(users)])
  }

  @Test("Values beyond the limit are shown as (other)")
  func manyValues() throws {
    let fixture = try ProfileFixture()
    let users = ProfileLimits.portraitValuesMax + 5
    try fixture.commit(
      (0..<users).map {
        FactBatch(province: "p\($0)", facts: [Fact(user: "u\($0)", time: Self.now)]).message
      })
    let today = fixture.day(Self.now)
    let groups = try fixture.portrait(today...today).active.groups[.province]
    #expect(groups?["(other)"] == 5)
    #expect(groups?.count == ProfileLimits.portraitValuesMax + 1)
  }

  @Test("Damaged state is an error", arguments: [[], [2], [1, 1, 1], [1, 0, 0, 0, 0, 0, 0, 0, 9]])
  func damaged(bytes: [UInt8]) {
    #expect(throws: PackedError.self) {
      try bytes.withUnsafeBytes { _ = try UserState(from: $0) }
    }
  }
}
