import Dispatch
import Events
import Foundation
import Query
import Store
import TestKit
import Testing

/// An erased user leaves nothing in the files, and answers are those of a store that never saw the user. Random reports after
/// erasures: `RandomData`, which every report's test uses.
@Suite struct ErasureTests {
  private static let day: Int64 = 86_400_000

  private func harness() throws -> EngineHarness {
    try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
  }

  /// A batch with texts that nobody else has, and some that all have.
  private func batch(_ user: String, _ number: Int, _ random: inout SeededRandom) -> [ReferenceEvent] {
    (0..<(1 + random.below(5))).map { index in
      var event = ReferenceEvent(
        user: "open-\(user)-", time: Int64(random.below(6)) * Self.day + Int64(random.below(3_600_000)),
        sequence: UInt64(number * 10 + index), offset: 0,
        name: random.below(5) == 0 ? "event_\(user)_" : "$page_view")
      event.page = random.below(3) == 0 ? "pages/\(user)-" : "pages/shared"
      event.context = [
        "province": .text("province-\(user)-"), "platform": .text(random.pick(["ios", "android"])),
      ]
      event.fields = [
        "tag": .text(random.below(2) == 0 ? "tag-\(user)-" : "tag-shared"),
        "field_\(user)_": .text("value-\(user)-" + String(repeating: "x", count: random.below(400))),
      ]
      return event
    }
  }

  private func marks(_ user: String) -> [String] {
    [
      "open-\(user)-", "event_\(user)_", "pages/\(user)-", "province-\(user)-", "tag-\(user)-",
      "field_\(user)_", "value-\(user)-",
    ]
  }

  /// Every byte of the store's files.
  private func files(_ harness: EngineHarness) throws -> Data {
    var bytes = Data()
    for name in try FileManager.default.contentsOfDirectory(atPath: harness.folder.path) {
      bytes += try Data(contentsOf: harness.folder.appendingPathComponent(name))
    }
    return bytes
  }

  private func trend(_ harness: EngineHarness, _ breakdown: String?) throws -> TrendAnswer {
    var query = TrendQuery(appID: "shop", days: 0...9, granularity: .day)
    query.breakdown = breakdown
    query.breakdownLimit = 100
    return try harness.engine.trend(query, control: QueryControl())
  }

  /// Answers of both are equal but for the offset, by every breakdown.
  private func compare(_ one: EngineHarness, _ other: EngineHarness, _ comment: Comment) throws {
    for breakdown in [nil, "open_id", "page_path", "province", "event", "tag", "platform"] {
      let (a, b) = (try trend(one, breakdown), try trend(other, breakdown))
      #expect(a.points == b.points, comment)
      #expect(a.breakdown == b.breakdown, comment)
      #expect(a.info.lastEventMilliseconds == b.info.lastEventMilliseconds, comment)
      #expect(a.info.eventsRead == b.info.eventsRead, comment)
    }
    let query = FunnelQuery(
      appID: "shop", days: 0...9, steps: [.init(["$page_view"]), .init(["$page_view"])],
      windowMilliseconds: 86_400_000,
      breakdown: "open_id", breakdownLimit: 100)
    let (a, b) = (
      try one.engine.funnel(query, control: QueryControl()),
      try other.engine.funnel(query, control: QueryControl())
    )
    #expect(a.steps == b.steps && a.breakdown == b.breakdown, comment)
  }

  @Test(arguments: 0..<8) func `nothing of an erased user is left, and the others are as they were`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 31)
    let (grown, never) = (try harness(), try harness())
    let users = (0..<12).map { "u\(100 + $0)" }
    let erased = Set(users.filter { _ in random.below(2) == 0 })
    for number in 0..<120 {
      let user = random.pick(users)
      let batch = batch(user, number, &random)
      try grown.apply([batch], receivedMilliseconds: 6 * Self.day)
      if !erased.contains(user) { try never.apply([batch], receivedMilliseconds: 6 * Self.day) }
      if random.oneIn(20) { try grown.engine.mergeIfDue(rows: 1) }
      if random.oneIn(30) { try grown.reopen() }
    }
    let before = try files(grown)
    #expect(erased.allSatisfy { before.range(of: Data("open-\($0)-".utf8)) != nil })
    for user in erased {
      try grown.erase("open-\(user)-")
      if random.oneIn(4) { try grown.engine.mergeIfDue(rows: .max) }
      if random.oneIn(4) { try grown.reopen() }
    }
    try grown.engine.mergeIfDue(rows: .max)
    #expect(grown.engine.waitingErasures == 0)
    try checkFiles(grown, users, erased, "seed \(seed)")
    try compare(grown, never, "seed \(seed)")
    // The same people come again: they are new.
    for user in erased {
      let batch = batch(user, 900, &random)
      for harness in [grown, never] { try harness.apply([batch], receivedMilliseconds: 6 * Self.day) }
    }
    if random.below(2) == 0 { try grown.engine.mergeIfDue(rows: 1) }
    try compare(grown, never, "seed \(seed), again")
    try grown.reopen()
    try compare(grown, never, "seed \(seed), again and reopened")
  }

  private func checkFiles(
    _ harness: EngineHarness, _ users: [String], _ erased: Set<String>, _ comment: Comment
  ) throws {
    let bytes = try files(harness)
    for user in users {
      for mark in marks(user) where erased.contains(user) {
        #expect(bytes.range(of: Data(mark.utf8)) == nil, "\(comment): \(mark) is still in the files")
      }
      if !erased.contains(user) {
        #expect(bytes.range(of: Data("value-\(user)-".utf8)) != nil, comment)
      }
    }
  }

  @Test func `what comes between the erasure and the next merge keeps its texts`() throws {
    let harness = try harness()
    var random = SeededRandom(seed: 5)
    try harness.apply([batch("a", 1, &random), batch("b", 1, &random)], receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1)
    try harness.erase("open-a-")
    #expect(harness.engine.waitingErasures == 1)
    // Its texts are about to be swept, but are used again.
    try harness.apply([batch("a", 2, &random)], receivedMilliseconds: 0)
    let again = try trend(harness, "open_id")
    try harness.engine.mergeIfDue(rows: .max)
    try harness.reopen()
    let after = try trend(harness, "open_id")
    #expect(after.breakdown.count == 2 && again.breakdown.count >= 2)
    #expect(Set(after.breakdown.compactMap(\.value)) == [.text("open-a-"), .text("open-b-")])
    #expect(try trend(harness, "province").breakdown.count == 2)
  }

  @Test func `an erasure whose transaction fails changes nothing and comes again`() throws {
    struct Failure: Error {}
    let harness = try harness()
    var random = SeededRandom(seed: 6)
    try harness.apply([batch("a", 1, &random), batch("b", 1, &random)], receivedMilliseconds: 0)
    let before = try trend(harness, "open_id")
    #expect(throws: Failure.self) {
      try harness.transaction {
        try harness.engine.erase("shop", in: $0) { $0.elementsEqual("open-a-".utf8) }
        throw Failure()
      }
    }
    try harness.engine.mergeIfDue(rows: 1)
    #expect(try trend(harness, "open_id").breakdown == before.breakdown)
    try harness.erase("open-a-")
    try harness.engine.mergeIfDue(rows: .max)
    #expect(try trend(harness, "open_id").breakdown.map(\.value) == [.text("open-b-")])
  }

  @Test func `a merge between an erasure's commit and its end does not write the open_id back`() throws {
    let harness = try harness()
    var random = SeededRandom(seed: 8)
    // A chunk of the dictionary for each, which the merge puts together.
    for number in 0..<12 {
      try harness.apply([batch("m\(number)", number, &random)], receivedMilliseconds: 0)
    }
    try harness.store.write { connection in
      try harness.engine.erase("shop", in: connection) { $0.elementsEqual("open-m5-".utf8) }
      try harness.engine.willCommit(harness.position, in: connection)
    }
    try harness.engine.mergeIfDue(rows: 1)
    harness.engine.didCommit(harness.position)
    try harness.engine.mergeIfDue(rows: .max)
    #expect(harness.engine.waitingErasures == 0)
    try checkFiles(harness, ["m4", "m5", "m6"], ["m5"], "written back")
  }

  @Test func `a table of scenes that changes while an erasure ends brings no first time back`() throws {
    let harness = try harness()
    var random = SeededRandom(seed: 9)
    try harness.apply([batch("stays", 0, &random)], receivedMilliseconds: 0)
    for round in 0..<6 {
      try harness.apply([batch("r\(round)", round, &random)], receivedMilliseconds: 0)
      try harness.engine.mergeIfDue(rows: 1)
      try harness.erase("open-r\(round)-")
      try redefineBetween(harness, isExcluded: round % 2 == 0)
      #expect(try trend(harness, nil).points.last?.metrics.visitTotal == 1, "round \(round)")
    }
  }

  /// Changes the table of scenes in the moment in which the days without the user are in force but nobody has been told, and shows
  /// the change once the merge has ended.
  private func redefineBetween(_ harness: EngineHarness, isExcluded: Bool) throws {
    var override = SceneOverride(code: 1001)
    override.isExcluded = isExcluded
    let changed = AppDefinition(
      appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic,
      sources: AppSources(platform: "wechat", overrides: [override]))
    func inForce(_ connection: StoreConnection) throws -> [Int64] {
      try connection.query("SELECT id FROM segment WHERE in_force = 1 ORDER BY id") { $0.int64(0) }
    }
    let before = try harness.store.read(inForce)
    let merged = DispatchSemaphore(value: 0)
    let engine = harness.engine
    Thread.detachNewThread {
      // What fails shows in the trend.
      _ = try? engine.mergeIfDue(rows: .max)
      merged.signal()
    }
    var isChanged = false
    for _ in 0..<1_000_000 where !isChanged {
      try harness.store.write { connection in
        guard try inForce(connection) != before else { return }
        isChanged = true
        try engine.define(changed, in: connection)
        try engine.willCommit(harness.position, in: connection)
      }
    }
    merged.wait()
    #expect(isChanged)
    engine.didCommit(harness.position)
  }

  @Test func `an erasure does not hold the log up while somebody reads an older state`() throws {
    let harness = try harness()
    var random = SeededRandom(seed: 10)
    try harness.apply([batch("a", 1, &random), batch("b", 1, &random)], receivedMilliseconds: 0)
    try harness.engine.mergeIfDue(rows: 1)
    try harness.erase("open-a-")
    try harness.store.read { connection in
      // The reader's state begins with its first question.
      _ = try connection.first("SELECT count(*) FROM app") { $0.int(0) }
      let begin = ContinuousClock.now
      try harness.engine.mergeIfDue(rows: .max)
      // SQLite would wait for five seconds.
      #expect(ContinuousClock.now - begin < .seconds(4))
      #expect(harness.engine.waitingErasures == 1)
    }
    try harness.engine.mergeIfDue(rows: .max)
    #expect(harness.engine.waitingErasures == 0)
    try checkFiles(harness, ["a", "b"], ["a"], "after the reader")
  }

  @Test func `a user of another app with the same open_id stays`() throws {
    let harness = try harness()
    var random = SeededRandom(seed: 7)
    try harness.apply([batch("a", 1, &random)], receivedMilliseconds: 0)
    try harness.addApp("other")
    try harness.transaction { try harness.engine.erase("other", in: $0) { _ in true } }
    try harness.engine.mergeIfDue(rows: .max)
    #expect(try trend(harness, "open_id").breakdown.map(\.value) == [.text("open-a-")])
  }
}
