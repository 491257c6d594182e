import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

@Suite struct DeduplicationTests {
  @Test(arguments: [true, false])
  func `a retried batch answers as the first`(isNumbered: Bool) async throws {
    let fixture = try await Fixture()
    let events = (1...10).map { index in
      Fixture.event(
        index == 3 ? "Bad" : "view", sequence: isNumbered ? UInt64(index) : 0,
        id: isNumbered ? "" : "e\(index)")
    }
    let first = try await fixture.send(events, device: "d")
    #expect(first.accepted == 9)
    #expect(first.duplicates == 0)
    for attempt in 1...3 {
      var again = try await fixture.send(events, device: "d")
      #expect(again.duplicates == 9)
      again.duplicates = 0
      #expect(again == first)
      if attempt == 2 { try fixture.reopen() }
    }
    #expect(fixture.core.head == 10)
  }

  @Test func `a retry that comes after the lateness bound answers as the first`() async throws {
    let fixture = try await Fixture()
    let events = [Fixture.event(sequence: 1), Fixture.event(id: "e")]
    #expect(try await fixture.send(events, device: "d").accepted == 2)
    // Ids are remembered for 8 days after their day, longer than events may be late.
    for later in [7 * Fixture.day + 1, 8 * Fixture.day] {
      let again = try await fixture.send(events, device: "d", received: Fixture.start + later)
      #expect(again.accepted == 2)
      #expect(again.duplicates == 2)
      #expect(again.quarantined.isEmpty)
    }
  }

  @Test func `an id out of its window is late, a number is known for ever`() async throws {
    let fixture = try await Fixture()
    let events = [Fixture.event(sequence: 1), Fixture.event(id: "e")]
    #expect(try await fixture.send(events, device: "d").accepted == 2)
    try await pass(1...29, fixture)
    for _ in 1...2 {
      let again = try await fixture.send(
        events, device: "d", received: Fixture.start + 30 * Fixture.day)
      #expect(again.accepted == 1)
      #expect(again.duplicates == 1)
      #expect(again.quarantined.map(\.reason) == ["late"])
      try fixture.reopen()
    }
    #expect(fixture.core.head == 3 + 29)
  }

  /// Days on which something comes: others do not count.
  private func pass(_ days: ClosedRange<Int64>, _ fixture: Fixture) async throws {
    for day in days {
      var event = Fixture.event(id: "day \(day)")
      event.timeMs = Fixture.start + day * Fixture.day
      #expect(try await fixture.send([event], received: event.timeMs).accepted == 1)
    }
  }

  @Test func `a clock that is set forward makes no id be forgotten`() async throws {
    let fixture = try await Fixture()
    let request = Fixture.request([Fixture.event(id: "e")], isImport: true)
    #expect(try await fixture.send(request).accepted == 1)
    for years in [10, 20] as [Int64] {
      let later = Fixture.start + years * 365 * Fixture.day
      #expect(try await fixture.send(request, received: later).duplicates == 1)
      try fixture.reopen()
    }
    #expect(fixture.core.head == 2)
  }

  @Test func `an imported id is remembered for 90 days`() async throws {
    let fixture = try await Fixture()
    let request = Fixture.request([Fixture.event(id: "e")], isImport: true)
    #expect(try await fixture.send(request).accepted == 1)
    try await pass(1...89, fixture)
    let later = try await fixture.send(request, received: Fixture.start + 90 * Fixture.day)
    #expect(later.duplicates == 1)
    let beyond = try await fixture.send(request, received: Fixture.start + 91 * Fixture.day)
    #expect(beyond == .with { $0.accepted = 1 })
  }

  @Test func `an event twice in one batch counts once`() async throws {
    let fixture = try await Fixture()
    let answer = try await fixture.send(
      [
        Fixture.event(sequence: 5), Fixture.event(sequence: 5), Fixture.event(id: "e"),
        Fixture.event(id: "e"),
      ], device: "d")
    #expect(answer.accepted == 4)
    #expect(answer.duplicates == 2)
    #expect(try await fixture.batches().map(\.events.count) == [2])
  }

  @Test func `the same delivery on many connections at once counts once`() async throws {
    let fixture = try await Fixture()
    let events = (1...20).map { Fixture.event(sequence: UInt64($0)) }
    let answers = try await withThrowingTaskGroup(of: ProtoCollectResponse.self) { group in
      for _ in 0..<20 { group.addTask { try await fixture.send(events, device: "d") } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(answers.allSatisfy { $0.accepted == 20 })
    #expect(answers.reduce(0) { $0 + $1.duplicates } == 19 * 20)
    #expect(fixture.core.head == 21)
  }

  @Test func `the same number or id with other content is a conflict, kept aside and told`()
    async throws
  {
    let fixture = try await Fixture()
    _ = try await fixture.send(
      [Fixture.event(sequence: 1), Fixture.event(id: "e")], device: "d")
    for _ in 1...2 {
      let answer = try await fixture.send(
        [Fixture.event("other", sequence: 1), Fixture.event("other", id: "e"), Fixture.event(id: "f")],
        device: "d")
      #expect(answer.accepted == 1)
      #expect(answer.quarantined.map(\.index) == [0, 1])
      #expect(answer.quarantined.map(\.field) == ["sequence", "event_id"])
      #expect(answer.quarantined.map(\.reason) == ["conflict", "conflict"])
    }
    #expect(try await fixture.status().quarantinedEvents == 2)
    // Another user's event under a used number is another event too.
    let stolen = try await fixture.send(
      Fixture.request([Fixture.event(sequence: 1)], device: "d", user: "u2"))
    #expect(stolen.quarantined.map(\.reason) == ["conflict"])
  }

  @Test func `devices and ids of two apps have nothing in common`() async throws {
    let fixture = try await Fixture()
    var app = ProtoApp()
    app.appID = "second"
    _ = try await fixture.core.createApp(app, now: Fixture.start)
    for name in ["shop", "second"] {
      let request = Fixture.request(
        [Fixture.event(sequence: 1), Fixture.event(id: "e")], device: "d", app: name)
      let answer = try await fixture.send(request, as: Fixture.anyApp)
      #expect(answer == .with { $0.accepted = 2 })
    }
  }

  @Test func `numbers too far below the highest are kept aside, not called known`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(sequence: 5_000)], device: "d")
    let answer = try await fixture.send(
      [5_000 - 1_023, 5_000 - 1_024].map { Fixture.event(sequence: $0) }, device: "d")
    #expect(answer.accepted == 1)
    #expect(answer.duplicates == 0)
    #expect(answer.quarantined.map(\.reason) == ["below_window"])
    #expect(try await fixture.batches().last?.events.map(\.sequence) == [3_977])
  }

  /// What SEMANTICS 1 "counted once" says, kept as sets without a bound on memory.
  private struct Model {
    var contents: [String: [UInt64: Int]] = [:]
    var highest: [String: UInt64] = [:]
    var ids: [String: Int] = [:]
    /// What was kept aside before is answered as it was then.
    var aside: [String: Fate] = [:]

    enum Fate { case kept, duplicate, conflict, below }

    mutating func take(_ device: String, _ sequence: UInt64, _ content: Int) -> Fate {
      let event = "\(device)/\(sequence)/\(content)"
      let fate = aside[event] ?? judge(device, sequence, content)
      if fate == .conflict || fate == .below { aside[event] = fate }
      return fate
    }

    private mutating func judge(_ device: String, _ sequence: UInt64, _ content: Int) -> Fate {
      let top = highest[device] ?? 0
      if sequence + 1_024 <= top { return .below }
      if let known = contents[device]?[sequence] {
        return known == content || sequence + 128 <= top ? .duplicate : .conflict
      }
      contents[device, default: [:]][sequence] = content
      highest[device] = max(top, sequence)
      return .kept
    }

    mutating func take(id: String, _ content: Int) -> Fate {
      if let known = ids[id] { return known == content ? .duplicate : .conflict }
      ids[id] = content
      return .kept
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `any deliveries, also across restarts, give what the model gives`(seed: UInt64) async throws {
    var random = SeededRandom(seed: seed)
    // Far fewer windows in memory than devices: most are loaded again and again.
    let fixture = try await Fixture(dedup: DedupOptions(cachedDevicesMax: 3))
    var model = Model()
    var expected: [String] = []
    for step in 0..<400 {
      let device = "d\(random.below(10))"
      let top = model.highest[device] ?? 0
      var fates: [Model.Fate] = []
      let events = (0..<1 + random.below(30)).map { _ in
        let content = random.oneIn(12) ? 1 + random.below(3) : 0
        var event: ProtoEvent
        if random.oneIn(4) {
          let id = "e\(random.below(300))"
          event = Fixture.event("c\(content)", id: id)
          fates.append(model.take(id: id, content))
        } else {
          let reach: UInt64 = random.oneIn(20) ? 3_000 : 40
          let low = top > reach ? top - reach : 1
          let sequence = low + UInt64(random.below(Int(reach) + 30))
          event = Fixture.event("c\(content)", sequence: sequence)
          fates.append(model.take(device, sequence, content))
        }
        if fates.last == .kept { expected.append("\(device)/\(event.sequence)/\(event.eventID)") }
        return event
      }
      let answer = try await fixture.send(events, device: device)
      #expect(answer.accepted == fates.count { $0 == .kept || $0 == .duplicate }, "seed \(seed), step \(step)")
      #expect(answer.duplicates == fates.count { $0 == .duplicate }, "seed \(seed), step \(step)")
      let aside = fates.indices.filter { fates[$0] == .conflict || fates[$0] == .below }
      #expect(answer.quarantined.map(\.index) == aside.map(UInt32.init), "seed \(seed), step \(step)")
      if random.oneIn(25) { try fixture.reopen(dedup: DedupOptions(cachedDevicesMax: 3)) }
    }
    let logged = try await fixture.batches().flatMap { batch in
      batch.events.map { "\(batch.deviceID)/\($0.sequence)/\($0.eventID)" }
    }
    #expect(logged == expected)
    #expect(fixture.core.head == UInt64(expected.count) + 1)
  }
}
