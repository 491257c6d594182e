import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

/// The ledger, privacy and consent where events leave quarantine.
@Suite struct LedgerReplayTests {
  private static let admin = Principal(tokenID: "op", appID: nil, scopes: ["admin"])

  private static func replay(
    _ fixture: Fixture, _ ids: [UInt64]
  ) async throws -> ProtoReplayQuarantinedResponse {
    try await fixture.core.replayQuarantined(
      .with {
        $0.appID = "shop"
        $0.ids = ids
        $0.waiveLate = true
      }, principal: admin)
  }

  private static let old = Fixture.start - 9 * Fixture.day

  @Test func `a replay moves events to accepted on the day of their receipt, once`() async throws {
    let fixture = try await Fixture()
    var request = Fixture.request(
      [
        Fixture.event(sequence: 1), Fixture.event(time: Self.old, sequence: 2),
        Fixture.event(time: Self.old, id: "late"), Fixture.event(sequence: 4),
      ], device: "d")
    request.context.sdkVersion = "1.0"
    request.events[2].context.sdkVersion = "0.9"
    let ids = try await fixture.send(request).quarantined.map(\.quarantineID)
    _ = try await fixture.send(request)
    let later = Fixture.start + 2 * Fixture.day
    _ = try await fixture.send([Fixture.event(time: later, id: "other")], received: later)
    for attempt in 1...2 {
      _ = try await Self.replay(fixture, ids)
      let rows = try await fixture.completeness(byVersion: true).rows
      #expect(rows.map(\.sdkVersion) == ["0.9", "1.0", ""])
      #expect(rows.map(\.refDate) == ["20251009", "20251009", "20251011"])
      #expect(rows[0].figures.outcomes == ["accepted": 1, "quarantined.late": 1])
      #expect(rows[1].figures.outcomes == ["accepted": 3, "duplicate": 2, "quarantined.late": 1])
      #expect(rows.allSatisfy { $0.figures.isBalanced })
      // 3 never came; 2 came at once and was never missing.
      #expect(rows[1].figures.gapsOpened == 1)
      #expect(rows[1].figures.gapsRecovered == 0)
      if attempt == 1 { try fixture.reopen() }
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `whatever is sent and replayed, received events have one outcome each, and accepted ones are in the log`(
    seed: UInt64
  ) async throws {
    var random = SeededRandom(seed: seed)
    let fixture = try await Fixture(dedup: DedupOptions(cachedDevicesMax: 2))
    var ids: Set<UInt64> = []
    var sent: [ProtoCollectRequest] = []
    var received: UInt64 = 0
    for step in 0..<200 {
      let now = Fixture.start + Int64(step / 50) * Fixture.day
      var request = Fixture.request(
        (0..<1 + random.below(8)).map { _ in
          Fixture.event(
            random.oneIn(10) ? "Bad Name" : "v\(random.below(2))",
            time: random.oneIn(4) ? Self.old : now, sequence: 1 + UInt64(random.below(600)))
        }, device: "d\(random.below(3))")
      request.context.sdkVersion = "\(random.below(3))"
      if random.oneIn(3), !sent.isEmpty { request = random.pick(sent) }
      sent.append(request)
      let answer = try await fixture.send(request, received: now)
      received += UInt64(request.events.count)
      ids.formUnion(answer.quarantined.map(\.quarantineID))
      if random.oneIn(10), !ids.isEmpty {
        _ = try await Self.replay(fixture, Array(ids.prefix(5)))
        ids = Set(ids.dropFirst(5))
      }
      if random.oneIn(40) { try fixture.reopen(dedup: DedupOptions(cachedDevicesMax: 2)) }
    }
    let answer = try await fixture.completeness(byVersion: true)
    for row in answer.rows { #expect(row.figures.isBalanced, "seed \(seed), \(row.refDate) \(row.sdkVersion)") }
    #expect(answer.total.isBalanced, "seed \(seed)")
    #expect(answer.total.received == received, "seed \(seed)")
    let stored = try await fixture.batches().reduce(0) { $0 + $1.events.count }
    #expect(answer.total.accepted == UInt64(stored), "seed \(seed)")
    #expect(answer.total.outcomes["quarantined.late"] ?? 0 > 0, "seed \(seed): nothing was late")
  }

  @Test func `what the rules of now forbid does not come back from quarantine, and a retry is known`()
    async throws
  {
    let fixture = try await Fixture()
    let event = Fixture.event(time: Self.old, id: "a", fields: [("mobile", .text("13812345678")), ("sku", .text("s"))])
    let id = try #require(try await fixture.send([event]).quarantined.first?.quarantineID)
    try await fixture.setRules { $0.deniedFields = ["mobile"] }
    #expect(try await Self.replay(fixture, [id]).replayed == 1)
    #expect(try await fixture.batches().last?.events.first?.fields.map(\.name) == ["sku"])
    for rules in [["mobile"], []] {
      try await fixture.setRules { $0.deniedFields = rules }
      let again = try await fixture.send([event])
      #expect((again.accepted, again.duplicates) == (1, 1))
    }
    #expect(try await fixture.completeness().total.isBalanced)
  }

  @Test func `an event of a user who took consent back stays where it is`() async throws {
    let fixture = try await Fixture()
    let id = try #require(
      try await fixture.send([Fixture.event(time: Self.old, id: "a")]).quarantined.first?.quarantineID)
    try await fixture.setConsent(.withdrawn)
    let answer = try await Self.replay(fixture, [id])
    #expect((answer.replayed, answer.remaining) == (0, 1))
    #expect(answer.problems.map(\.reason) == ["no_consent"])
    #expect(try await fixture.batches().isEmpty)
    try await fixture.setConsent(.granted)
    #expect(try await Self.replay(fixture, [id]).replayed == 1)
    #expect(try await fixture.completeness().total.outcomes == ["accepted": 1])
  }
}
