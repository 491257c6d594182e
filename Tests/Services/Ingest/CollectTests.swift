import Events
import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import Testing

@Suite struct CollectTests {
  @Test func `a batch is in the log byte for byte, with its checksum`() async throws {
    let fixture = try await Fixture()
    let request = Fixture.request([
      Fixture.event(id: "a", fields: [("price", .double(1.5))]), Fixture.event("$launch", id: "b"),
    ])
    let answer = try await fixture.send(request)
    #expect(answer == .with { $0.accepted = 2 })
    let records = try await fixture.records()
    #expect(records.map(\.firstOffset) == [0, 1])
    let record = try #require(records.last)
    let bytes: [UInt8] = try request.serializedBytes()
    #expect(record.batch == Data(bytes))
    #expect(record.checksum == CRC32C.checksum(bytes))
    #expect(record.count == 2)
    #expect(record.appID == "shop")
    #expect(record.receivedMs == Fixture.start)
    #expect(fixture.core.head == 3)
  }

  @Test func `rejected events are told by index, field and reason, and the others are kept`()
    async throws
  {
    let fixture = try await Fixture()
    let answer = try await fixture.send([
      Fixture.event(id: "0"), Fixture.event("Bad Name", id: "1"), Fixture.event(time: 0, id: "2"),
      Fixture.event(id: "3", fields: [("price", .text(String(repeating: "x", count: 1_025)))]),
      Fixture.event(id: "4"), Fixture.event(id: String(repeating: "x", count: 129)),
    ])
    #expect(answer.accepted == 2)
    #expect(answer.rejected.map(\.index) == [1, 2, 3, 5])
    #expect(answer.rejected.map(\.field) == ["name", "time_ms", "fields.price", "event_id"])
    #expect(answer.rejected.map(\.reason) == ["bad_name", "required", "too_long", "too_long"])
    #expect(answer.rejected[2].message.contains("1024"))
    #expect(answer.rejected[2].message.contains("1025"))
    let kept = try await fixture.batches()
    #expect(kept.map { $0.events.map(\.eventID) } == [["0", "4"]])
    #expect(kept[0].context.openID == "u1")
    #expect(try await fixture.records().last?.count == 2)
  }

  @Test func `a field keeps one type for ever`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(id: "1", fields: [("price", .integer(1))])])
    for attempt in 1...2 {
      let answer = try await fixture.send([
        Fixture.event(id: "2", fields: [("fresh", .integer(1)), ("price", .text("1"))])
      ])
      #expect(answer.accepted == 0)
      #expect(answer.rejected.isEmpty)
      let aside = try #require(answer.quarantined.first)
      #expect(aside.field == "fields.price")
      #expect(aside.reason == "wrong_type")
      #expect(aside.message.contains("an integer"))
      #expect(aside.message.contains("a string"))
      #expect(try await fixture.status().quarantinedEvents == 1)
      if attempt == 1 { try fixture.reopen() }
    }
    // The event that was kept aside has decided nothing about its other field.
    let answer = try await fixture.send([Fixture.event(id: "3", fields: [("fresh", .text("a"))])])
    #expect(answer.accepted == 1)
  }

  @Test func `of two types for a new field within a batch the first one stays`() async throws {
    let fixture = try await Fixture()
    let answer = try await fixture.send([
      Fixture.event(id: "1", fields: [("fresh", .integer(1))]),
      Fixture.event(id: "2", fields: [("fresh", .text("1"))]),
      Fixture.event(id: "3", fields: [("fresh", .integer(2))]),
    ])
    #expect(answer.accepted == 2)
    #expect(answer.quarantined.map(\.index) == [1])
    #expect(answer.quarantined.map(\.field) == ["fields.fresh"])
  }

  @Test func `an event that is kept aside as late decides no type`() async throws {
    let fixture = try await Fixture()
    let late = Fixture.event(time: 1, id: "1", fields: [("fresh", .integer(1))])
    #expect(try await fixture.send([late]).quarantined.map(\.reason) == ["late"])
    let answer = try await fixture.send([Fixture.event(id: "2", fields: [("fresh", .text("a"))])])
    #expect(answer.accepted == 1)
  }

  @Test func `an app has at most 10,000 names of fields`() async throws {
    let fixture = try await Fixture()
    var sent = 0
    while sent < 10_000 {
      let events = (0..<min(1_000, (10_000 - sent) / 50)).map { index in
        let first = sent + index * 50
        return Fixture.event(
          id: "\(first)", fields: (first..<first + 50).map { ("f\($0)", .integer(1)) })
      }
      let answer = try await fixture.send(events)
      #expect(answer.rejected.isEmpty)
      sent += events.count * 50
    }
    let answer = try await fixture.send([
      Fixture.event(id: "known", fields: [("f1", .integer(2))]),
      Fixture.event(id: "new", fields: [("one_more", .integer(2))]),
    ])
    #expect(answer.accepted == 1)
    #expect(answer.rejected.map(\.field) == ["fields.one_more"])
    #expect(answer.rejected.map(\.reason) == ["too_many"])
    #expect(answer.rejected[0].message.contains("10000"))
  }

  @Test func `1,000 events are taken, 1,001 and none are refused`() async throws {
    let fixture = try await Fixture()
    let events = (0..<1_001).map { Fixture.event(id: "\($0)") }
    let tooMany = try await fixture.refusal(Fixture.request(events))
    #expect(tooMany.code == .invalidArgument)
    #expect(tooMany.message.contains("1000") && tooMany.message.contains("1001"))
    #expect(try await fixture.refusal(Fixture.request([])).code == .invalidArgument)
    #expect(try await fixture.send(Array(events.dropLast())).accepted == 1_000)
    #expect(fixture.core.head == 1_001)
  }

  @Test func `what is no request is refused`() async throws {
    let fixture = try await Fixture()
    let error = try await #require(throws: RPCError.self) {
      _ = try await fixture.core.collect(
        [0x1a, 0xff], principal: Fixture.principal, received: Fixture.start)
    }
    #expect(error.code == .invalidArgument)
  }

  @Test func `the app is the token's or is named`() async throws {
    let fixture = try await Fixture()
    let events = [Fixture.event(id: "1")]
    let other = try await fixture.refusal(Fixture.request(events, app: "other"))
    #expect(other.code == .permissionDenied)
    let none = try await fixture.refusal(Fixture.request(events), as: Fixture.anyApp)
    #expect(none.code == .invalidArgument)
    let unknown = try await fixture.refusal(
      Fixture.request(events, app: "nowhere"), as: Fixture.anyApp)
    #expect(unknown.code == .notFound)
    #expect(unknown.message.contains("nowhere"))
    let answer = try await fixture.send(Fixture.request(events, app: "shop"), as: Fixture.anyApp)
    #expect(answer.accepted == 1)
  }

  @Test func `an import needs its scope`() async throws {
    let fixture = try await Fixture()
    let writer = Principal(tokenID: "w", appID: "shop", scopes: ["ingest:write"])
    let request = Fixture.request([Fixture.event(id: "1")], isImport: true)
    let error = try await fixture.refusal(request, as: writer)
    #expect(error.code == .permissionDenied)
    #expect(error.message.contains("ingest:import"))
  }

  @Test func `late events are kept aside, those at the bound are not late`() async throws {
    let fixture = try await Fixture()
    let bound = Fixture.start - 7 * Fixture.day
    let request = Fixture.request([
      Fixture.event(time: bound, id: "at"), Fixture.event(time: bound - 1, id: "beyond"),
    ])
    for _ in 1...2 {
      let answer = try await fixture.send(request)
      #expect(answer.accepted == 1)
      #expect(answer.quarantined.map(\.index) == [1])
      #expect(answer.quarantined.map(\.reason) == ["late"])
    }
    #expect(try await fixture.status().quarantinedEvents == 1)
    #expect(try await fixture.batches().flatMap { $0.events.map(\.eventID) } == ["at"])
  }

  @Test func `an import takes history`() async throws {
    let fixture = try await Fixture()
    let answer = try await fixture.send(
      Fixture.request([Fixture.event(time: 1, id: "old")], isImport: true))
    #expect(answer == .with { $0.accepted = 1 })
    #expect(try await fixture.records().last?.import == true)
  }

  @Test func `the offset of a device's clock is written beside its events`() async throws {
    let fixture = try await Fixture()
    var request = Fixture.request([Fixture.event(time: 1_000, id: "1")])
    request.sentMs = 2_000
    #expect(try await fixture.send(request).accepted == 1)
    #expect(try await fixture.records().last?.clockOffsetMs == Fixture.start - 2_000)
  }

  @Test func `batches that come together share transactions`() async throws {
    let fixture = try await Fixture()
    try await withThrowingTaskGroup(of: UInt32.self) { group in
      for index in 0..<300 {
        group.addTask { try await fixture.send([Fixture.event(id: "\(index)")]).accepted }
      }
      for try await accepted in group { #expect(accepted == 1) }
    }
    #expect(fixture.core.head == 301)
    let figures = fixture.core.figures
    #expect(figures.batches == 301)
    #expect(figures.groups < 200)
  }
}
