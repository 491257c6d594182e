import Events
import Foundation
import Messages
import SwiftProtobuf
import TestKit
import Testing

@Suite struct RequestRewriterTests {
  /// A request whose events have fields, pages and contexts of their own.
  private func request(_ random: inout SeededRandom) -> ProtoCollectRequest {
    var request = ProtoCollectRequest()
    request.appID = "shop"
    request.deviceID = "d"
    request.sentMs = 5
    request.context.openID = "u"
    request.context.city = "Hangzhou"
    request.context.age = 30
    request.events = (0..<1 + random.below(6)).map { number in
      var event = ProtoEvent()
      event.name = "e\(number)"
      event.timeMs = 1
      if random.oneIn(2) { event.pagePath = "pages/\(number)" }
      if random.oneIn(3) {
        event.context.city = "Chengdu"
        event.context.scene = 1_001
        event.context.experiments = ["a": "b"]
      }
      event.fields = (0..<random.below(5)).map { field in
        var value = ProtoField()
        value.name = "f\(field)"
        value.value.stringValue = String(repeating: "x", count: random.below(200))
        return value
      }
      return event
    }
    return request
  }

  @Test func `what is taken out is gone, and everything else is as it was`() throws {
    var random = SeededRandom(seed: 3)
    for _ in 0..<500 {
      let request = request(&random)
      var expected = request
      var removals: [FieldRemoval] = []
      if random.oneIn(2) {
        removals.append(FieldRemoval(event: nil, place: .context(.city)))
        expected.context.city = ""
      }
      for index in request.events.indices where !random.oneIn(3) {
        if random.oneIn(2) {
          removals.append(FieldRemoval(event: index, place: .page))
          expected.events[index].pagePath = ""
        }
        if request.events[index].hasContext, random.oneIn(2) {
          removals.append(FieldRemoval(event: index, place: .context(.city)))
          removals.append(FieldRemoval(event: index, place: .context(.scene)))
          expected.events[index].context.city = ""
          expected.events[index].context.scene = 0
        }
        let gone = request.events[index].fields.indices.filter { _ in random.oneIn(2) }
        removals += gone.map { FieldRemoval(event: index, place: .field($0)) }
        for place in gone.reversed() { expected.events[index].fields.remove(at: place) }
      }
      let bytes: [UInt8] = try request.serializedBytes()
      let rewritten = try bytes.withUnsafeBytes {
        try RequestRewriter.rewrite($0, removing: removals)
      }
      #expect(try ProtoCollectRequest(serializedBytes: rewritten) == expected)
      if removals.isEmpty { #expect(rewritten == bytes) }
    }
  }

  @Test func `a page that is there twice goes twice, and unknown members stay`() throws {
    var request = ProtoCollectRequest()
    var event = ProtoEvent()
    event.name = "e"
    event.pagePath = "first"
    let twice: [UInt8] = try event.serializedBytes() + [3 << 3 | 2, 1, 0x62] + [15 << 3, 7]
    request.batch = 9
    var bytes: [UInt8] = [3 << 3 | 2, UInt8(twice.count)] + twice
    bytes += try request.serializedBytes() as [UInt8]
    let rewritten = try bytes.withUnsafeBytes {
      try RequestRewriter.rewrite($0, removing: [FieldRemoval(event: 0, place: .page)])
    }
    let read = try ProtoCollectRequest(serializedBytes: rewritten)
    #expect(read.events[0].pagePath == "")
    #expect(read.events[0].unknownFields.data == Data([15 << 3, 7]))
    #expect(read.batch == 9)
  }

  /// Whatever a reader takes, broken or not, can be written anew, and is read with as many events and without the values.
  @Test func `messages that were damaged are written anew where they can be read at all`() throws {
    var random = SeededRandom(seed: 5)
    let reader = BatchReader()
    var read = 0
    for _ in 0..<5_000 {
      var bytes: [UInt8] = try request(&random).serializedBytes()
      for _ in 0..<1 + random.below(4) {
        bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
      }
      let removals = bytes.withUnsafeBytes { message -> [FieldRemoval]? in
        guard (try? reader.read(message)) != nil, reader.eventCount <= 1_000 else { return nil }
        return Self.everything(reader)
      }
      guard let removals else { continue }
      read += 1
      let events = reader.events.count
      let rewritten = try bytes.withUnsafeBytes {
        try RequestRewriter.rewrite($0, removing: removals)
      }
      try rewritten.withUnsafeBytes { try reader.read($0) }
      #expect(reader.events.count == events)
      #expect(Self.everything(reader).isEmpty)
    }
    #expect(read > 1_000)
  }

  /// All fields, pages and cities of a message.
  private static func everything(_ reader: BatchReader) -> [FieldRemoval] {
    var removals: [FieldRemoval] = []
    if !reader.context.text(.city).isEmpty {
      removals.append(FieldRemoval(event: nil, place: .context(.city)))
    }
    for (index, event) in reader.events.enumerated() {
      if !event.pagePath.isEmpty { removals.append(FieldRemoval(event: index, place: .page)) }
      if let own = reader.context(of: event).own, !own.text(.city).isEmpty {
        removals.append(FieldRemoval(event: index, place: .context(.city)))
      }
      removals += reader.fields(of: event).indices.map { FieldRemoval(event: index, place: .field($0)) }
    }
    return removals
  }

  @Test func `bytes that are no request are refused`() {
    let bytes: [UInt8] = [3 << 3 | 2, 200]
    #expect(throws: WireError.self) {
      try bytes.withUnsafeBytes { try RequestRewriter.rewrite($0, removing: []) }
    }
  }
}
