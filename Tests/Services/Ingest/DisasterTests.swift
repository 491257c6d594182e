import Foundation
import Ingest
import Messages
import RPC
import Store
import SwiftProtobuf
import Synchronization
import Testing

private final class Answered: Sendable {
  let ids = Mutex<Set<String>>([])
}

@Suite struct DisasterTests {
  @Test func `what was answered before the process died is in the log, once`() async throws {
    let fixture = try await Fixture()
    let answered = Answered()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for sender in 0..<8 {
        group.addTask {
          for index in 1...30 {
            let events = [Fixture.event(sequence: UInt64(index)), Fixture.event(id: "\(sender)/\(index)")]
            _ = try await fixture.send(events, device: "d\(sender)")
            answered.ids.withLock { _ = $0.insert("\(sender)/\(index)") }
          }
        }
      }
      try await group.next()
      // What kill -9 leaves behind: the files as the kernel has them at some moment.
      let before = answered.ids.withLock { $0 }
      let copy = try await Fixture()
      try copy.reopen {
        for name in ["ingest.sqlite", "ingest.sqlite-wal"] {
          let target = copy.folder.appendingPathComponent(name)
          try? FileManager.default.removeItem(at: target)
          try FileManager.default.copyItem(
            at: fixture.folder.appendingPathComponent(name), to: target)
        }
      }
      let batches = try await copy.batches()
      let found = batches.flatMap { $0.events.map(\.eventID) }.filter { !$0.isEmpty }
      #expect(before.isSubset(of: found))
      #expect(Set(found).count == found.count)
      // A sender that never heard of its answer sends again: nothing counts twice.
      for batch in batches {
        let answer = try await copy.send(batch)
        #expect(answer.duplicates == UInt32(batch.events.count))
      }
      try await group.waitForAll()
    }
  }

  @Test func `on a full disk batches are refused with a time to wait, and memory is as the file`() async throws {
    let empty = try await Fixture()
    try empty.reopen()
    let bytes = try #require(
      FileManager.default.attributesOfItem(atPath: empty.path)[.size] as? Int, "the file of a log without events")
    let fixture = try await Fixture(fileBytesMax: bytes + (200 << 10))
    let text = String(repeating: "x", count: 1_000)
    let huge = (1...400).map {
      Fixture.event(sequence: UInt64($0), fields: [("text", .text(text)), ("new", .integer(1))])
    }
    let before = fixture.core.head
    let refusal = try await fixture.refusal(Fixture.request(huge, device: "d"))
    #expect(refusal.code == .resourceExhausted)
    #expect(refusal.metadata["grpc-retry-pushback-ms"] == "1000")
    #expect(fixture.core.isDiskFull)
    #expect(fixture.core.head == before)
    #expect(try await fixture.records().count == 1)
    // The same numbers again, in a batch for which there is space: nothing of the failed transaction is remembered.
    let small = huge[..<3].map { event in
      var event = event
      event.fields = [event.fields[1]]
      return event
    }
    try await Task.sleep(for: .milliseconds(300))
    let answer = try await fixture.send(Fixture.request(small, device: "d"))
    #expect(answer.accepted == 3)
    #expect(answer.duplicates == 0)
    #expect(!fixture.core.isDiskFull)
    #expect(fixture.core.head == before + 3)
    // The type that came with the failed batch was written down with this one.
    try fixture.reopen()
    let wrong = try await fixture.send([Fixture.event(id: "w", fields: [("new", .text("x"))])])
    #expect((wrong.rejected + wrong.quarantined).map(\.reason) == ["wrong_type"])
    #expect(try await fixture.send(Fixture.request(small, device: "d")).duplicates == 3)
    #expect(try await fixture.send(Fixture.request(huge, device: "d")).accepted == 397)
  }

  @Test func `a damaged record is refused, never served`() async throws {
    let fixture = try await Fixture()
    for id in ["a", "b", "c"] { _ = try await fixture.send([Fixture.event(id: id)]) }
    try fixture.reopen {
      try fixture.tamper {
        try $0.execute("UPDATE log SET payload = zeroblob(length(payload)) WHERE first_offset = 2")
      }
    }
    // What comes before it is served.
    let error = await #expect(throws: RPCError.self) { _ = try await fixture.core.records(from: 2) }
    #expect(error?.code == .dataLoss)
    #expect(error?.message.contains("offset 2") == true)
    #expect(try await fixture.records(from: 3).count == 1)
  }

  @Test func `a second process is refused`() async throws {
    let fixture = try await Fixture()
    let error = #expect(throws: StoreError.self) {
      try IngestCore(path: fixture.path, logger: fixture.logger) { _ in }
    }
    #expect(error?.code == .locked)
  }

  @Test func `a log that is closed refuses`() async throws {
    let fixture = try await Fixture()
    fixture.core.close()
    let error = try await fixture.refusal(Fixture.request([Fixture.event(id: "1")]))
    #expect(error.code == .unavailable)
  }
}
