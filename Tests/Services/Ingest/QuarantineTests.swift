import Ingest
import Logging
import Messages
import RPC
import Store
import SwiftProtobuf
import TestKit
import Testing

@Suite struct QuarantineTests {
  private static let admin = Principal(tokenID: "admin", appID: nil, scopes: ["admin"])

  private static func counts(_ fixture: Fixture) async throws -> ProtoCountQuarantinedResponse {
    try await fixture.core.countQuarantined(.with { $0.appID = "shop" }, principal: admin)
  }

  private static func replay(
    _ fixture: Fixture, _ ids: [UInt64], late: Bool = false, below: Bool = false, dry: Bool = false
  ) async throws -> ProtoReplayQuarantinedResponse {
    try await fixture.core.replayQuarantined(
      .with {
        $0.appID = "shop"
        $0.ids = ids
        $0.waiveLate = late
        $0.waiveBelowWindow = below
        $0.dryRun = dry
      }, principal: admin)
  }

  private static func get(_ fixture: Fixture, _ id: UInt64) async throws -> ProtoQuarantinedEvent {
    try await fixture.core.getQuarantined(
      .with {
        $0.appID = "shop"
        $0.id = id
      }, principal: admin)
  }

  @Test func `an event is shown as it came, with its context`() async throws {
    let fixture = try await Fixture()
    var request = Fixture.request(
      [Fixture.event(id: "good"), Fixture.event(time: 1, sequence: 3)], device: "d")
    request.context.sdkVersion = "1.2.3"
    request.sentMs = Fixture.start - 120_000
    let answer = try await fixture.send(request)
    let id = try #require(answer.quarantined.first?.quarantineID)
    let event = try await Self.get(fixture, id)
    #expect(event.reason == "late")
    #expect(event.field == "time_ms")
    #expect(event.message.contains("7 days"))
    #expect(event.eventName == "view")
    #expect(event.sdkVersion == "1.2.3")
    #expect(event.receivedMs == Fixture.start)
    #expect(event.clockOffsetMs == 120_000)
    request.events.removeFirst()
    #expect(event.request == request)
    #expect(Int(event.bytes) == (try request.serializedBytes() as [UInt8]).count)
  }

  @Test(arguments: [true, false])
  func `a late event is replayed once, at the time at which it came`(isNumbered: Bool) async throws {
    let fixture = try await Fixture()
    let event = Fixture.event(time: 1, sequence: isNumbered ? 7 : 0, id: isNumbered ? "" : "e")
    let id = try #require(
      try await fixture.send([event], device: "d").quarantined.first?.quarantineID)
    #expect(try await Self.replay(fixture, [id]).problems.map(\.reason) == ["late"])
    #expect(try await Self.replay(fixture, [id], late: true, dry: true).replayed == 1)
    #expect(fixture.core.head == 1)
    #expect(try await Self.replay(fixture, [id], late: true).replayed == 1)
    let again = try await Self.replay(fixture, [id], late: true)
    #expect(again == .with { $0.settled = 1 })
    try fixture.reopen()
    #expect(try await Self.replay(fixture, [id], late: true).settled == 1)
    let record = try #require(try await fixture.records().last)
    #expect(record.receivedMs == Fixture.start)
    #expect(try await fixture.batches().flatMap(\.events) == [event])
    // A delivery that comes afterwards is one of an event that is counted.
    for day in [1, 40] as [Int64] {
      let answer = try await fixture.send(
        [event], device: "d", received: Fixture.start + day * Fixture.day)
      #expect(answer.accepted == 1)
      #expect(answer.duplicates == 1)
    }
    #expect(fixture.core.head == 2)
    let shown = try await Self.get(fixture, id)
    #expect(shown.state == .replayed)
    #expect(!shown.hasRequest)
    #expect(try await fixture.status().quarantinedEvents == 0)
  }

  @Test func `an event far below the window is replayed once, whatever comes afterwards`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(sequence: 5_000)], device: "d")
    let old = Fixture.event(sequence: 3)
    let answer = try await fixture.send([old, Fixture.event("other", sequence: 3)], device: "d")
    #expect(answer.quarantined.map(\.reason) == ["below_window", "below_window"])
    let ids = answer.quarantined.map(\.quarantineID)
    #expect(try await Self.replay(fixture, ids).remaining == 2)
    let replay = try await Self.replay(fixture, ids, below: true)
    #expect(replay.replayed == 1)
    #expect(replay.problems.map(\.reason) == ["conflict"])
    try fixture.reopen()
    #expect(try await fixture.send([old], device: "d").duplicates == 1)
    let third = try await fixture.send([Fixture.event("third", sequence: 3)], device: "d")
    #expect(third.quarantined.map(\.reason) == ["conflict"])
    #expect(fixture.core.head == 3)
  }

  @Test func `what is in conflict can only be discarded, and is not kept again`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(id: "e")])
    let other = Fixture.event("other", id: "e")
    let first = try await fixture.send([other])
    let id = try #require(first.quarantined.first?.quarantineID)
    let replay = try await Self.replay(fixture, [id], late: true, below: true)
    #expect(replay.problems.map(\.reason) == ["conflict"])
    let discard = ProtoDiscardQuarantinedRequest.with {
      $0.appID = "shop"
      $0.ids = [id]
      $0.note = "sent by mistake"
    }
    #expect(try await fixture.core.discardQuarantined(discard, principal: Self.admin).discarded == 1)
    #expect(try await fixture.core.discardQuarantined(discard, principal: Self.admin).settled == 1)
    #expect(try await fixture.send([other]) == first)
    #expect(try await Self.get(fixture, id).note == "sent by mistake")
    let counts = try await Self.counts(fixture)
    #expect(counts.events == 0)
    #expect(counts.reasons.map(\.discarded) == [1])
  }

  @Test func `a field of another type stays, and its number is free for the event sent right`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(sequence: 1, fields: [("price", .integer(1))])], device: "d")
    let wrong = Fixture.event(sequence: 2, fields: [("price", .text("1"))])
    let first = try await fixture.send([wrong], device: "d")
    let id = try #require(first.quarantined.first?.quarantineID)
    #expect(try await Self.replay(fixture, [id]).problems.map(\.field) == ["fields.price"])
    let right = Fixture.event(sequence: 2, fields: [("price", .integer(1))])
    #expect(try await fixture.send([right], device: "d").accepted == 1)
    #expect(try await fixture.send([wrong], device: "d") == first)
  }

  @Test func `the oldest events of an app make room, counted, and other apps keep theirs`() async throws {
    let fixture = try await Fixture(quarantineEventsMax: 10)
    _ = try await fixture.core.createApp(.with { $0.appID = "second" }, now: Fixture.start)
    let other = Fixture.request([Fixture.event(time: 1, id: "x")], app: "second")
    _ = try await fixture.send(other, as: Fixture.anyApp)
    let events = (0..<25).map { Fixture.event(time: 1, id: "\($0)") }
    let ids = try await fixture.send(events).quarantined.map(\.quarantineID)
    for attempt in 1...2 {
      let counts = try await Self.counts(fixture)
      #expect(counts.events == 10)
      #expect(counts.reasons.map(\.dropped) == [15])
      #expect(try await fixture.status().quarantinedEvents == 11)
      let list = try await fixture.core.listQuarantined(.with { $0.appID = "shop" }, principal: Self.admin)
      #expect(list.events.map(\.id) == ids.suffix(10).reversed())
      if attempt == 1 { try fixture.reopen(quarantineEventsMax: 10) }
    }
  }

  @Test func `bytes are bounded too, and the newest event is always kept`() async throws {
    let fixture = try await Fixture(quarantineBytesMax: 500)
    let text = ProtoFieldValue.text(String(repeating: "x", count: 400))
    for index in 0..<5 {
      _ = try await fixture.send([Fixture.event(time: 1, id: "\(index)", fields: [("note", text)])])
    }
    let counts = try await Self.counts(fixture)
    #expect(counts.events == 1)
    #expect(counts.bytes < 500)
    #expect(counts.reasons.map(\.dropped) == [4])
  }

  @Test func `a filter finds by reason, name and time, page by page`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(id: "e")])
    for minute in 0..<10 as Range<Int64> {
      _ = try await fixture.send(
        [
          Fixture.event(minute % 2 == 0 ? "even" : "odd", time: 1, id: "late\(minute)"),
          Fixture.event("other\(minute)", id: "e"),
        ], received: Fixture.start + minute * 60_000)
    }
    func find(_ change: (inout ProtoQuarantineFilter) -> Void) async throws -> [ProtoQuarantinedEvent] {
      var request = ProtoListQuarantinedRequest()
      request.appID = "shop"
      request.pageSize = 3
      change(&request.filter)
      var events: [ProtoQuarantinedEvent] = []
      repeat {
        let page = try await fixture.core.listQuarantined(request, principal: Self.admin)
        #expect(page.events.count <= 3)
        events += page.events
        request.cursor = page.nextCursor
      } while !request.cursor.isEmpty
      return events
    }
    #expect(try await find { _ in }.count == 20)
    #expect(try await find { $0.reasons = ["late"] }.count == 10)
    #expect(try await find { $0.reasons = ["late", "conflict"] }.count == 20)
    #expect(try await find { $0.reasons = ["wrong_type"] }.isEmpty)
    #expect(try await find { $0.eventName = "even" }.count == 5)
    #expect(
      try await find {
        $0.receivedFromMs = Fixture.start + 60_000
        $0.receivedToMs = Fixture.start + 180_000
      }.count == 4)
  }

  @Test func `a cursor, filter, id or limit that breaks a rule is refused by its name`() async throws {
    let fixture = try await Fixture()
    for index in 0..<5 { _ = try await fixture.send([Fixture.event(time: 1, id: "\(index)")]) }
    func list(_ change: (inout ProtoListQuarantinedRequest) -> Void) async throws -> ProtoListQuarantinedResponse {
      var request = ProtoListQuarantinedRequest()
      request.appID = "shop"
      request.pageSize = 2
      change(&request)
      return try await fixture.core.listQuarantined(request, principal: Self.admin)
    }
    let cursor = try await list { _ in }.nextCursor
    #expect(try await list { $0.cursor = cursor }.events.count == 2)
    let refused: [(String, (inout ProtoListQuarantinedRequest) -> Void)] = [
      ("cursor", { $0.cursor = "nonsense" }),
      ("cursor", { $0.cursor = String(cursor.reversed()) }),
      ("cursor", { $0.cursor = cursor + "A" }),
      ("cursor", { ($0.cursor, $0.filter.reasons) = (cursor, ["late"]) }),
      ("page_size", { $0.pageSize = 1_001 }),
      ("filter.reasons", { $0.filter.reasons = ["bad luck"] }),
      ("filter.event_name", { $0.filter.eventName = "Bad" }),
      ("filter.received_from_ms", { $0.filter.receivedFromMs = -1 }),
      ("filter.received_to_ms", { ($0.filter.receivedFromMs, $0.filter.receivedToMs) = (5, 5) }),
    ]
    for (field, change) in refused {
      let error = await #expect(throws: RPCError.self) { _ = try await list(change) }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.hasPrefix("\(field):") == true, "\(error?.message ?? "")")
    }
    let replays: [(StatusCode, ProtoReplayQuarantinedRequest)] = [
      (.invalidArgument, .init()),
      (.invalidArgument, .with { ($0.ids, $0.filter) = ([1], .init()) }),
      (.invalidArgument, .with { $0.ids = [0] }),
      (.invalidArgument, .with { $0.ids = Array(1...1_001) }),
      (.invalidArgument, .with { ($0.filter, $0.limit) = (.init(), 10_001) }),
      (.invalidArgument, .with { ($0.ids, $0.limit) = ([1], 5) }),
      (.invalidArgument, .with { ($0.ids, $0.cursor) = ([1], cursor) }),
      (.notFound, .with { $0.ids = [1, 999] }),
    ]
    for (code, request) in replays {
      var request = request
      request.appID = "shop"
      request.waiveLate = true
      let error = await #expect(throws: RPCError.self) {
        _ = try await fixture.core.replayQuarantined(request, principal: Self.admin)
      }
      #expect(error?.code == code, "\(request)")
    }
    #expect(fixture.core.head == 1)
    let note = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.discardQuarantined(
        .with { ($0.appID, $0.ids) = ("shop", [1]) }, principal: Self.admin)
    }
    #expect(note?.message.hasPrefix("note:") == true)
  }

  @Test func `a token of one app reaches no event of another`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.core.createApp(.with { $0.appID = "second" }, now: Fixture.start)
    let answer = try await fixture.send([Fixture.event(time: 1, id: "e")])
    let id = try #require(answer.quarantined.first?.quarantineID)
    let second = Principal(tokenID: "s", appID: "second", scopes: ["admin"])
    let named = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.getQuarantined(
        .with { ($0.appID, $0.id) = ("shop", id) }, principal: second)
    }
    #expect(named?.code == .permissionDenied)
    let own = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.getQuarantined(.with { $0.id = id }, principal: second)
    }
    #expect(own?.code == .notFound)
    let replay = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.replayQuarantined(
        .with { ($0.ids, $0.waiveLate) = ([id], true) }, principal: second)
    }
    #expect(replay?.code == .notFound)
    let filter = try await fixture.core.replayQuarantined(
      .with { ($0.filter, $0.waiveLate) = (.init(), true) }, principal: second)
    #expect(filter == .init())
    #expect(try await fixture.core.listQuarantined(.init(), principal: second).events.isEmpty)
    #expect(fixture.core.head == 2)
  }

  @Test func `many events are replayed in several transactions, while batches come between`() async throws {
    let fixture = try await Fixture()
    let events = (0..<1_000).map { Fixture.event(time: 1, id: "\($0)") }
    _ = try await fixture.send(events)
    async let replay = fixture.core.replayQuarantined(
      .with { ($0.appID, $0.filter, $0.waiveLate) = ("shop", .init(), true) }, principal: Self.admin)
    for index in 0..<20 { _ = try await fixture.send([Fixture.event(id: "between\(index)")]) }
    #expect(try await replay.replayed == 1_000)
    let ids = try await fixture.batches().flatMap { $0.events.map(\.eventID) }
    #expect(ids.count == 1_020)
    #expect(Set(ids).count == 1_020)
  }

  @Test func `rows that an older release kept are still there`() async throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/ingest.sqlite"
    let request = Fixture.request([Fixture.event(time: 1, id: "e")])
    try OlderFile.make(path, request)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    for attempt in 1...2 {
      let core = try IngestCore(path: path, logger: logger) { _ in }
      defer { core.close() }
      let list = try await core.listQuarantined(.with { $0.appID = "shop" }, principal: Self.admin)
      #expect(list.events.map(\.reason) == (attempt == 1 ? ["conflict", "late"] : ["conflict"]))
      let late = try #require(list.events.last)
      let shown = try await core.getQuarantined(
        .with { ($0.appID, $0.id) = ("shop", late.id) }, principal: Self.admin)
      #expect(shown.eventName == "view")
      #expect(shown.request == request)
      let replay = try await core.replayQuarantined(
        .with { ($0.appID, $0.filter, $0.waiveLate) = ("shop", .init(), true) },
        principal: Self.admin)
      #expect(replay.replayed == (attempt == 1 ? 1 : 0))
      #expect(replay.problems.map(\.message) == ["event_id: taken by an event of other content; kept aside"])
    }
  }
}

/// A file of the release that had the first two versions of the tables.
private enum OlderFile {
  static func make(_ path: String, _ request: ProtoCollectRequest) throws {
    let store = try Store(
      path: path,
      options: StoreOptions(
        durability: .full, readers: 1, pageBytes: 8_192, writerCacheKiB: 8_192, fileBytesMax: 0),
      migrations: Array(IngestCore.migrations.prefix(2)))
    defer { store.close() }
    let app = ProtoApp.with {
      $0.appID = "shop"
      $0.timeZone = "Asia/Shanghai"
    }
    let (body, bytes): ([UInt8], [UInt8]) = (try app.serializedBytes(), try request.serializedBytes())
    try store.write { connection in
      try connection.execute("INSERT INTO app VALUES (1, 'shop', ?)", [.blob(body)])
      for (reason, identity) in [("late", 1), ("conflict", 2)] as [(String, UInt8)] {
        try connection.execute(
          "INSERT INTO quarantine VALUES (1, ?, ?, 7, ?, ?)",
          [
            .text(reason), .blob([UInt8](repeating: identity, count: 24)),
            .integer(Fixture.start), .blob(bytes),
          ])
      }
    }
  }
}
