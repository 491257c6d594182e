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
    let fixture = try await Fixture(fileBytesMax: 600 << 10, policy: LogPolicy(keepBytes: 100_000))
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
