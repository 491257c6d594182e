import Events
import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

extension Fixture {
  private func context(_ method: MethodDescriptor) -> CallContext {
    CallContext(method: method, principal: Principal(tokenID: "op", appID: nil, scopes: ["admin"]))
  }

  private var privacy: PrivacyService { PrivacyService(core: core, now: { Fixture.start }) }

  @discardableResult
  func setRules(_ change: (inout ProtoPrivacyRules) -> Void) async throws -> ProtoPrivacyRules {
    var request = ProtoSetPrivacyRulesRequest()
    request.rules.appID = "shop"
    change(&request.rules)
    return try await privacy.setPrivacyRules(
      request, context: context(PrivacyMethods.setPrivacyRules))
  }

  func rules() async throws -> ProtoPrivacyRules {
    try await privacy.getPrivacyRules(
      .with { $0.appID = "shop" }, context: context(PrivacyMethods.getPrivacyRules))
  }

  @discardableResult
  func setConsent(
    _ state: ProtoConsentState, user: String = "u1", purpose: String = "analytics"
  ) async throws -> ProtoConsent {
    var request = ProtoSetConsentRequest()
    request.appID = "shop"
    request.openID = user
    request.purpose = purpose
    request.state = state
    return try await privacy.setConsent(request, context: context(PrivacyMethods.setConsent))
  }

  func consent(_ user: String = "u1") async throws -> ProtoGetConsentResponse {
    var request = ProtoGetConsentRequest()
    request.appID = "shop"
    request.openID = user
    return try await privacy.getConsent(request, context: context(PrivacyMethods.getConsent))
  }
}

@Suite struct ConsentTests {
  @Test(arguments: [ProtoConsentState.denied, .withdrawn])
  func `events of a user who refused are not stored, are answered by index and counted`(
    state: ProtoConsentState
  ) async throws {
    let fixture = try await Fixture()
    try await fixture.setConsent(state)
    for attempt in 1...2 {
      let answer = try await fixture.send([Fixture.event(id: "a"), Fixture.event("Bad", id: "b")])
      #expect(answer.accepted == 0)
      #expect(answer.rejected.map(\.index) == [0, 1])
      #expect(answer.rejected.map(\.reason) == ["no_consent", "bad_name"])
      #expect(answer.rejected[0].field == "context.open_id")
      if attempt == 1 { try fixture.reopen() }
    }
    #expect(try await fixture.batches().isEmpty)
    #expect(try await fixture.status().quarantinedEvents == 0)
    let total = try await fixture.completeness().total
    #expect(total.outcomes == ["rejected.no_consent": 2, "rejected.bad_name": 2])
    // Other users are not concerned, and consent can be given again.
    #expect(
      try await fixture.send(Fixture.request([Fixture.event(id: "c")], user: "u2")).accepted == 1)
    try await fixture.setConsent(.granted)
    #expect(try await fixture.send([Fixture.event(id: "a")]).accepted == 1)
  }

  @Test func `a late or conflicting event of a user who refused is not kept aside either`()
    async throws
  {
    let fixture = try await Fixture()
    _ = try await fixture.send([Fixture.event(id: "a"), Fixture.event(sequence: 1)], device: "d")
    try await fixture.setConsent(.withdrawn)
    let answer = try await fixture.send(
      [
        Fixture.event(time: Fixture.start - 9 * Fixture.day, id: "old"),
        Fixture.event("other", id: "a"), Fixture.event("other", sequence: 1),
      ], device: "d")
    #expect(answer.rejected.map(\.reason) == ["no_consent", "no_consent", "no_consent"])
    #expect(try await fixture.status().quarantinedEvents == 0)
    // The retry of what is in the log answers as the first.
    let again = try await fixture.send(
      [Fixture.event(id: "a"), Fixture.event(sequence: 1)], device: "d")
    #expect(again == .with { $0.accepted = 2; $0.duplicates = 2 })
  }

  @Test func `numbers of refused events are no loss once consent is given again`() async throws {
    let fixture = try await Fixture()
    func send(_ numbers: ClosedRange<UInt64>) async throws {
      _ = try await fixture.send(numbers.map { Fixture.event(sequence: $0) }, device: "d")
    }
    try await send(1...5)
    try await fixture.setConsent(.withdrawn)
    for first in stride(from: UInt64(6), to: 3_006, by: 500) { try await send(first...first + 499) }
    try await fixture.setConsent(.granted)
    try await send(3_006...3_010)
    let total = try await fixture.completeness().total
    #expect((total.accepted, total.gapsOpened, total.missing, total.lost) == (10, 0, 0, 0))
    #expect(total.outcomes["rejected.no_consent"] == 3_000)
  }

  @Test func `an app may require that consent is given first`() async throws {
    let fixture = try await Fixture()
    try await fixture.setRules { $0.consentDefault = .requireGranted }
    #expect(try await fixture.send([Fixture.event(id: "a")]).rejected.map(\.reason) == ["no_consent"])
    #expect(try await !fixture.consent().eventsAreTaken)
    try await fixture.setConsent(.granted)
    try fixture.reopen()
    #expect(try await fixture.send([Fixture.event(id: "a")]).accepted == 1)
    #expect(try await fixture.consent().eventsAreTaken)
    // Another purpose decides nothing here.
    try await fixture.setConsent(.granted, user: "u2", purpose: "marketing")
    let other = try await fixture.send(Fixture.request([Fixture.event(id: "b")], user: "u2"))
    #expect(other.accepted == 0)
    try await fixture.setRules { _ in }
    #expect(
      try await fixture.send(Fixture.request([Fixture.event(id: "b")], user: "u2")).accepted == 1)
  }

  @Test func `states, their history and their records in the log`() async throws {
    let fixture = try await Fixture()
    #expect(try await fixture.consent().history.isEmpty)
    try await fixture.setConsent(.granted)
    let first = try await fixture.setConsent(.granted)
    try await fixture.setConsent(.withdrawn)
    try await fixture.setConsent(.denied, purpose: "news_letter")
    let consent = try await fixture.consent()
    #expect(consent.states.map(\.purpose) == ["analytics", "marketing", "news_letter", "personalization"])
    #expect(consent.states.map(\.state) == [.withdrawn, .granted, .denied, .granted])
    #expect(consent.states.map(\.changedMs) == [Fixture.start, 0, Fixture.start, 0])
    #expect(consent.history.map(\.state).sorted { $0.rawValue < $1.rawValue } == [.granted, .denied, .withdrawn])
    #expect(consent.history.allSatisfy { $0.tokenID == "op" })
    #expect(first.changedMs == Fixture.start)
    let records = try await fixture.records().compactMap { record in
      if case .consent(let bytes) = record.body { try ProtoConsentRecord(serializedBytes: bytes) } else { nil }
    }
    #expect(records.map(\.state) == [.granted, .withdrawn, .denied])
    #expect(records.allSatisfy { $0.appID == "shop" && $0.openID == "u1" })
  }

  @Test func `no event of a user lies behind the record that takes consent back`() async throws {
    let fixture = try await Fixture()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for worker in 0..<8 {
        group.addTask {
          for number in 0..<100 {
            _ = try await fixture.send([Fixture.event(id: "\(worker)-\(number)")])
          }
        }
      }
      group.addTask { try await fixture.setConsent(.withdrawn) }
      try await group.waitForAll()
    }
    let records = try await fixture.records()
    let place = try #require(records.firstIndex { if case .consent = $0.body { true } else { false } })
    #expect(place == records.count - 1)
    let total = try await fixture.completeness().total
    #expect(total.received == 800)
    #expect(total.isBalanced)
  }

  @Test func `of a user's changes the last hundred of a purpose are kept`() async throws {
    let fixture = try await Fixture()
    for number in 0..<130 {
      try await fixture.setConsent(number % 2 == 0 ? .granted : .withdrawn)
    }
    #expect(try await fixture.consent().history.count == 100)
  }

  @Test(arguments: [
    ("open_id", "", "analytics", 1), ("open_id", String(repeating: "x", count: 129), "analytics", 1),
    ("purpose", "u", "Analytics", 1), ("purpose", "u", "", 1), ("state", "u", "analytics", 0),
    ("state", "u", "analytics", 9),
  ] as [(String, String, String, Int)])
  func `what is no consent is refused by the name of its field`(
    field: String, user: String, purpose: String, state: Int
  ) async throws {
    let fixture = try await Fixture()
    let error = try await #require(throws: RPCError.self) {
      try await fixture.setConsent(
        ProtoConsentState(rawValue: state) ?? .unspecified, user: user, purpose: purpose)
    }
    #expect(error.code == .invalidArgument)
    #expect(error.message.hasPrefix("\(field):"))
  }
}

@Suite struct PrivacyRulesTests {
  private static func fields(_ request: ProtoCollectRequest) -> [[String]] {
    request.events.map { $0.fields.map(\.name) }
  }

  @Test func `denied names are taken out, told and counted, and the rest of the event is kept`()
    async throws
  {
    let fixture = try await Fixture()
    try await fixture.setRules { $0.deniedFields = ["mobile", "city", "page_path", "age"] }
    var request = Fixture.request([
      Fixture.event(id: "a", fields: [("price", .integer(1)), ("mobile", .text("x")), ("city", .text("y"))]),
      Fixture.event(id: "b", fields: [("price", .integer(2))]),
    ])
    request.context.city = "Hangzhou"
    request.context.province = "Zhejiang"
    request.context.age = 30
    request.events[1].pagePath = "pages/a"
    request.events[1].context.city = "Chengdu"
    let answer = try await fixture.send(request)
    #expect(answer.accepted == 2)
    #expect(
      answer.removedFields.map(\.field) == [
        "context.city", "context.age", "fields.mobile", "fields.city", "page_path", "context.city",
      ])
    #expect(answer.removedFields.map(\.hasIndex) == [false, false, true, true, true, true])
    #expect(answer.removedFields.dropFirst(2).map(\.index) == [0, 0, 1, 1])
    #expect(answer.removedFields.allSatisfy { $0.rule == "denied" })
    let stored = try #require(try await fixture.batches().last)
    #expect(Self.fields(stored) == [["price"], ["price"]])
    #expect(stored.context.city == "")
    #expect(stored.context.age == 0)
    #expect(stored.context.province == "Zhejiang")
    #expect(stored.events[1].pagePath == "")
    let record = try #require(try await fixture.records().last)
    #expect(record.checksum == CRC32C.checksum(Array(record.batch)))
    let total = try await fixture.completeness().total
    #expect(total.removed.map(\.reason) == ["denied"])
    #expect(total.removed.map(\.events) == [6])
    // A retry stores nothing again, so nothing more is counted.
    let again = try await fixture.send(request)
    #expect((again.accepted, again.duplicates) == (2, 2))
    #expect(again.removedFields == answer.removedFields)
    #expect(try await fixture.completeness().total.removed.map(\.events) == [6])
  }

  @Test func `a retry is a duplicate whatever the rules are by then`() async throws {
    let fixture = try await Fixture()
    let events = [
      Fixture.event(sequence: 1, fields: [("mobile", .text("13812345678"))]),
      Fixture.event(id: "a", fields: [("mobile", .text("13812345678"))]),
    ]
    let rules: [(inout ProtoPrivacyRules) -> Void] = [
      { _ in }, { $0.patterns = [.phone] }, { $0.deniedFields = ["mobile"] }, { _ in },
    ]
    for start in rules.indices {
      let device = "d\(start)"
      let own = events.map { event in
        var event = event
        if !event.eventID.isEmpty { event.eventID = "a\(start)" }
        return event
      }
      for (step, rule) in (rules[start...] + rules[..<start]).enumerated() {
        try await fixture.setRules(rule)
        let answer = try await fixture.send(own, device: device)
        #expect(answer.accepted == 2)
        #expect(answer.duplicates == (step == 0 ? 0 : 2))
        #expect(answer.quarantined.isEmpty)
      }
    }
  }

  @Test func `values are found by their form, and no trace of them is on disk`() async throws {
    let fixture = try await Fixture()
    try await fixture.setRules {
      $0.patterns = [.phone, .idCard, .email, .bankCard, .ipAddress]
      $0.customPatterns = [.with { $0.name = "staff"; $0.form = "EMP-######" }]
    }
    let secrets: [(String, String)] = [
      ("phone", "13812345678"), ("id_card", "11010519491231002X"), ("email", "ada@example.com"),
      ("bank_card", "4111111111111111"), ("ip_address", "192.168.77.55"), ("custom.staff", "EMP-123456"),
    ]
    let old = Fixture.start - 9 * Fixture.day
    for (number, (rule, secret)) in secrets.enumerated() {
      let fields: [(String, ProtoFieldValue)] = [("note", .text("is \(secret) right?")), ("kind", .text("k"))]
      let answer = try await fixture.send([
        Fixture.event(id: "\(number)", fields: fields), Fixture.event(time: old, id: "old\(number)", fields: fields),
      ])
      #expect(answer.accepted == 1)
      #expect(answer.quarantined.map(\.reason) == ["late"])
      #expect(answer.removedFields.map(\.rule) == [rule, rule])
      #expect(answer.removedFields.map(\.index) == [0, 1])
    }
    let number = try await fixture.send([Fixture.event(id: "n", fields: [("m", .integer(13_812_345_678))])])
    #expect(number.removedFields.map(\.rule) == ["phone"])
    fixture.core.close()
    let folder = try FileManager.default.contentsOfDirectory(at: fixture.folder, includingPropertiesForKeys: nil)
    for file in folder {
      let bytes = try Data(contentsOf: file)
      for (rule, secret) in secrets {
        #expect(bytes.range(of: Data(secret.utf8)) == nil, "\(rule) in \(file.lastPathComponent)")
      }
    }
  }

  @Test func `a field that is not stored fixes no type`() async throws {
    let fixture = try await Fixture()
    try await fixture.setRules { $0.deniedFields = ["mobile"] }
    _ = try await fixture.send([Fixture.event(id: "a", fields: [("mobile", .text("x"))])])
    try await fixture.setRules { _ in }
    let answer = try await fixture.send([Fixture.event(id: "b", fields: [("mobile", .integer(1))])])
    #expect(answer == .with { $0.accepted = 1 })
  }

  @Test(arguments: [1_024, 1_025])
  func `an oversize text rejects its event, or is taken out where the app says so`(bytes: Int)
    async throws
  {
    let fixture = try await Fixture()
    let fields = [("note", ProtoFieldValue.text(String(repeating: "x", count: bytes))), ("price", .integer(1))]
    let isOver = bytes > 1_024
    let strict = try await fixture.send([Fixture.event(id: "a", fields: fields)])
    #expect(strict.rejected.map(\.reason) == (isOver ? ["too_long"] : []))
    try await fixture.setRules { $0.oversize = .remove }
    let answer = try await fixture.send([Fixture.event(id: "b", fields: fields)])
    #expect(answer.accepted == 1)
    #expect(answer.removedFields.map(\.rule) == (isOver ? ["oversize"] : []))
    #expect(try await fixture.batches().last.map(Self.fields) == [isOver ? ["price"] : ["note", "price"]])
  }

  @Test func `an event with more fields than may be is not stored, forbidden fields or not`() async throws {
    let fixture = try await Fixture()
    try await fixture.setRules { $0.deniedFields = ["f0"] }
    let fields = (0..<65).map { ("f\($0)", ProtoFieldValue.integer(1)) }
    let answer = try await fixture.send([Fixture.event(id: "a", fields: fields)])
    #expect(answer.rejected.map(\.reason) == ["too_many"])
  }

  @Test func `rules hold after a restart, and are answered as they were set`() async throws {
    let fixture = try await Fixture()
    let standard = try await fixture.rules()
    #expect(standard.consentDefault == .assumeGranted)
    #expect(standard.oversize == .reject)
    #expect(standard.latenessMs == 7 * Fixture.day)
    #expect(standard.changedMs == 0)
    let set = try await fixture.setRules {
      $0.deniedFields = ["mobile", "mobile"]
      $0.patterns = [.email, .email]
    }
    #expect(set.deniedFields == ["mobile"])
    #expect(set.patterns == [.email])
    #expect(set.tokenID == "op")
    try fixture.reopen()
    #expect(try await fixture.rules() == set)
    let answer = try await fixture.send([Fixture.event(id: "a", fields: [("mobile", .text("x"))])])
    #expect(answer.removedFields.count == 1)
  }

  private static let bad: [(String, @Sendable (inout ProtoPrivacyRules) -> Void)] = [
    ("denied_fields[0]", { $0.deniedFields = ["Mobile"] }),
    ("denied_fields[1]", { $0.deniedFields = ["mobile", "open_id"] }),
    ("denied_fields", { $0.deniedFields = (0..<257).map { "f\($0)" } }),
    ("patterns[0]", { $0.patterns = [.unspecified] }),
    ("consent_default", { $0.consentDefault = .UNRECOGNIZED(7) }),
    ("oversize", { $0.oversize = .UNRECOGNIZED(7) }),
    ("lateness_ms", { $0.latenessMs = 3_599_999 }),
    ("lateness_ms", { $0.latenessMs = 34_560_000_001 }),
    ("lateness_ms", { $0.latenessMs = -1 }),
    ("custom_patterns[0].name", { $0.customPatterns = [.with { $0.form = "###" }] }),
    ("custom_patterns[0].form", { $0.customPatterns = [.with { $0.name = "a"; $0.form = "##" }] }),
    ("custom_patterns[1].name", { $0.customPatterns = [.with { $0.name = "a"; $0.form = "###" }, .with { $0.name = "a"; $0.form = "####" }] }),
    ("custom_patterns", { $0.customPatterns = (0..<17).map { n in .with { $0.name = "a\(n)"; $0.form = "###" } } }),
  ]

  @Test(arguments: 0..<13)
  func `rules that break a rule are refused by the name of the field`(index: Int) async throws {
    let fixture = try await Fixture()
    let error = try await #require(throws: RPCError.self) {
      try await fixture.setRules(Self.bad[index].1)
    }
    #expect(error.code == .invalidArgument)
    #expect(error.message.hasPrefix("\(Self.bad[index].0):"))
    #expect(try await fixture.rules().changedMs == 0)
  }
}

@Suite struct EventTimeTests {
  @Test(arguments: [(60_000, 0), (60_001, 60_001), (-60_000, 0), (-60_001, -60_001)] as [(Int64, Int64)])
  func `a batch has one offset where the clocks differ by more than 60 s`(
    difference: Int64, offset: Int64
  ) async throws {
    let fixture = try await Fixture()
    var request = Fixture.request([Fixture.event(sequence: 1), Fixture.event(time: Fixture.start + 1, sequence: 2)], device: "d")
    request.sentMs = Fixture.start - difference
    _ = try await fixture.send(request)
    let record = try #require(try await fixture.records().last)
    #expect(record.clockOffsetMs == offset)
    // The events themselves stay as they came, in their order.
    #expect(try await fixture.batches().last?.events.map(\.timeMs) == [Fixture.start, Fixture.start + 1])
  }

  @Test(arguments: [(300_000, 300_000), (300_001, 0)] as [(Int64, Int64)])
  func `an event may lie 5 min after its receipt, and then counts as received`(
    after: Int64, counted: Int64
  ) async throws {
    let fixture = try await Fixture()
    let answer = try await fixture.send([Fixture.event(time: Fixture.start + after, id: "a")])
    #expect(answer.accepted == 1)
    let record = try #require(try await fixture.records().last)
    let clock = EventClock(received: record.receivedMs, offset: record.clockOffsetMs, isImport: record.import)
    #expect(clock.time(Fixture.start + after) == Fixture.start + counted)
  }

  @Test(arguments: [0, 3_600_000, 30 * Fixture.day])
  func `an event may lie as far back as its app says, 7 days by default, and not 1 ms more`(
    bound: Int64
  ) async throws {
    let fixture = try await Fixture()
    if bound > 0 { try await fixture.setRules { $0.latenessMs = bound } }
    let limit = bound > 0 ? bound : 7 * Fixture.day
    try fixture.reopen()
    let answer = try await fixture.send([
      Fixture.event(time: Fixture.start - limit, id: "a"),
      Fixture.event(time: Fixture.start - limit - 1, id: "b"),
    ])
    #expect(answer.accepted == 1)
    #expect(answer.quarantined.map(\.index) == [1])
    #expect(answer.quarantined.map(\.reason) == ["late"])
    // The clock's correction comes first.
    var request = Fixture.request([Fixture.event(time: Fixture.start - limit - 60_001, id: "c")])
    request.sentMs = Fixture.start - 60_001
    #expect(try await fixture.send(request).accepted == 1)
  }

  @Test func `another app's bound is its own`() async throws {
    let fixture = try await Fixture()
    try await fixture.setRules { $0.latenessMs = 30 * Fixture.day }
    var app = ProtoApp()
    app.appID = "second"
    _ = try await fixture.core.createApp(app, now: Fixture.start)
    let event = Fixture.event(time: Fixture.start - 8 * Fixture.day, id: "a")
    for (name, accepted) in [("shop", 1), ("second", 0)] as [(String, UInt32)] {
      let answer = try await fixture.send(Fixture.request([event], app: name), as: Fixture.anyApp)
      #expect(answer.accepted == accepted)
    }
  }
}
