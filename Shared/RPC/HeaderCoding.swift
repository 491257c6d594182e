internal import HTTP2

/// How gRPC writes values into header fields (PROTOCOL-HTTP2.md).
package enum HeaderCoding {
  /// Percent-encodes all but 0x20-0x24 and 0x26-0x7E, as `grpc-message` wants it.
  package static func percentEncode(_ text: String) -> [UInt8] { percentEncode(text.utf8) }

  private static func isPlain(_ byte: UInt8) -> Bool { byte >= 0x20 && byte <= 0x7E && byte != 0x25 }

  private static func percentEncode(_ text: some Sequence<UInt8>) -> [UInt8] {
    let hex = Array("0123456789ABCDEF".utf8)
    var encoded: [UInt8] = []
    for byte in text {
      if isPlain(byte) {
        encoded.append(byte)
      } else {
        encoded += [0x25, hex[Int(byte >> 4)], hex[Int(byte & 15)]]
      }
    }
    return encoded
  }

  /// Undoes `percentEncode`. A `%` without two hexadecimal digits stands for itself: decoding never fails.
  package static func percentDecode(_ bytes: UnsafeRawBufferPointer) -> String {
    var decoded: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == 0x25, index + 2 < bytes.count, let high = hexDigit(bytes[index + 1]),
        let low = hexDigit(bytes[index + 2])
      {
        decoded.append(high << 4 | low)
        index += 3
      } else {
        decoded.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: decoded, as: UTF8.self)
  }

  private static func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }

  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// Base64 without padding: what `-bin` fields carry.
  package static func base64Encode(_ bytes: [UInt8]) -> [UInt8] {
    var encoded: [UInt8] = []
    encoded.reserveCapacity((bytes.count * 4 + 2) / 3)
    var buffer: UInt32 = 0
    var bits: UInt32 = 0
    for byte in bytes {
      buffer = buffer << 8 | UInt32(byte)
      bits += 8
      while bits >= 6 {
        bits -= 6
        encoded.append(alphabet[Int(buffer >> bits & 63)])
      }
    }
    if bits > 0 { encoded.append(alphabet[Int(buffer << (6 - bits) & 63)]) }
    return encoded
  }

  /// Takes base64 with and without padding; nil where it is not base64.
  package static func base64Decode(_ bytes: UnsafeRawBufferPointer) -> [UInt8]? {
    var decoded: [UInt8] = []
    decoded.reserveCapacity(bytes.count * 3 / 4)
    var buffer: UInt32 = 0
    var bits: UInt32 = 0
    var end = bytes.count
    while end > 0, bytes.count - end < 2, bytes[end - 1] == 0x3D { end -= 1 }
    if end % 4 == 1 { return nil }
    for index in 0..<end {
      guard let value = base64Digit(bytes[index]) else { return nil }
      buffer = buffer << 6 | value
      bits += 6
      if bits >= 8 {
        bits -= 8
        decoded.append(UInt8(truncatingIfNeeded: buffer >> bits))
      }
    }
    return decoded
  }

  private static func base64Digit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case 0x41...0x5A: UInt32(byte) - 0x41
    case 0x61...0x7A: UInt32(byte) - 0x61 + 26
    case 0x30...0x39: UInt32(byte) - 0x30 + 52
    case 0x2B: 62
    case 0x2F: 63
    default: nil
    }
  }

  /// `grpc-timeout`: 1-8 digits and one of H M S m u n. nil where it is malformed. Result in nanoseconds,
  /// at most `timeoutMaxNanoseconds`.
  package static func timeoutNanoseconds(_ bytes: UnsafeRawBufferPointer) -> Int64? {
    guard bytes.count >= 2, bytes.count <= 9, let unit = bytes.last else { return nil }
    var number: Int64 = 0
    for byte in bytes.dropLast() {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      number = number * 10 + Int64(byte - 0x30)
    }
    let factor: Int64
    switch unit {
    case UInt8(ascii: "H"): factor = 3_600_000_000_000
    case UInt8(ascii: "M"): factor = 60_000_000_000
    case UInt8(ascii: "S"): factor = 1_000_000_000
    case UInt8(ascii: "m"): factor = 1_000_000
    case UInt8(ascii: "u"): factor = 1_000
    case UInt8(ascii: "n"): factor = 1
    default: return nil
    }
    // Eight digits of hours are 11,000 years: beyond what nanoseconds can count, and as good as none.
    let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? timeoutMaxNanoseconds : min(nanoseconds, timeoutMaxNanoseconds)
  }

  /// The longest timeout that is told apart from none: 100 years.
  package static let timeoutMaxNanoseconds: Int64 = 100 * 365 * 86_400 * 1_000_000_000

  /// The `grpc-timeout` of a number of milliseconds, at least one.
  package static func timeout(milliseconds: Int) -> String {
    let milliseconds = max(1, milliseconds)
    if milliseconds <= 99_999_999 { return "\(milliseconds)m" }
    return "\(min(milliseconds / 1_000, 99_999_999))S"
  }

  /// Custom fields as they travel: `-bin` values in base64; of others, bytes that no field may hold (RFC 9110, 5.5) as `?`.
  package static func encode(_ entry: Metadata.Entry) -> [UInt8] {
    if entry.name.hasSuffix("-bin") { return base64Encode(entry.value) }
    return entry.value.map { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F ? UInt8(ascii: "?") : $0 }
  }

  /// `grpc-message` within a number of bytes: cut before an escape that would not be whole.
  package static func percentEncode(_ text: String, bytesMax: Int) -> [UInt8] {
    // No byte takes less than one: what lies further behind is not looked at.
    let bytes = text.utf8.prefix(bytesMax)
    if bytes.allSatisfy(isPlain) { return Array(bytes) }
    var encoded: [UInt8] = []
    // Of a character that has no room nothing is written: a message that is not UTF-8 is garbled as a whole by some clients.
    for character in text.unicodeScalars {
      let piece = percentEncode(UTF8.encode(character).unsafelyUnwrapped)
      guard encoded.count + piece.count <= bytesMax else { break }
      encoded += piece
    }
    return encoded
  }
}

extension HeaderField {
  /// A custom field. The names of a call come once.
  init(_ entry: Metadata.Entry) {
    self.init(
      name: Array(entry.name.utf8), value: HeaderCoding.encode(entry),
      isIndexed: entry.name != RequestID.header && entry.name != RequestID.traceHeader)
  }
}
