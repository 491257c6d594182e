import Events
import Messages
import SwiftProtobuf
import TestKit
import Testing

/// What the generated decoder makes of bytes; nil where it refuses them.
private func generated(_ bytes: [UInt8]) -> ProtoCollectRequest? {
  var options = BinaryDecodingOptions()
  options.discardUnknownFields = true
  return try? ProtoCollectRequest(serializedBytes: bytes, options: options)
}

private func read(_ bytes: [UInt8], with reader: BatchReader = BatchReader()) throws
  -> ProtoCollectRequest
{
  try bytes.withUnsafeBytes { message in
    try reader.read(message)
    return ReaderToMessage(reader: reader, message: message).request()
  }
}

/// Whether the reader reports text that is not UTF-8, where the generated decoder refuses the message.
private func reportsBadText(_ bytes: [UInt8]) -> Bool {
  bytes.withUnsafeBytes { message in
    let reader = BatchReader()
    return (try? reader.read(message)) != nil && reader.hasBadText
  }
}

/// Compares doubles by their bits: NaN is equal to itself here.
private func same(_ a: ProtoCollectRequest, _ b: ProtoCollectRequest) throws -> Bool {
  var options = BinaryEncodingOptions()
  options.useDeterministicOrdering = true
  let left: [UInt8] = try normalised(a).serializedBytes(options: options)
  let right: [UInt8] = try normalised(b).serializedBytes(options: options)
  return left == right
}

@Suite struct BatchReaderTests {
  @Test("random messages mean the same to both decoders", arguments: [1, 2, 3, 4] as [UInt64])
  func randomMessages(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let reader = BatchReader()
    var compared = 0
    for round in 0..<3_000 {
      let bytes = Shape.request.random(&random, unknown: round % 2 == 0)
      let expected = try #require(generated(bytes), "seed \(seed), round \(round)")
      let found = try read(bytes, with: reader)
      #expect(try same(found, expected), "seed \(seed), round \(round)")
      compared += found.events.count
    }
    #expect(compared > 500)
  }

  @Test("cut and changed bytes never crash and never mean something else", arguments: [5, 6, 7])
  func damagedMessages(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var refused = 0
    for round in 0..<6_000 {
      var bytes = Shape.request.random(&random, unknown: false)
      guard !bytes.isEmpty else { continue }
      if random.oneIn(3) { bytes.removeLast(random.below(bytes.count)) }
      for _ in 0..<random.below(3) where !bytes.isEmpty {
        bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
      }
      let expected = generated(bytes)
      let found = try? read(bytes)
      if let expected, let found {
        #expect(try same(found, expected), "seed \(seed), round \(round): \(bytes)")
      } else if expected == nil, found != nil {
        #expect(reportsBadText(bytes), "seed \(seed), round \(round): \(bytes)")
      } else {
        #expect(expected == nil, "seed \(seed), round \(round): \(bytes)")
        refused += 1
      }
    }
    #expect(refused > 500)
  }

  @Test func kept_events_are_copied_verbatim() throws {
    var request = ProtoCollectRequest()
    request.context.openID = "u"
    request.events = (1...3).map { number in
      var event = ProtoEvent()
      event.name = "event_\(number)"
      event.timeMs = Int64(number)
      return event
    }
    let bytes: [UInt8] = try request.serializedBytes()
    let copied: [UInt8] = try bytes.withUnsafeBytes { message in
      let reader = BatchReader()
      try reader.read(message)
      return [0, 2].flatMap { Array(reader.events[$0].encoded.bytes(in: message)) }
    }
    let again = try ProtoCollectRequest(serializedBytes: copied)
    #expect(again.events == [request.events[0], request.events[2]])
  }

  @Test func an_event_s_own_context_replaces_what_it_sets() throws {
    var request = ProtoCollectRequest()
    request.context.openID = "u"
    request.context.city = "Xi'an"
    request.context.scene = 1001
    request.context.experiments = ["a": "1"]
    var event = ProtoEvent()
    event.context.scene = 1129
    event.context.experiments = ["b": "2"]
    request.events = [event, ProtoEvent()]
    let bytes: [UInt8] = try request.serializedBytes()
    try bytes.withUnsafeBytes { message in
      let reader = BatchReader()
      try reader.read(message)
      let first = reader.context(of: reader.events[0])
      let second = reader.context(of: reader.events[1])
      #expect(first.integer(.scene) == 1129)
      #expect(second.integer(.scene) == 1001)
      #expect(first.text(.city).text(in: message) == "Xi'an")
      #expect(reader.experiments(of: first).map { $0.name.text(in: message) } == ["b"])
      #expect(reader.experiments(of: second).map { $0.name.text(in: message) } == ["a"])
    }
  }

  @Test func what_broke_is_named_with_its_place() {
    #expect(throws: WireError(reason: .truncated, offset: 2)) { try read([0x1a, 0x05]) }
    #expect(throws: WireError(reason: .badTag, offset: 0)) { try read([0x00]) }
    #expect(throws: WireError(reason: .badTag, offset: 0)) { try read([0x0f]) }
    let endless = [UInt8](repeating: 0xff, count: 12)
    #expect(throws: WireError(reason: .varintTooLong, offset: 1)) { try read([0x20] + endless) }
    var deep = WireWriter()
    for _ in 0..<200 { deep.tag(50, 3) }
    #expect(throws: WireError.self) { try read(deep.bytes) }
  }

  @Test func a_message_over_the_limit_is_refused_unread() {
    let bytes = [UInt8](repeating: 0, count: EventLimits.requestBytesMax + 1)
    #expect(throws: WireError(reason: .tooLong, offset: bytes.count)) { try read(bytes) }
  }

  @Test func events_beyond_the_limit_are_counted_but_not_kept() throws {
    var request = ProtoCollectRequest()
    request.events = Array(repeating: ProtoEvent(), count: 1_234)
    let bytes: [UInt8] = try request.serializedBytes()
    try bytes.withUnsafeBytes { message in
      let reader = BatchReader()
      try reader.read(message)
      #expect(reader.eventCount == 1_234)
      #expect(reader.events.count == 1_000)
    }
  }

  @Test func experiments_of_interleaved_contexts_stay_apart() throws {
    var writer = WireWriter()
    var expected: [String: String] = [:]
    for round in 0..<10 {
      let entry = experiment("k\(round % 7)", "v\(round)")
      expected["k\(round % 7)"] = "v\(round)"
      writer.text(2, entry)
      var event = WireWriter()
      event.text(8, experiment("own", "\(round)"))
      writer.text(3, event.bytes)
    }
    let found = try read(writer.bytes)
    #expect(found.context.experiments == expected)
    #expect(found.events.map { $0.context.experiments["own"] } == (0..<10).map { "\($0)" })
  }

  private func experiment(_ name: String, _ variant: String) -> [UInt8] {
    var entry = WireWriter()
    entry.text(1, Array(name.utf8))
    entry.text(2, Array(variant.utf8))
    var context = WireWriter()
    context.text(31, entry.bytes)
    return context.bytes
  }
}

@Suite struct UTF8ValidationTests {
  @Test("agrees with the standard library", arguments: [8, 9] as [UInt64])
  func random(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let interesting: [UInt8] = [
      0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0,
      0xf4, 0xf5, 0xff, 0x41,
    ]
    for _ in 0..<50_000 {
      let bytes = (0..<random.below(12)).map { _ in random.pick(interesting) }
      let expected = String(validating: bytes, as: UTF8.self) != nil
      #expect(bytes.withUnsafeBytes { UTF8Validation.isValid($0) } == expected, "\(bytes)")
    }
  }
}
