import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

/// Random deliveries against `DeliveryModel`: what the log holds, what is answered, what is counted.
///
/// `FOOTFALL_DELIVERY_RUNS` asks for more runs, `FOOTFALL_DELIVERY_SEED` for the first one's seed.
@Suite struct DeliveryTests {
  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  @Test func `any deliveries give what SEMANTICS says`() async throws {
    let runs = Self.number("FOOTFALL_DELIVERY_RUNS") ?? 320
    let first = Self.number("FOOTFALL_DELIVERY_SEED") ?? 20_251_128
    print("deliveries: \(runs) runs, seeds from \(first)")
    var events = 0
    var outcomes: [String: Int] = [:]
    // Several at a time: most of a run is waiting for the disk.
    let results = try await withThrowingTaskGroup(of: DeliveryRun.Result.self) { group in
      var results: [DeliveryRun.Result] = []
      var next = first
      while next < first + runs || !group.isEmpty {
        if next < first + runs, next - first < UInt64(results.count + 8) {
          group.addTask { [next] in try await DeliveryRun.result(seed: next, steps: 25) }
          next += 1
        } else if let result = try await group.next() {
          results.append(result)
          // The rest would say the same again.
          if result.hasFailed { return results }
        }
      }
      return results
    }
    for result in results {
      events += result.events
      outcomes.merge(result.outcomes, uniquingKeysWith: +)
    }
    guard !results.contains(where: \.hasFailed) else { return }
    print("deliveries: \(events) events: \(outcomes.sorted { $0.key < $1.key })")
    // A generator that no longer comes to something would prove nothing about it.
    for outcome in [
      "accepted", "duplicate", "rejected bad_name", "quarantined wrong_type", "quarantined late",
      "quarantined conflict", "quarantined below_window", "replayed", "stays", "discarded", "reopened",
    ] {
      #expect(outcomes[outcome, default: 0] > 0, "nothing of: \(outcome)")
    }
  }
}

/// One log and its model, with a random life.
private struct DeliveryRun {
  private let seed: UInt64
  private var random: SeededRandom
  private let fixture: Fixture
  private var model = DeliveryModel()
  private var now = Fixture.start
  private var sent: [ProtoCollectRequest] = []
  private var tops: [String: UInt64] = [:]
  private var ids: [DeliveryModel.Key: UInt64] = [:]
  private var step = 0
  private var events = 0
  private var outcomes: [String: Int] = [:]
  private var hasFailed = false

  struct Result: Sendable {
    let events: Int
    let outcomes: [String: Int]
    let hasFailed: Bool
  }

  static func result(seed: UInt64, steps: Int) async throws -> Result {
    var run = try await DeliveryRun(seed: seed)
    try await run.go(steps: steps)
    return Result(events: run.events, outcomes: run.outcomes, hasFailed: run.hasFailed)
  }

  private init(seed: UInt64) async throws {
    self.seed = seed
    random = SeededRandom(seed: seed)
    // Fewer windows in memory than devices: most are read from the file again and again.
    fixture = try await Fixture(dedup: DedupOptions(cachedDevicesMax: 2))
  }

  private mutating func go(steps: Int) async throws {
    while step < steps, !hasFailed {
      step += 1
      now += Int64(random.oneIn(8) ? random.below(3) * Int(Fixture.day) : random.below(5_000))
      switch random.below(20) {
      case 0..<8: try await deliver([fresh()])
      case 8..<11: try await deliver([again()])
      case 11..<14: try await deliver((0..<2 + random.below(8)).map { _ in random.oneIn(3) ? again() : fresh() })
      case 14..<17: try await replay()
      case 17: try await discard()
      default:
        try fixture.reopen(dedup: DedupOptions(cachedDevicesMax: 2))
        note("reopened")
      }
    }
    if !hasFailed { try await compare() }
  }

  private mutating func note(_ outcome: String, _ count: Int = 1) { outcomes[outcome, default: 0] += count }

  private mutating func expect<T: Equatable>(_ got: T, _ wanted: T, _ what: String) {
    if got == wanted { return }
    hasFailed = true
    Issue.record("seed \(seed), step \(step): \(what): got \(got), the model has \(wanted)")
  }

  // MARK: Deliveries

  private mutating func fresh() -> ProtoCollectRequest {
    let device = "d\(random.below(5))"
    var request = Fixture.request([], device: device, user: "u\(random.below(2))")
    switch random.below(4) {
    case 0: request.sentMs = now - Int64(random.below(50_000))
    case 1: request.sentMs = now - Int64(random.below(12)) * Fixture.day - 61_000
    default: break
    }
    request.import = random.oneIn(20)
    request.events = (0..<1 + random.below(12)).map { _ in event(device) }
    return request
  }

  private mutating func event(_ device: String) -> ProtoEvent {
    var event = ProtoEvent()
    // Few names and times: other content under a used number or id, and the very same, come by themselves.
    event.name = random.oneIn(25) ? "Bad" : random.oneIn(10) ? "other" : "view"
    event.timeMs = Fixture.start + Int64(random.below(2))
    if random.oneIn(6) { event.timeMs -= Int64(1 + random.below(12)) * Fixture.day }
    if random.oneIn(4) {
      event.eventID = "e\(random.below(60))"
    } else {
      event.sequence = sequence(device)
      if random.oneIn(10) { event.eventID = "e\(random.below(60))" }
    }
    for number in (0..<6).shuffled(using: &random).prefix(random.below(3)) { event.fields.append(field(number)) }
    return event
  }

  private mutating func sequence(_ device: String) -> UInt64 {
    let top = tops[device] ?? 0
    var sequence: UInt64
    switch random.below(30) {
    case 0: sequence = top + 1 + UInt64(random.below(3_000))
    case 1: sequence = top > 1_100 ? top - 1_024 - UInt64(random.below(60)) : 1
    case 2..<12: sequence = top > 20 ? top - UInt64(random.below(20)) : top + 1
    case 12: sequence = top > 300 ? top - UInt64(random.below(300)) : top + 1
    default: sequence = top + 1 + UInt64(random.below(2))
    }
    sequence = max(sequence, 1)
    tops[device] = max(top, sequence)
    return sequence
  }

  private mutating func field(_ number: Int) -> ProtoField {
    var field = ProtoField()
    field.name = "f\(number)"
    // The types differ from run to run, and once in a while within one.
    switch random.oneIn(15) ? random.below(4) : (number + Int(seed % 4)) % 4 {
    case 0: field.value = .text("a")
    case 1: field.value = .integer(1)
    case 2: field.value = .double(1.5)
    default: field.value = .boolean(true)
    }
    return field
  }

  /// What was sent before, whole, in part, in another order, twice, or with that of another batch of the same sender.
  private mutating func again() -> ProtoCollectRequest {
    guard !sent.isEmpty else { return fresh() }
    var request = random.pick(sent)
    switch random.below(5) {
    case 0: request.events.shuffle(using: &random)
    case 1: request.events = Array(request.events.dropFirst(random.below(request.events.count)))
    case 2: request.events += request.events
    case 3:
      let others = sent.filter {
        $0.deviceID == request.deviceID && $0.context == request.context
      }
      request.events += random.pick(others).events
      request.events += (0..<random.below(3)).map { _ in event(request.deviceID) }
    default: break
    }
    if random.oneIn(4) { request.sentMs = 0 }
    return request
  }

  /// Several come without waiting for each other: they share transactions, and rows of the log.
  private mutating func deliver(_ requests: [ProtoCollectRequest]) async throws {
    sent += requests
    let wanted = requests.map { model.deliver($0, received: now) }
    let answers = try await fixture.sendTogether(requests, received: now)
    for (number, request) in requests.enumerated() { compare(answers[number], wanted[number], request) }
  }

  private mutating func compare(
    _ answer: ProtoCollectResponse, _ wanted: [DeliveryModel.Outcome], _ request: ProtoCollectRequest
  ) {
    events += wanted.count
    for outcome in wanted { note(Self.text(outcome)) }
    let duplicates = wanted.count { $0 == .duplicate }
    expect(Int(answer.duplicates), duplicates, "duplicates")
    expect(Int(answer.accepted), duplicates + wanted.count { $0 == .accepted }, "accepted")
    expect(
      answer.rejected.map { "\($0.index) rejected \($0.reason)" },
      Self.refusals(wanted) { if case .rejected = $0 { true } else { false } }, "rejected")
    expect(
      answer.quarantined.map { "\($0.index) quarantined \($0.reason)" },
      Self.refusals(wanted) { if case .quarantined = $0 { true } else { false } }, "quarantined")
    for one in answer.quarantined where !hasFailed {
      let key = DeliveryModel.key(request.events[Int(one.index)], request)
      expect(one.quarantineID, ids[key] ?? one.quarantineID, "the id of an event that was kept aside")
      expect(one.quarantineID > 0, true, "an id")
      ids[key] = one.quarantineID
    }
  }

  private static func text(_ outcome: DeliveryModel.Outcome) -> String {
    switch outcome {
    case .accepted: "accepted"
    case .duplicate: "duplicate"
    case .rejected(let reason): "rejected \(reason)"
    case .quarantined(let reason): "quarantined \(reason)"
    }
  }

  private static func refusals(
    _ outcomes: [DeliveryModel.Outcome], _ isWanted: (DeliveryModel.Outcome) -> Bool
  ) -> [String] {
    outcomes.enumerated().filter { isWanted($0.element) }.map { "\($0.offset) \(text($0.element))" }
  }

  // MARK: Quarantine

  private static let admin = Principal(tokenID: "admin", appID: nil, scopes: ["admin"])

  private func id(_ place: Int) -> UInt64 { ids[model.rows[place].key] ?? 0 }

  private mutating func somePlaces() -> [Int] {
    let places = Array(model.rows.indices).shuffled(using: &random)
    return Array(places.prefix(1 + random.below(20)))
  }

  private mutating func replay() async throws {
    guard !model.rows.isEmpty else { return }
    var request = ProtoReplayQuarantinedRequest()
    request.appID = "shop"
    request.dryRun = random.oneIn(4)
    request.waiveLate = random.oneIn(2)
    request.waiveBelowWindow = random.oneIn(2)
    var places = somePlaces()
    if random.oneIn(3) {
      let reasons = ["late", "wrong_type", "below_window", "conflict"].filter { _ in random.oneIn(2) }
      request.filter.reasons = reasons
      request.limit = UInt32(1 + random.below(8))
      places = model.rows.indices.filter { place in
        model.rows[place].state == .kept
          && (reasons.isEmpty || reasons.contains(model.rows[place].reason))
      }
      expect(try await pages(of: request, places.count), places.count, "events found by the filter")
      places = Array(places.prefix(Int(request.limit)))
    } else {
      request.ids = places.map(id)
    }
    let wanted = model.replay(
      places, waivesLate: request.waiveLate, waivesBelowWindow: request.waiveBelowWindow,
      isDry: request.dryRun)
    let answer = try await fixture.core.replayQuarantined(request, principal: Self.admin)
    expect(
      DeliveryModel.Replayed(
        replayed: Int(answer.replayed), duplicates: Int(answer.duplicates),
        settled: Int(answer.settled), reasons: answer.problems.map(\.reason)), wanted, "replay")
    expect(Int(answer.remaining), wanted.reasons.count, "remaining")
    if !request.dryRun { note("replayed", wanted.replayed) }
    note("stays", wanted.reasons.count)
  }

  /// A dry run over the whole filter, page by page.
  private func pages(of request: ProtoReplayQuarantinedRequest, _ most: Int) async throws -> Int {
    var request = request
    request.dryRun = true
    var found = 0
    for _ in 0...most {
      let answer = try await fixture.core.replayQuarantined(request, principal: Self.admin)
      found += Int(answer.replayed + answer.duplicates + answer.remaining)
      if answer.nextCursor.isEmpty { return found }
      request.cursor = answer.nextCursor
    }
    return -1
  }

  private mutating func discard() async throws {
    guard !model.rows.isEmpty else { return }
    let places = Array(somePlaces().prefix(3))
    let wanted = model.discard(places)
    var request = ProtoDiscardQuarantinedRequest()
    request.appID = "shop"
    request.ids = places.map(id)
    request.note = "test"
    let answer = try await fixture.core.discardQuarantined(request, principal: Self.admin)
    expect(Int(answer.discarded), wanted.discarded, "discarded")
    expect(Int(answer.settled), wanted.settled, "had left before the discard")
    note("discarded", wanted.discarded)
  }

  // MARK: The end

  private mutating func compare() async throws {
    var logged: [DeliveryModel.Logged] = []
    for record in try await fixture.records() {
      guard case .batch(let bytes) = record.body else { continue }
      let request = try ProtoCollectRequest(serializedBytes: bytes)
      expect(Int(record.count), request.events.count, "the count of a record")
      for event in request.events {
        let key = DeliveryModel.key(event, request)
        logged.append(
          .init(
            identity: key.identity, content: key.content, received: record.receivedMs,
            clockOffset: record.clockOffsetMs))
      }
    }
    expect(logged.count, model.log.count, "events in the log")
    for (number, (got, wanted)) in zip(logged, model.log).enumerated() where !hasFailed {
      expect(got, wanted, "event \(number) of the log")
    }
    expect(fixture.core.head, UInt64(model.log.count) + 1, "the log's end")
    try await compareQuarantine()
  }

  private mutating func compareQuarantine() async throws {
    var list = ProtoListQuarantinedRequest()
    list.appID = "shop"
    list.pageSize = 7
    var listed: [String] = []
    repeat {
      let page = try await fixture.core.listQuarantined(list, principal: Self.admin)
      listed += page.events.map { "\($0.id) \($0.reason)" }
      list.cursor = page.nextCursor
    } while !list.cursor.isEmpty
    let kept = model.rows.indices.filter { model.rows[$0].state == .kept }
    expect(listed, kept.reversed().map { "\(id($0)) \(model.rows[$0].reason)" }, "the list")
    var request = ProtoCountQuarantinedRequest()
    request.appID = "shop"
    let counts = try await fixture.core.countQuarantined(request, principal: Self.admin)
    expect(Int(counts.events), kept.count, "kept")
    expect(try await fixture.status().quarantinedEvents, UInt64(kept.count), "the log's status")
    for reason in Set(counts.reasons.map(\.reason)).union(model.left.keys) {
      let count = counts.reasons.first { $0.reason == reason } ?? ProtoQuarantineCount()
      let left = model.left[reason] ?? [:]
      expect(
        [Int(count.kept), Int(count.replayed), Int(count.discarded), Int(count.dropped)],
        [
          kept.count { model.rows[$0].reason == reason }, left[.replayed] ?? 0,
          left[.discarded] ?? 0, 0,
        ], "counts of \(reason)")
    }
  }
}
