import Events
import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

extension Fixture {
  /// The ledger's rows from the first day on.
  func completeness(
    byVersion: Bool = false, from: String = "2025-10-01", to: String = "2026-06-30", app: String = "shop"
  ) async throws -> ProtoGetCompletenessResponse {
    let service = CompletenessService(core: core, now: { Fixture.start })
    var request = ProtoGetCompletenessRequest()
    request.appID = app
    request.range.beginDate = from
    request.range.endDate = byVersion && to == "2026-06-30" ? "2025-12-30" : to
    request.bySdkVersion = byVersion
    return try await service.getCompleteness(
      request,
      context: CallContext(method: CompletenessMethods.getCompleteness, principal: Self.principal))
  }
}

extension ProtoCompletenessFigures {
  /// What each event became, with its reason.
  var outcomes: [String: UInt64] {
    var outcomes = ["accepted": accepted, "duplicate": duplicate]
    for count in quarantined { outcomes["quarantined.\(count.reason)"] = count.events }
    for count in rejected { outcomes["rejected.\(count.reason)"] = count.events }
    return outcomes.filter { $0.value > 0 }
  }

  var isBalanced: Bool { received == outcomes.values.reduce(0, +) }
}

@Suite struct LedgerTests {
  @Test func `every event is counted once, by what became of it`() async throws {
    let fixture = try await Fixture()
    let old = Fixture.start - 8 * Fixture.day
    let events = [
      Fixture.event(id: "a"), Fixture.event(id: "b"), Fixture.event("Bad Name", id: "c"),
      Fixture.event(time: old, id: "d"), Fixture.event("other", id: "a"),
    ]
    _ = try await fixture.send(events)
    _ = try await fixture.send(events)
    let answer = try await fixture.completeness()
    #expect(answer.rows.count == 1)
    #expect(answer.rows[0].refDate == "20251009")
    #expect(answer.rows[0].figures == answer.total)
    #expect(answer.total.received == 10)
    #expect(
      answer.total.outcomes == [
        "accepted": 2, "duplicate": 2, "rejected.bad_name": 2, "quarantined.late": 2,
        "quarantined.conflict": 2,
      ])
    #expect(answer.total.late == 2)
    #expect(answer.total.completeness == 1)
    #expect(answer.asOfOffset == fixture.core.head)
    #expect(answer.timeZone == "Asia/Shanghai")
  }

  @Test func `numbers that never came are shown exactly, and those that came late are not`()
    async throws
  {
    let fixture = try await Fixture()
    func send(_ numbers: [UInt64]) async throws {
      _ = try await fixture.send(numbers.map { Fixture.event(sequence: $0) }, device: "d")
    }
    try await send([1, 2, 3, 7, 8])
    var total = try await fixture.completeness().total
    #expect((total.gapsOpened, total.gapsRecovered, total.lost, total.missing) == (3, 0, 0, 3))
    #expect(total.completeness == 5.0 / 8.0)
    try await send([5])
    try fixture.reopen()
    try await send([9])
    total = try await fixture.completeness().total
    #expect((total.gapsOpened, total.gapsRecovered, total.lost, total.missing) == (3, 1, 0, 2))
    // 4 and 6 leave the window.
    for first in stride(from: UInt64(10), to: 1_100, by: 100) {
      try await send(Array(first..<first + 100))
    }
    total = try await fixture.completeness().total
    #expect((total.gapsOpened, total.gapsRecovered, total.lost, total.missing) == (3, 1, 2, 2))
    #expect(total.isBalanced)
  }

  @Test func `a number whose event was refused is not missing, and is not lost`() async throws {
    let fixture = try await Fixture()
    let old = Fixture.start - 8 * Fixture.day
    _ = try await fixture.send(
      [
        Fixture.event(sequence: 1), Fixture.event("Bad Name", sequence: 2),
        Fixture.event(time: old, sequence: 3), Fixture.event(sequence: 5),
      ], device: "d")
    var total = try await fixture.completeness().total
    #expect(total.gapsOpened == 1)
    #expect(total.missing == 1)
    // The event of a refused number can still be taken once it is right.
    let answer = try await fixture.send([Fixture.event(sequence: 2)], device: "d")
    #expect(answer == .with { $0.accepted = 1 })
    for first in stride(from: UInt64(6), to: 1_206, by: 100) {
      _ = try await fixture.send(
        (first..<first + 100).map { Fixture.event(sequence: $0) }, device: "d")
    }
    total = try await fixture.completeness().total
    #expect((total.gapsOpened, total.gapsRecovered, total.lost) == (1, 0, 1))
  }

  @Test func `a day is the app's, by the time of receipt`() async throws {
    let fixture = try await Fixture()
    var app = ProtoApp()
    app.appID = "york"
    app.timeZone = "America/New_York"
    _ = try await fixture.core.createApp(app, now: Fixture.start)
    // 04:00 UTC: the beginning of the 2nd of November in New York, where daylight saving has two hours left.
    let midnight: Int64 = 1_762_056_000_000
    for (received, id) in [(midnight - 1, "a"), (midnight, "b")] {
      let request = Fixture.request(
        [Fixture.event(time: received, id: id)], app: "york")
      _ = try await fixture.send(request, received: received, as: Fixture.anyApp)
    }
    let service = CompletenessService(core: fixture.core, now: { midnight })
    var request = ProtoGetCompletenessRequest()
    request.appID = "york"
    request.range.beginDate = "2025-11-01"
    request.range.endDate = "2025-11-02"
    let context = CallContext(
      method: CompletenessMethods.getCompleteness, principal: Fixture.anyApp)
    let answer = try await service.getCompleteness(request, context: context)
    #expect(answer.rows.map(\.refDate) == ["20251101", "20251102"])
    #expect(answer.rows.map(\.figures.accepted) == [1, 1])
    #expect(!answer.complete)
  }

  @Test func `versions are told apart, an event's own goes before its batch's, and the 32nd is other`()
    async throws
  {
    let fixture = try await Fixture()
    for version in 0..<40 {
      var request = Fixture.request(
        [Fixture.event(id: "\(version)-0"), Fixture.event(id: "\(version)-1")])
      request.context.sdkVersion = "1.\(version)"
      if version == 0 { request.events[1].context.sdkVersion = "0.9" }
      _ = try await fixture.send(request)
      if version == 20 { try fixture.reopen() }
    }
    let answer = try await fixture.completeness(byVersion: true)
    #expect(answer.rows.count == 32)
    let accepted = Dictionary(
      uniqueKeysWithValues: answer.rows.map { ($0.sdkVersion, $0.figures.accepted) })
    #expect(accepted["1.0"] == 1)
    #expect(accepted["0.9"] == 1)
    #expect(accepted["1.29"] == 2)
    #expect(accepted["(other)"] == 20)
    #expect(answer.total.accepted == 80)
  }

  @Test func `a version that is none is not one of the day's`() async throws {
    let fixture = try await Fixture()
    var request = Fixture.request([Fixture.event(id: "a"), Fixture.event(id: "b"), Fixture.event(id: "c")])
    request.context.sdkVersion = "1.0"
    request.events[1].context.sdkVersion = String(repeating: "x", count: 257)
    request.events[2].context.sdkVersion = "abcd"
    var bytes: [UInt8] = try request.serializedBytes()
    let place = try #require(bytes.firstRange(of: Array("abcd".utf8)))
    bytes[place.lowerBound + 1] = 0xff
    for _ in 1...2 {
      let answer = try await fixture.core.collect(bytes, principal: Fixture.principal, received: Fixture.start)
      #expect(try ProtoCollectResponse(serializedBytes: answer).rejected.map(\.reason) == ["too_long", "bad_utf8"])
    }
    let rows = try await fixture.completeness(byVersion: true).rows
    #expect(rows.map(\.sdkVersion) == ["1.0"])
    #expect(rows.map(\.figures.received) == [6])
  }

  @Test func `days beyond those that are kept are let go of`() async throws {
    let fixture = try await Fixture(ledgerDays: 10)
    for day in [0, 5, 10] as [Int64] {
      let time = Fixture.start + day * Fixture.day
      _ = try await fixture.send([Fixture.event(time: time, id: "\(day)")], received: time)
    }
    #expect(try await fixture.completeness().rows.map(\.refDate) == ["20251014", "20251019"])
  }

  @Test(arguments: ["2025-10-01 2026-11-05 0", "2025-10-01 2026-01-01 1", "2025-10-02 2025-10-01 0", " 2025-10-01 0"])
  func `a range that is none, or too long, is refused with the limit`(range: String) async throws {
    let fixture = try await Fixture()
    let parts = range.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    let error = try await #require(throws: RPCError.self) {
      _ = try await fixture.completeness(byVersion: parts[2] == "1", from: parts[0], to: parts[1])
    }
    #expect(error.code == .invalidArgument)
    #expect(error.message.contains("range"))
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func `whatever is delivered, the ledger says what the answers said, and no more is lost than was`(
    seed: UInt64
  ) async throws {
    var random = SeededRandom(seed: seed)
    let fixture = try await Fixture(dedup: DedupOptions(cachedDevicesMax: 3))
    var deliveries = LedgerDeliveries(random.fork())
    for step in 0..<400 {
      let day = Int64(step / 80)
      let (request, received) = deliveries.next(now: Fixture.start + day * Fixture.day)
      let answer = try await fixture.send(request, received: received)
      deliveries.take(answer, of: request, received: received)
      if random.oneIn(25) { try fixture.reopen(dedup: DedupOptions(cachedDevicesMax: 3)) }
    }
    let answer = try await fixture.completeness(byVersion: true)
    for row in answer.rows {
      #expect(row.figures.isBalanced, "seed \(seed), \(row.refDate) \(row.sdkVersion)")
      #expect(
        row.figures.outcomes == deliveries.outcomes["\(row.refDate) \(row.sdkVersion)"],
        "seed \(seed), \(row.refDate) \(row.sdkVersion)")
    }
    #expect(answer.rows.count == deliveries.outcomes.count)
    let stored = try await fixture.batches().reduce(0) { $0 + $1.events.count }
    #expect(answer.total.accepted == UInt64(stored), "seed \(seed)")
    #expect(answer.total.missing == deliveries.missing, "seed \(seed)")
    #expect(answer.total.lost == deliveries.lost, "seed \(seed)")
    #expect(deliveries.lost > 0, "seed \(seed): nothing was lost, so nothing was shown")
  }
}

/// Random deliveries of a few devices: drops, repetitions, any order, some bad and some late; and what is known of them.
private struct LedgerDeliveries {
  private var random: SeededRandom
  private static let devices = 3
  private var next: [UInt64] = Array(repeating: 1, count: devices)
  private var pending: [ProtoCollectRequest] = []
  /// Numbers of each device of which something came.
  private var arrived: [Set<UInt64>] = Array(repeating: [], count: devices)
  private var first: [UInt64] = Array(repeating: 0, count: devices)
  var outcomes: [String: [String: UInt64]] = [:]

  init(_ random: SeededRandom) { self.random = random }

  mutating func next(now: Int64) -> (ProtoCollectRequest, Int64) {
    if !pending.isEmpty, random.oneIn(2) {
      let place = random.below(pending.count)
      // Half of them come once more later.
      return (random.oneIn(2) ? pending[place] : pending.remove(at: place), now)
    }
    let device = random.below(Self.devices)
    let numbers = next[device]..<next[device] + 1 + UInt64(random.below(40))
    next[device] = numbers.upperBound
    var events = numbers.filter { _ in !random.oneIn(15) }.map { number in
      var event = Fixture.event(
        random.oneIn(40) ? "Bad Name" : "view",
        time: random.oneIn(40) ? now - 9 * Fixture.day : now, sequence: number)
      if random.oneIn(20) { event.context.sdkVersion = "own" }
      return event
    }
    if events.isEmpty { events = [Fixture.event(time: now, sequence: numbers.lowerBound)] }
    var request = Fixture.request(events, device: "d\(device)")
    request.context.sdkVersion = "1.\(random.below(3))"
    pending.append(request)
    // Some never arrive, some arrive in another order.
    if random.oneIn(8) { pending.removeLast() }
    return random.oneIn(3) && !pending.isEmpty ? (pending.remove(at: 0), now) : (request, now)
  }

  mutating func take(
    _ answer: ProtoCollectResponse, of request: ProtoCollectRequest, received: Int64
  ) {
    guard let device = Int(request.deviceID.dropFirst()) else { return }
    var reasons: [UInt32: String] = [:]
    for event in answer.rejected { reasons[event.index] = "rejected.\(event.reason)" }
    for event in answer.quarantined { reasons[event.index] = "quarantined.\(event.reason)" }
    var duplicates = answer.duplicates
    let shanghai = (received + 8 * 3_600_000) / 86_400_000
    for (index, event) in request.events.enumerated() {
      let version = event.hasContext ? event.context.sdkVersion : request.context.sdkVersion
      let key = "\(CivilDay(index: Int(shanghai)).compact) \(version)"
      var word = reasons[UInt32(index)] ?? "accepted"
      if word == "accepted", kept[device].contains(event.sequence) { word = "duplicate" }
      if word == "accepted" { kept[device].insert(event.sequence) }
      if word == "duplicate" { duplicates -= 1 }
      outcomes[key, default: [:]][word, default: 0] += 1
      arrive(event.sequence, device, isKept: word == "accepted")
    }
    // What the answer calls a duplicate is what was kept before.
    #expect(duplicates == 0)
  }

  private var kept: [Set<UInt64>] = Array(repeating: [], count: devices)

  private mutating func arrive(_ number: UInt64, _ device: Int, isKept: Bool) {
    if first[device] == 0 {
      guard isKept else { return }
      first[device] = number
    }
    let highest = highest[device]
    // Too far below to be of use, or too far above for a number whose event is not kept.
    guard number + 1_024 > highest, isKept || number < highest + 1_024 else { return }
    arrived[device].insert(number)
    self.highest[device] = max(highest, number)
  }

  private var highest: [UInt64] = Array(repeating: 0, count: devices)

  /// Numbers between a device's first and its highest of which nothing came.
  var missing: Int64 {
    (0..<Self.devices).reduce(into: 0) { sum, device in
      guard highest[device] > 0 else { return }
      sum += Int64((first[device]...highest[device]).count { !arrived[device].contains($0) })
    }
  }

  /// Those of them that lie further below than the window reaches.
  var lost: UInt64 {
    (0..<Self.devices).reduce(into: 0) { sum, device in
      guard highest[device] > 0 else { return }
      sum += UInt64(
        (first[device]...highest[device]).count { number in
          number + 1_024 <= highest[device] && !arrived[device].contains(number)
        })
    }
  }
}
