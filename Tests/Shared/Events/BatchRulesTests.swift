import Events
import Messages
import SwiftProtobuf
import Testing

private func valid() -> ProtoCollectRequest {
  var event = ProtoEvent()
  event.name = "$page_view"
  event.timeMs = 1_700_000_000_000
  event.pagePath = "pages/index"
  event.sequence = 1
  event.fields = [field("price") { $0.doubleValue = 1.5 }]
  var request = ProtoCollectRequest()
  request.context.openID = "user"
  request.deviceID = "device"
  request.events = [event]
  return request
}

private func field(_ name: String, _ set: (inout ProtoFieldValue) -> Void) -> ProtoField {
  var field = ProtoField()
  field.name = name
  set(&field.value)
  return field
}

/// The first broken rule of the batch, else of its first event.
private func violation(_ request: ProtoCollectRequest) throws -> RuleViolation? {
  let bytes: [UInt8] = try request.serializedBytes()
  return try bytes.withUnsafeBytes { message in
    let reader = BatchReader()
    try reader.read(message)
    let rules = BatchRules(reader, message: message)
    return rules.violationOfBatch() ?? reader.events.first.flatMap { rules.violation(of: $0) }
  }
}

private struct Case: Sendable, CustomTestStringConvertible {
  let message: String
  let reason: RuleViolation.Reason
  let change: @Sendable (inout ProtoCollectRequest) -> Void
  var testDescription: String { message }

  init(
    _ message: String, _ reason: RuleViolation.Reason,
    _ change: @escaping @Sendable (inout ProtoCollectRequest) -> Void
  ) {
    (self.message, self.reason, self.change) = (message, reason, change)
  }
}

private let long = String(repeating: "x", count: 2_000)

private let cases: [Case] = [
  Case("events: from 1 to 1000; got 0", .required) { $0.events = [] },
  Case("events: at most 1000; got 1001", .tooMany) {
    $0.events = Array(repeating: $0.events[0], count: 1_001)
  },
  Case("context.open_id: required", .required) { $0.context.openID = "" },
  Case("context.open_id: at most 128 bytes; got 129 bytes", .tooLong) {
    $0.context.openID = String(repeating: "u", count: 129)
  },
  Case("context.city: at most 256 bytes; got 2000 bytes", .tooLong) { $0.context.city = long },
  Case("context.age: from 0 to 150; got -1", .outOfRange) { $0.context.age = -1 },
  Case("context.release_channel: from 0 to 3; got 9", .outOfRange) {
    $0.context.releaseChannel = .UNRECOGNIZED(9)
  },
  Case("context.experiments: at most 16; got more than 16", .tooMany) {
    for number in 0..<17 { $0.context.experiments["e\(number)"] = "a" }
  },
  Case("app_id: must match ^[a-z0-9][a-z0-9_-]{0,63}$; got \"Wx\"", .badName) { $0.appID = "Wx" },
  Case("device_id: at most 128 bytes; got 2000 bytes", .tooLong) { $0.deviceID = long },
  Case("sent_ms: from 0 to 253402300799999; got -5", .outOfRange) { $0.sentMs = -5 },
  Case("name: required", .required) { $0.events[0].name = "" },
  Case("name: at most 32 bytes; got 2000 bytes", .tooLong) { $0.events[0].name = long },
  Case(
    "name: must match ^[a-z][a-z0-9_]{0,31}$ or be a built-in event; got \"$pageview\"", .badName
  ) { $0.events[0].name = "$pageview" },
  Case(
    "name: must match ^[a-z][a-z0-9_]{0,31}$ or be a built-in event; got \"Buy\u{fffd}\"", .badName
  ) { $0.events[0].name = "Buy\n" },
  Case("time_ms: required", .required) { $0.events[0].timeMs = 0 },
  Case("time_ms: from 1 to 253402300799999; got -1", .outOfRange) { $0.events[0].timeMs = -1 },
  Case("page_path: at most 512 bytes; got 2000 bytes", .tooLong) { $0.events[0].pagePath = long },
  Case("page_path: a path without its query, which goes into fields; got \"a?b=1\"", .badName) {
    $0.events[0].pagePath = "a?b=1"
  },
  Case("event_id: required, where the event has no sequence", .required) {
    $0.events[0].sequence = 0
  },
  Case("device_id: required, where events have a sequence", .required) { $0.deviceID = "" },
  Case("event_id: at most 128 bytes; got 2000 bytes", .tooLong) { $0.events[0].eventID = long },
  Case("fields: at most 64; got 65", .tooMany) {
    $0.events[0].fields = (0..<65).map { number in field("f\(number)") { $0.integerValue = 1 } }
  },
  Case("fields[0].name: must match ^[a-z][a-z0-9_]{0,31}$; got \"9a\"", .badName) {
    $0.events[0].fields[0].name = "9a"
  },
  Case("fields.price: required, a field has a value", .required) {
    $0.events[0].fields[0].value = ProtoFieldValue()
  },
  Case("fields.price: must be finite; got nan", .notFinite) {
    $0.events[0].fields[0].value.doubleValue = .nan
  },
  Case("fields.price: at most 1024 bytes; got 2000 bytes", .tooLong) {
    $0.events[0].fields[0].value.stringValue = long
  },
  Case("fields.price: a name occurs once in an event; got \"price\"", .badName) {
    $0.events[0].fields.append($0.events[0].fields[0])
  },
  Case("fields.stay_ms: an integer; got double", .wrongType) {
    $0.events[0].name = "$page_leave"
    $0.events[0].fields = [field("stay_ms") { $0.doubleValue = 1 }]
  },
  Case("fields.stay_ms: from 0 to 604800000; got -1", .outOfRange) {
    $0.events[0].name = "$page_leave"
    $0.events[0].fields = [field("stay_ms") { $0.integerValue = -1 }]
  },
  Case("context.open_id: the same user as of the batch; got \"other\"", .outOfRange) {
    $0.events[0].context.openID = "other"
  },
  Case("context.city: at most 256 bytes; got 2000 bytes", .tooLong) {
    $0.events[0].context.city = long
  },
]

@Suite struct BatchRulesTests {
  @Test func a_good_event_breaks_no_rule() throws {
    #expect(try violation(valid()) == nil)
    var other = valid()
    other.deviceID = ""
    other.events[0].sequence = 0
    other.events[0].eventID = "e-1"
    other.events[0].context.openID = "user"
    #expect(try violation(other) == nil)
  }

  @Test("names field, limit and value", arguments: cases)
  private func broken(_ broken: Case) throws {
    var request = valid()
    broken.change(&request)
    let found = try #require(try violation(request))
    #expect(found.message == broken.message)
    #expect(found.reason == broken.reason)
  }

  @Test func bytes_that_are_not_text_reject_the_event_only() throws {
    var event = WireWriter()
    event.text(1, [0x61, 0xff])
    event.number(2, 5)
    var good = WireWriter()
    good.text(1, Array("buy".utf8))
    good.number(2, 5)
    good.text(5, Array("id".utf8))
    var request = WireWriter()
    var context = WireWriter()
    context.text(1, Array("u".utf8))
    request.text(2, context.bytes)
    request.text(3, event.bytes)
    request.text(3, good.bytes)
    try request.bytes.withUnsafeBytes { message in
      let reader = BatchReader()
      try reader.read(message)
      let rules = BatchRules(reader, message: message)
      #expect(rules.violationOfBatch() == nil)
      #expect(rules.violation(of: reader.events[0])?.message == "name: must be UTF-8; got other bytes")
      #expect(rules.violation(of: reader.events[1]) == nil)
    }
  }

  @Test func built_in_names_are_known_by_their_bytes() {
    for event in BuiltInEvent.allCases {
      #expect(EventName(event.name)?.builtIn == event)
      #expect(EventName(event.name + "x") == nil)
    }
    #expect(EventName("$launcx") == nil)
    #expect(EventName("buy_2")?.builtIn == nil)
    #expect(EventName(String(repeating: "a", count: 32)) != nil)
    #expect(EventName(String(repeating: "a", count: 33)) == nil)
  }

  @Test func names_of_context_fields_lead_back_to_them() {
    #expect(ContextField.allCases.count == 32)
    for field in ContextField.allCases { #expect(ContextField(name: field.name) == field) }
    #expect(ContextField(name: "colour") == nil)
  }
}
