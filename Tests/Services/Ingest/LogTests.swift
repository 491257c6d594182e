import Events
import Foundation
import Ingest
import Messages
import RPC
import Store
import SwiftProtobuf
import Testing

/// The log as a format: two versions of its rows, and what a wrong bit in each of their columns does.
@Suite struct LogTests {
  /// A log of the app's record at 0 and one batch of three events at 1, 4, 7.
  private func log() async throws -> Fixture {
    let fixture = try await Fixture()
    for batch in 0..<3 {
      _ = try await fixture.send((0..<3).map { Fixture.event(id: "\(batch)/\($0)") })
    }
    return fixture
  }

  /// Gives every row, or one, the checksum that version 1 had: the payload's alone.
  private func makeVersion1(_ connection: StoreConnection, only offset: Int? = nil) throws {
    let rows = try connection.query("SELECT first_offset, payload FROM log") {
      ($0.int(0), CRC32C.checksum($0.blob(1)))
    }
    for (first, checksum) in rows where offset == nil || offset == first {
      try connection.execute(
        "UPDATE log SET checksum = ? WHERE first_offset = ?",
        [.integer(Int64(checksum)), .integer(first)])
    }
  }

  private func verify(_ core: IngestCore) async throws -> (records: Int, damaged: Int) {
    var pass = try core.beginVerification(from: 0)
    while pass.next < pass.end { try await core.verify(&pass) }
    core.endVerification(pass)
    return (pass.records, pass.damagedCount)
  }

  @Test func `rows of both versions are read, and answered alike`() async throws {
    let fixture = try await log()
    let written = try await fixture.records()
    #expect(written.map(\.firstOffset) == [0, 1, 4, 7])
    try fixture.reopen { try fixture.tamper { try makeVersion1($0, only: 4) } }
    #expect(try await fixture.records() == written)
    try fixture.reopen { try fixture.tamper { try makeVersion1($0) } }
    #expect(try await fixture.records() == written)
    #expect(try await verify(fixture.core) == (4, 0))
    // What is appended now has version 2, behind rows of version 1.
    _ = try await fixture.send([Fixture.event(id: "new")])
    #expect(try await fixture.records().count == 5)
    for record in try await fixture.records() {
      if case .batch(let bytes) = record.body {
        #expect(record.checksum == CRC32C.checksum(Array(bytes)))
      }
    }
  }

  @Test(arguments: [
    "app_id = 'shoq'", "kind = 2", "kind = 99", "count = 2", "count = 4", "count = 0",
    "received_ms = received_ms + 1", "clock_offset_ms = 1", "import = 1",
    "bytes_before = bytes_before + 1", "checksum = checksum + 1", "checksum = checksum & 4294967295",
    "checksum = checksum | (1 << 56)", "payload = x'00'", "payload = zeroblob(length(payload))",
    "first_offset = 5", "first_offset = 3",
  ])
  func `a wrong value in any column of a row is found, and never served`(change: String) async throws {
    let fixture = try await log()
    try fixture.reopen {
      try fixture.tamper { try $0.execute("UPDATE log SET \(change) WHERE first_offset = 4") }
    }
    #expect(try await fixture.core.records(from: 0).next <= 4)
    let error = await #expect(throws: RPCError.self) {
      var next: UInt64 = 0
      while next < fixture.core.head { next = try await fixture.core.records(from: next).next }
    }
    #expect(error?.code == .dataLoss)
    #expect(error?.message.contains("offset \(change.hasSuffix("= 3") ? 3 : 4)") == true, "\(error?.message ?? "")")
    #expect(fixture.core.damagedRecords == 1)
    let found = try await verify(fixture.core)
    #expect(found.damaged >= 1)
    // Events go on being taken.
    #expect(try await fixture.send([Fixture.event(id: "later")]).accepted == 1)
  }

  @Test func `a row that is missing is found by the next one, and at the end of what is there`() async throws {
    let fixture = try await log()
    try fixture.reopen {
      try fixture.tamper { try $0.execute("DELETE FROM log WHERE first_offset = 4") }
    }
    let (_, next) = try await fixture.core.records(from: 0)
    #expect(next == 4)
    let error = await #expect(throws: RPCError.self) { _ = try await fixture.core.records(from: 4) }
    #expect(error?.message.contains("the record at offset 4 is missing") == true)
    let inside = await #expect(throws: RPCError.self) { _ = try await fixture.core.records(from: 5) }
    #expect(inside?.code == .dataLoss)
    #expect(try await verify(fixture.core) == (3, 1))
  }

  @Test func `every damaged record is listed by a verification, whatever the size of its steps`() async throws {
    let fixture = try await Fixture()
    for batch in 0..<40 { _ = try await fixture.send([Fixture.event(id: "\(batch)")]) }
    try fixture.reopen {
      try fixture.tamper {
        try $0.execute("UPDATE log SET payload = x'01' WHERE first_offset IN (3, 4, 17, 40)")
        try $0.execute("DELETE FROM log WHERE first_offset IN (8, 9)")
      }
    }
    for bytes in [1, 300, 1 << 20] {
      var pass = try fixture.core.beginVerification(from: 0)
      while pass.next < pass.end { try await fixture.core.verify(&pass, bytes: bytes) }
      #expect(pass.damagedCount == 5, "steps of \(bytes) bytes")
      #expect(pass.records == 39)
    }
  }
}

/// Rows that hold several batches.
@Suite struct SharedRowTests {
  /// A row of kind `batches`: where it begins, and where its index ends.
  private struct SharedRow {
    let first: UInt64
    let count: UInt64
    let batches: Int
    var indexBytes: Int { 4 + 32 * batches }
  }

  private func rows(_ connection: StoreConnection) throws -> [SharedRow] {
    try connection.query("SELECT first_offset, count, payload FROM log WHERE kind = 8 ORDER BY 1") { row in
      SharedRow(
        first: UInt64(row.int(0)), count: UInt64(row.int(1)),
        batches: Int(UInt32(littleEndian: row.blob(2).loadUnaligned(as: UInt32.self))))
    }
  }

  /// Batches of two apps by turns, of one event to six, sent without waiting.
  private func log(batches: Int = 60) async throws -> (Fixture, [ProtoCollectRequest]) {
    let fixture = try await Fixture()
    var other = ProtoApp()
    other.appID = "other"
    _ = try await fixture.core.createApp(other, now: Fixture.start)
    let requests = (0..<batches).map { number in
      Fixture.request(
        (0...number % 6).map { Fixture.event(id: "\(number)/\($0)") }, user: "u\(number)",
        app: number % 2 == 0 ? "shop" : "other", isImport: number % 7 == 0)
    }
    let importer = Principal(tokenID: "i", appID: nil, scopes: ["ingest:write", "ingest:import"])
    let answers = try await fixture.sendTogether(requests, as: importer)
    #expect(answers.map { Int($0.accepted) } == requests.map(\.events.count))
    return (fixture, requests)
  }

  private func sharedRows(_ fixture: Fixture) throws -> [SharedRow] {
    var found: [SharedRow] = []
    try fixture.reopen { try fixture.tamper { found = try rows($0) } }
    #expect(found.count >= 2, "a row of each app at least")
    return found
  }

  /// The bytes of a row's payload, changed.
  private func change(
    _ row: SharedRow, _ fixture: Fixture, _ body: (inout [UInt8]) -> Void
  ) throws {
    try fixture.reopen {
      try fixture.tamper { connection in
        let offset = StoreValue.integer(Int64(row.first))
        var payload = try connection.first("SELECT payload FROM log WHERE first_offset = ?", [offset]) { $0.bytes(0) }!
        body(&payload)
        try connection.execute("UPDATE log SET payload = ? WHERE first_offset = ?", [.blob(payload), offset])
      }
    }
  }

  private func verify(_ core: IngestCore) async throws -> (records: Int, damaged: Int) {
    var pass = try core.beginVerification(from: 0)
    while pass.next < pass.end { try await core.verify(&pass) }
    core.endVerification(pass)
    return (pass.records, pass.damagedCount)
  }

  @Test func `each batch of a row is a record of its own, the app's in their order, byte for byte`() async throws {
    let (fixture, requests) = try await log()
    _ = try sharedRows(fixture)
    let records = try await fixture.records()
    var next: UInt64 = 0
    for record in records {
      #expect(record.firstOffset == next)
      next += UInt64(record.count)
    }
    #expect(next == fixture.core.head)
    for app in ["shop", "other"] {
      let batches = records.filter { $0.appID == app && $0.count > 0 }.compactMap { record -> ProtoLogRecord? in
        if case .batch = record.body { record } else { nil }
      }
      let wanted = requests.filter { $0.appID == app }
      #expect(batches.count == wanted.count)
      for (record, request) in zip(batches, wanted) {
        let bytes: [UInt8] = try request.serializedBytes()
        #expect(record.body == .batch(Data(bytes)))
        #expect(record.checksum == CRC32C.checksum(bytes))
        #expect(Int(record.count) == request.events.count && record.import == request.import)
        #expect(record.receivedMs == Fixture.start)
      }
    }
    #expect(try await verify(fixture.core) == (records.count, 0))
    for offset in 0..<fixture.core.head {
      #expect(try await fixture.records(from: offset) == records.filter { $0.firstOffset + UInt64($0.count) > offset })
    }
  }

  @Test func `a damaged batch is told by its own offset, and the others of its row are served`() async throws {
    let (fixture, _) = try await log()
    let records = try await fixture.records()
    let row = try #require(try sharedRows(fixture).first { $0.batches > 4 })
    let own = records.filter { (row.first..<row.first + row.count).contains($0.firstOffset) }
    #expect(own.count == row.batches)
    var place = row.indexBytes
    for number in [0, 2, row.batches - 1] {
      guard case .batch(let bytes) = own[number].body else { continue }
      place = row.indexBytes + own[..<number].reduce(0) { sum, record in
        guard case .batch(let bytes) = record.body else { return sum }
        return sum + bytes.count
      }
      let bit = place + bytes.count / 2
      try change(row, fixture) { $0[bit] ^= 4 }
      let error = await #expect(throws: RPCError.self) {
        _ = try await fixture.core.records(from: own[number].firstOffset)
      }
      #expect(error?.code == .dataLoss)
      #expect(error?.message.contains("offset \(own[number].firstOffset) ") == true, "\(error?.message ?? "")")
      if number > 0 {
        let (message, next) = try await fixture.core.records(from: row.first)
        #expect(try ProtoSubscribeResponse(serializedBytes: message).records == Array(own[..<number]))
        #expect(next == own[number].firstOffset)
      }
      let after = own[number].firstOffset + UInt64(own[number].count)
      #expect(try await fixture.records(from: after) == records.filter { $0.firstOffset >= after })
      #expect(try await verify(fixture.core) == (records.count, 1))
      try change(row, fixture) { $0[bit] ^= 4 }
    }
    #expect(try await verify(fixture.core) == (records.count, 0))
  }

  @Test func `a wrong bit anywhere in a row's index is found, and nothing of the row served`() async throws {
    let (fixture, _) = try await log(batches: 8)
    let row = try #require(try sharedRows(fixture).first)
    for byte in 0..<row.indexBytes {
      try change(row, fixture) { payload in
        if byte > 0 { payload[byte - 1] ^= 1 << UInt8((byte - 1) % 8) }
        payload[byte] ^= 1 << UInt8(byte % 8)
      }
      let error = await #expect(throws: RPCError.self) { _ = try await fixture.core.records(from: row.first) }
      #expect(error?.code == .dataLoss)
      #expect(error?.message.contains("offset \(row.first) ") == true, "byte \(byte): \(error?.message ?? "")")
      #expect(try await verify(fixture.core).damaged == 1)
    }
  }

  @Test(arguments: [
    "app_id = 'shoq'", "kind = 1", "kind = 2", "count = count + 1", "count = 1", "received_ms = received_ms + 1",
    "clock_offset_ms = 1", "import = 1", "bytes_before = bytes_before + 1", "checksum = checksum & 4294967295",
    "payload = substr(payload, 1, length(payload) - 1)", "payload = x'00'", "payload = payload || x'00'",
  ])
  func `a wrong value in any of its columns is found`(change: String) async throws {
    let (fixture, _) = try await log(batches: 12)
    let row = try #require(try sharedRows(fixture).first)
    try fixture.reopen {
      try fixture.tamper { try $0.execute("UPDATE log SET \(change) WHERE first_offset = \(row.first)") }
    }
    let error = await #expect(throws: RPCError.self) { _ = try await fixture.core.records(from: row.first) }
    #expect(error?.code == .dataLoss)
    #expect(try await verify(fixture.core).damaged >= 1)
  }

  @Test func `a row ends at its greatest size, and a larger batch has one to itself`() async throws {
    let fixture = try await Fixture()
    let text = String(repeating: "x", count: 1_000)
    let requests = (0..<64).map { number in
      Fixture.request(
        (0..<(number == 30 ? 300 : 30)).map { Fixture.event(id: "\(number)/\($0)", fields: [("text", .text(text))]) })
    }
    _ = try await fixture.sendTogether(requests)
    var sizes: [(kind: Int, bytes: Int)] = []
    try fixture.reopen {
      try fixture.tamper {
        sizes = try $0.query("SELECT kind, length(payload) FROM log") { (kind: $0.int(0), bytes: $0.int(1)) }
      }
    }
    #expect(sizes.contains { $0.kind == 8 && $0.bytes > 200_000 })
    #expect(sizes.allSatisfy { $0.kind != 8 || $0.bytes <= 256 << 10 })
    #expect(sizes.contains { $0.kind == 1 && $0.bytes > 256 << 10 })
    #expect(try await fixture.batches() == requests)
  }

  @Test func `batches keep their order, and offsets have no gaps, where changes come between`() async throws {
    let fixture = try await Fixture()
    // Where the change lies among them is the writer's to say. (That no batch of a user lies behind the record that takes consent
    // back is `PrivacyTests`'.)
    for number in 0..<20 {
      async let events = fixture.sendTogether(
        (0..<8).map { Fixture.request([Fixture.event(id: "\(number)/\($0)")]) })
      var app = ProtoApp()
      app.appID = "app\(number)"
      async let change = fixture.core.createApp(app, now: Fixture.start)
      _ = try await (events, change)
    }
    let written = try await fixture.records()
    #expect(written.count == 1 + 20 * 9)
    #expect(try await verify(fixture.core) == (written.count, 0))
    let ids = try await fixture.batches().flatMap(\.events).map(\.eventID)
    #expect(ids == (0..<20).flatMap { number in (0..<8).map { "\(number)/\($0)" } })
  }

  @Test func `what was seen is counted again from rows of several batches`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.sendTogether((0..<30).map { Fixture.request([Fixture.event("seen", id: "\($0)")]) })
    let counted = try await fixture.core.plans.coverage("shop").unregistered
    #expect(counted.map(\.events) == [30])
    try fixture.reopen {
      try fixture.tamper {
        try $0.execute("DELETE FROM plan_seen")
        try $0.execute("UPDATE setting SET value = zeroblob(8) WHERE name = 'plan_seen_offset'")
      }
    }
    #expect(try await fixture.core.plans.coverage("shop").unregistered == counted)
  }
}

@Suite struct RetentionTests {
  private func fill(_ fixture: Fixture, batches: Int, daysApart: Int64 = 1) async throws {
    for batch in 0..<batches {
      let received = Fixture.start + Int64(batch) * daysApart * Fixture.day
      _ = try await fixture.send(
        [Fixture.event(time: received, id: "\(batch)a"), Fixture.event(time: received, id: "\(batch)b")],
        received: received)
    }
  }

  @Test func `records are removed for their age, from the front, never the last`() async throws {
    let fixture = try await Fixture(policy: LogPolicy(keepMilliseconds: 3 * Fixture.day))
    try await fill(fixture, batches: 10)
    // The app's record at 0, batches at 1, 3 ... 19, received on the days 0-9.
    try await fixture.core.removeOld(now: Fixture.start + 9 * Fixture.day)
    #expect(fixture.core.firstOffset == 13)
    #expect(try await fixture.status().firstOffset == 13)
    #expect(try await fixture.records(from: 13).map(\.firstOffset) == [13, 15, 17, 19])
    try await fixture.core.removeOld(now: Fixture.start + 900 * Fixture.day)
    #expect(fixture.core.firstOffset == 19)
    #expect(fixture.core.head == 21)
    try fixture.reopen()
    #expect(fixture.core.firstOffset == 19)
    #expect(fixture.core.head == 21)
    // What is gone from the log is not forgotten within the window of ids: it is still counted once.
    let again = try await fixture.send(
      [Fixture.event(time: Fixture.start + 5 * Fixture.day, id: "5a")],
      received: Fixture.start + 9 * Fixture.day)
    #expect(again.duplicates == 1)
  }

  @Test(arguments: [-1, 0, 1, Int64.max, .min])
  func `a row that lies about its events neither stops retention nor takes others with it`(count: Int64) async throws {
    let fixture = try await Fixture(policy: LogPolicy(keepMilliseconds: 3 * Fixture.day))
    try await fill(fixture, batches: 10)
    try fixture.reopen(policy: LogPolicy(keepMilliseconds: 3 * Fixture.day)) {
      try fixture.tamper { try $0.execute("UPDATE log SET count = \(count) WHERE first_offset = 5") }
    }
    try await fixture.core.removeOld(now: Fixture.start + 9 * Fixture.day)
    #expect(fixture.core.firstOffset == 13)
    #expect(try await fixture.records(from: 13).map(\.firstOffset) == [13, 15, 17, 19])
  }

  @Test func `records are removed for their size, in several small transactions`() async throws {
    let fixture = try await Fixture(policy: LogPolicy(keepBytes: 20_000))
    for batch in 0..<1_500 { _ = try await fixture.send([Fixture.event(id: "\(batch)")]) }
    let before = try await fixture.status()
    let groups = fixture.core.figures.groups
    try await fixture.core.removeOld(now: Fixture.start)
    #expect(fixture.core.figures.groups - groups >= 3)
    let after = try await fixture.status()
    #expect(before.payloadBytes > 35_000)
    #expect((19_900...20_000).contains(after.payloadBytes))
    #expect(after.freeBytes > 0)
    let left = try await fixture.records(from: after.firstOffset)
    #expect(left.first?.firstOffset == after.firstOffset)
    // The space is used again: the file does not grow.
    for batch in 0..<200 { _ = try await fixture.send([Fixture.event(id: "more\(batch)")]) }
    #expect(try await fixture.status().fileBytes <= after.fileBytes + 64 << 10)
  }

  @Test func `on a full disk retention makes room, in the same process`() async throws {
    let fixture = try await Fixture(fileBytesMax: 640 << 10, policy: LogPolicy(keepBytes: 100_000))
    let text = String(repeating: "x", count: 1_000)
    var accepted = 0
    while true {
      do {
        _ = try await fixture.send([Fixture.event(id: "\(accepted)", fields: [("text", .text(text))])])
        accepted += 1
      } catch let error as RPCError {
        #expect(error.code == .resourceExhausted)
        break
      }
    }
    #expect(accepted > 200)
    #expect(try await fixture.records().count == accepted + 1)
    try await fixture.core.removeOld(now: Fixture.start)
    try await Task.sleep(for: .milliseconds(300))
    #expect(try await fixture.send([Fixture.event(id: "after")]).accepted == 1)
    let first = Fixture.event(id: "0", fields: [("text", .text(text))])
    #expect(try await fixture.send([first]).duplicates == 1)
  }
}
