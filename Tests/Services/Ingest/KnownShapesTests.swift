import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

/// Events that look like one that came before are asked less: what becomes of them is what it would be of the first.
@Suite struct KnownShapesTests {
  private static let values: [(String, ProtoFieldValue)] = [
    ("sku", .text("a")), ("price", .double(1.5)), ("count", .integer(3)), ("is_new", .boolean(true)),
  ]

  private static func event(_ name: String, id: String, fields: [(String, ProtoFieldValue)]) -> ProtoEvent {
    Fixture.event(name, id: id, fields: fields)
  }

  /// Sends good events of a few shapes twice: then they are known, where anything is.
  private func warmUp(_ fixture: Fixture) async throws {
    for round in 0..<2 {
      let events = Self.shapes.enumerated().map { number, shape in
        Self.event(shape.name, id: "warm-\(round)-\(number)", fields: shape.fields)
      }
      #expect(try await fixture.send(events).accepted == UInt32(events.count))
    }
  }

  private static let shapes: [(name: String, fields: [(String, ProtoFieldValue)])] = [
    ("view", []), ("buy", values), ("buy", Array(values.prefix(2))), ("buy", values.reversed()),
    ("$page_leave", [("stay_ms", .integer(5))]), ("$launch", [("sku", .text("b"))]),
    ("wide", (0..<64).map { (wideName($0), .integer(Int64($0))) }),
  ]

  /// One letter or two: as many as an event may have still fit the table.
  private static func wideName(_ number: Int) -> String {
    let letters = Array("abcdefghijklmnopqrstuvwxyz")
    return number < 26 ? String(letters[number]) : "\(number < 52 ? "z" : "y")\(letters[number % 26])"
  }

  // MARK: Against who knows nothing

  /// The same batches to a log whose every batch meets an empty table, and to one that knows what came.
  @Test(arguments: [1, 2, 3] as [UInt64])
  func `random events fare alike, known or not`(seed: UInt64) async throws {
    var random = SeededRandom(seed: seed)
    print("known shapes: seed \(seed)")
    let (cold, warm) = (try await Fixture(), try await Fixture())
    try await warmUp(cold)
    try await warmUp(warm)
    var refusals = 0
    for batch in 0..<80 {
      var events: [ProtoEvent] = []
      for number in 0..<6 {
        let shape = random.pick(Self.shapes)
        var event = Self.event(shape.name, id: "\(batch)-\(number)", fields: shape.fields)
        for _ in 0..<random.below(3) { Self.spoil(&event, &random) }
        events.append(event)
      }
      let request = Fixture.request(events)
      try cold.reopen()
      let wanted = try await cold.send(request)
      let got = try await warm.send(request)
      #expect(got == wanted, "batch \(batch) of seed \(seed)")
      refusals += got.rejected.count + got.quarantined.count
    }
    #expect(refusals > 60 && refusals < 6 * 80 - 60, "some of both: \(refusals)")
  }

  private static func spoil(_ event: inout ProtoEvent, _ random: inout SeededRandom) {
    let field = event.fields.isEmpty ? nil : random.below(event.fields.count)
    switch random.below(16) {
    case 0: event.name = changed(event.name, &random)
    case 1: event.name += "_"
    case 2: event.name = "x" + String(repeating: "y", count: 30 + random.below(4))
    case 3: event.pagePath = random.oneIn(2) ? "pages/a?b" : String(repeating: "p", count: 513)
    case 4: event.timeMs = random.oneIn(2) ? 0 : Fixture.start - 30 * Fixture.day
    case 5: event.eventID = ""
    case 6: event.context.openID = "somebody else"
    case 7:
      for number in 0..<1 + random.below(8) {
        event.fields.append(.with { ($0.name, $0.value) = ("more\(number)", .integer(1)) })
      }
    default:
      guard let field else { return }
      switch random.below(9) {
      case 0: event.fields[field].name = changed(event.fields[field].name, &random)
      case 1: event.fields.append(event.fields[field])
      case 2: event.fields[field].value = .double(random.oneIn(2) ? .nan : .infinity)
      case 3: event.fields[field].value = .text(String(repeating: "t", count: 1_020 + random.below(10)))
      case 4: event.fields[field].clearValue()
      case 5: event.fields[field].value = random.oneIn(2) ? .boolean(false) : .integer(-1)
      case 6: event.fields.remove(at: field)
      case 7: event.fields.shuffle(using: &random)
      default: event.fields[field].name = event.fields[random.below(event.fields.count)].name
      }
    }
  }

  /// One byte of it is another: one that a name may have, or may not.
  private static func changed(_ name: String, _ random: inout SeededRandom) -> String {
    var bytes = Array(name.utf8)
    guard !bytes.isEmpty else { return "q" }
    bytes[random.below(bytes.count)] = random.pick(Array("aZ_0.$".utf8))
    return String(decoding: bytes, as: UTF8.self)
  }

  // MARK: Byte by byte

  @Test func `no byte of a name is overlooked, whatever its length`() async throws {
    let fixture = try await Fixture()
    var id = 0
    func send(_ events: [(name: String, field: String)]) async throws -> ProtoCollectResponse {
      try await fixture.send(
        events.map { name, field in
          id += 1
          return Self.event(name, id: "\(id)", fields: [(field, .integer(1))])
        })
    }
    for length in 1...32 {
      let name = String("abcdefghijklmnopqrstuvwxyzabcdefgh".prefix(length))
      _ = try await send([(name, name), (name, name)])
      var spoilt: [(String, String)] = []
      for position in 0..<length {
        var bytes = Array(name.utf8)
        bytes[position] ^= 0x20
        let other = String(decoding: bytes, as: UTF8.self)
        spoilt += [(other, name), (name, other)]
      }
      let answer = try await send([(name, name)] + spoilt + [(name, name)])
      #expect(answer.accepted == 2)
      #expect(answer.rejected.map(\.reason) == spoilt.map { _ in "bad_name" }, "of \(length) bytes")
      #expect(answer.rejected.map(\.field) == spoilt.map { $0.0 == name ? "fields[0].name" : "name" })
    }
  }

  // MARK: What changes after

  @Test func `a known event is asked for where its name stands in the plan of now`() async throws {
    let plan = try await PlanFixture.make()
    let events = ["a", "b"].map { Self.event("mystery", id: $0, fields: [("sku", .text("x"))]) }
    #expect(try await plan.fixture.send(events).accepted == 2)
    _ = try await plan.plans.setMode(.strict, plan.caller)
    let again = ["c", "d"].map { Self.event("mystery", id: $0, fields: [("sku", .text("x"))]) }
    #expect(try await plan.fixture.send(again).quarantined.map(\.reason) == ["unregistered", "unregistered"])
    try await plan.publish(PlanFixture.api("mystery", fields: [("sku", .string)]))
    let later = Self.event("mystery", id: "e", fields: [("sku", .text("x"))])
    #expect(try await plan.fixture.send([later]).accepted == 1)
  }

  @Test func `what one app knows is nothing to another`() async throws {
    let fixture = try await Fixture()
    let kinds: [ProtoFieldValue] = [.text("x"), .integer(1), .double(1.5), .boolean(true)]
    // More than the table has places.
    let apps = (0..<600).map { "app\($0)" }
    for id in apps {
      var app = ProtoApp()
      app.appID = id
      _ = try await fixture.core.createApp(app, now: Fixture.start)
    }
    func send(_ app: Int, _ kind: Int) async throws -> ProtoCollectResponse {
      let event = Self.event("buy", id: "\(kind)", fields: [("price", kinds[kind])])
      return try await fixture.send(Fixture.request([event], app: apps[app]), as: Fixture.anyApp)
    }
    for app in apps.indices { #expect(try await send(app, app % 4).accepted == 1) }
    for app in apps.indices {
      let answer = try await send(app, (app + 1 + app / 4 % 3) % 4)
      #expect(answer.quarantined.map(\.reason) == ["wrong_type"])
    }
  }

  @Test func `more shapes than the table holds, and each is counted by its own`() async throws {
    let fixture = try await Fixture()
    for round in 0..<3 {
      for part in 0..<2 {
        let events = (0..<900).map { number in
          Self.event("name\(number % 300)", id: "\(round)-\(part)-\(number)", fields: [("f\(part)_\(number / 300)", .integer(1))])
        }
        #expect(try await fixture.send(events).accepted == 900)
      }
    }
    let seen = try await fixture.core.plans.coverage("shop").unregistered
    #expect(seen.count == 300)
    #expect(seen.allSatisfy { $0.events == 18 })
  }
}
