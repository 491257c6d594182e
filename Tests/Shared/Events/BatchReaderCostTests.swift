import Events
import Messages
import SwiftProtobuf
import Testing

@Suite struct BatchReaderCostTests {
  /// 20 events of three fields each, as a mini program sends them.
  private func batch() throws -> [UInt8] {
    var request = ProtoCollectRequest()
    request.context.openID = "oGZUI0egBJY1zhBYw2KhdUfwVJJE"
    request.context.province = "广东省"
    request.context.scene = 1089
    request.deviceID = "d-0123456789abcdef"
    request.sentMs = 1_700_000_100_000
    request.events = (1...20).map { number in
      var event = ProtoEvent()
      event.name = number % 3 == 0 ? "$page_view" : "add_to_cart"
      event.timeMs = 1_700_000_000_000 + Int64(number) * 1_234
      event.pagePath = "pages/product/detail"
      event.sequence = UInt64(1_000 + number)
      event.fields = [("sku", nil), ("price", 12.5), ("source", nil)].map { name, price in
        var field = ProtoField()
        field.name = name
        if let price { field.value.doubleValue = price } else { field.value.stringValue = "value-1" }
        return field
      }
      return event
    }
    return try request.serializedBytes()
  }

  /// Prints what decoding and checking cost; fails only where the checksum says that it did not happen.
  @Test func decoding_and_checking_an_event_costs_nanoseconds() throws {
    let bytes = try batch()
    let rounds = 20_000
    let reader = BatchReader()
    var times: UInt64 = 0
    let clock = ContinuousClock()
    let reading = try clock.measure {
      for _ in 0..<rounds {
        try bytes.withUnsafeBytes { try reader.read($0) }
        times &+= UInt64(reader.events[19].timeMilliseconds)
      }
    }
    var broken = 0
    let checking = bytes.withUnsafeBytes { message in
      clock.measure {
        for _ in 0..<rounds {
          let rules = BatchRules(reader, message: message)
          for event in reader.events where rules.violation(of: event) != nil { broken += 1 }
        }
      }
    }
    print("decode \(nanoseconds(reading, rounds)) ns/event, rules \(nanoseconds(checking, rounds)) ns/event")
    #expect(times == UInt64(rounds) * 1_700_000_024_680)
    #expect(broken == 0)
  }

  private func nanoseconds(_ duration: Duration, _ rounds: Int) -> Int {
    Int(duration.components.attoseconds / 1_000_000_000 + duration.components.seconds * 1_000_000_000)
      / (rounds * 20)
  }
}
