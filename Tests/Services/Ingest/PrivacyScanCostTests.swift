import Events
import Ingest
import Messages
import SwiftProtobuf
import Testing

@Suite struct PrivacyScanCostTests {
  /// 20 events of four fields each, as a mini program sends them.
  private func batch() throws -> [UInt8] {
    var request = ProtoCollectRequest()
    request.context.openID = "oGZUI0egBJY1zhBYw2KhdUfwVJJE"
    request.context.province = "广东省"
    request.context.campaignSource = "newsletter"
    request.events = (1...20).map { number in
      var event = Fixture.event("add_to_cart", sequence: UInt64(number))
      event.pagePath = "pages/product/detail"
      event.fields = [
        ("product_id", .text("sku-\(number)")), ("category", .text("tea/oolong")),
        ("note", .text("没有糖, 少冰, 12 号桌")), ("price", .integer(Int64(number) * 100)),
      ].map { name, value in .with { $0.name = name; $0.value = value } }
      return event
    }
    return try request.serializedBytes()
  }

  /// Prints what looking for personal data costs; fails only where it found what is not there, or missed what is.
  @Test func `looking for personal data costs nanoseconds`() throws {
    var bytes = try batch()
    let reader = BatchReader()
    let all = PatternMatcher([.phone, .idCard, .email, .bankCard, .ipAddress])
    let kinds = [
      ("names", PrivacyScanner(denied: ["mobile", "id_number", "city"], removesOversize: false, matcher: PatternMatcher([]))),
      ("patterns", PrivacyScanner(denied: [], removesOversize: true, matcher: all)),
    ]
    let rounds = 5_000
    for (name, scanner) in kinds {
      var found = 0
      let time = try ContinuousClock().measure {
        try bytes.withUnsafeBytes { message in
          try reader.read(message)
          for _ in 0..<rounds { found += scanner.removals(reader, message).count }
        }
      }
      let nanoseconds = Double(time.components.attoseconds) / 1e9 + Double(time.components.seconds) * 1e9
      print("\(name): \(Int(nanoseconds / Double(rounds * 20))) ns/event")
      #expect(found == 0)
    }
    let place = try #require(bytes.firstRange(of: Array("sku-7".utf8)))
    bytes.replaceSubrange(place, with: Array("a@b.c".utf8))
    let missed = try bytes.withUnsafeBytes { message in
      try reader.read(message)
      return kinds[1].1.removals(reader, message).map(\.path)
    }
    #expect(missed.isEmpty, "a@b.c is no address")
    let note = try #require(bytes.firstRange(of: Array("12 号桌".utf8)))
    bytes.replaceSubrange(note, with: Array("a@bb.cc  ".utf8))
    let seen = try bytes.withUnsafeBytes { message in
      try reader.read(message)
      return kinds[1].1.removals(reader, message).map(\.path)
    }
    #expect(seen == ["fields.note"])
  }
}
