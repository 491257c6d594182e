import TestKit

/// Writes protobuf by hand: what no generated encoder would write.
struct WireWriter {
  var bytes: [UInt8] = []

  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  mutating func tag(_ number: Int, _ type: Int) { varint(UInt64(number << 3 | type)) }

  mutating func text(_ number: Int, _ text: [UInt8]) {
    tag(number, 2)
    varint(UInt64(text.count))
    bytes += text
  }

  mutating func number(_ field: Int, _ value: UInt64) {
    tag(field, 0)
    varint(value)
  }
}

/// A message of ingest.proto, as far as random bytes for it need to know it.
indirect enum Shape {
  case text
  case number
  case double
  case message([Int: Shape])

  static let value = Shape.message([1: .text, 2: .number, 3: .double, 4: .number])
  static let field = Shape.message([1: .text, 2: value])
  static let context: Shape = {
    var fields: [Int: Shape] = [:]
    for number in 1...28 { fields[number] = .text }
    for number in [8, 9, 16, 29, 30] { fields[number] = .number }
    fields[31] = .message([1: .text, 2: .text])
    return .message(fields)
  }()
  static let event = Shape.message([
    1: .text, 2: .number, 3: .text, 4: .number, 5: .text, 6: field, 7: .number, 8: context,
  ])
  static let request = Shape.message([
    1: .text, 2: context, 3: event, 4: .number, 5: .text, 6: .number, 7: .number,
  ])

  /// Random bytes of this shape: fields in any order, any number of times, some unknown.
  func random(_ random: inout SeededRandom, unknown: Bool) -> [UInt8] {
    guard case .message(let fields) = self else { return [] }
    var writer = WireWriter()
    let numbers = fields.keys.sorted()
    for _ in 0..<random.below(9) {
      if unknown, random.oneIn(8) {
        Self.writeUnknown(&writer, &random)
        continue
      }
      let number = random.pick(numbers)
      switch fields[number] {
      case .text: writer.text(number, Self.randomText(&random))
      case .number: writer.number(number, Self.randomNumber(&random))
      case .double:
        writer.tag(number, 1)
        withUnsafeBytes(of: random.next().littleEndian) { writer.bytes += $0 }
      case .message, .none:
        writer.text(number, fields[number]?.random(&random, unknown: unknown) ?? [])
      }
    }
    return writer.bytes
  }

  static func randomNumber(_ random: inout SeededRandom) -> UInt64 {
    random.next() >> UInt64(random.below(64))
  }

  static func randomText(_ random: inout SeededRandom) -> [UInt8] {
    let letters = ["a", "z", "_", "é", "界", "🙂", "\u{0}", "\u{7ff}", "\u{ffff}"]
    let plain = random.oneIn(2)
    return (0..<random.below(20)).flatMap { _ in
      Array((plain ? "x" : random.pick(letters)).utf8)
    }
  }

  private static func writeUnknown(_ writer: inout WireWriter, _ random: inout SeededRandom) {
    let number = 40 + random.below(1_000)
    switch random.below(5) {
    case 0: writer.number(number, random.next())
    case 1:
      writer.tag(number, 1)
      writer.bytes += [1, 2, 3, 4, 5, 6, 7, 8]
    case 2: writer.text(number, randomText(&random))
    case 3:
      writer.tag(number, 5)
      writer.bytes += [1, 2, 3, 4]
    default:
      writer.tag(number, 3)
      writer.number(7, 7)
      writer.tag(number, 4)
    }
  }
}
