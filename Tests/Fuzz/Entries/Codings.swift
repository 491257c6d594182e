import Foundation
import RPC

/// What stands in header fields, against Foundation or the plainest arithmetic.
enum Codings {
  static func timeout(_ bytes: UnsafeRawBufferPointer) {
    let nanoseconds = HeaderCoding.timeoutNanoseconds(bytes)
    precondition(nanoseconds == expectedTimeout(Array(bytes)), "a timeout is read wrongly")
    guard let nanoseconds else { return }
    // Written in milliseconds it comes back, rounded down to what that form can say.
    let milliseconds = Int(nanoseconds / 1_000_000)
    let written = Array(HeaderCoding.timeout(milliseconds: milliseconds).utf8)
    let again = written.withUnsafeBytes { HeaderCoding.timeoutNanoseconds($0) }
    guard let again else { preconditionFailure("a timeout of ours does not read") }
    precondition(again <= max(1, Int64(milliseconds)) * 1_000_000, "a timeout grew on the way")
    if (1...99_999_999).contains(milliseconds) {
      precondition(again == Int64(milliseconds) * 1_000_000, "a timeout changed on the way")
    }
  }

  private static func expectedTimeout(_ bytes: [UInt8]) -> Int64? {
    let units: [UInt8: Int128] = [
      UInt8(ascii: "H"): 3_600_000_000_000, UInt8(ascii: "M"): 60_000_000_000,
      UInt8(ascii: "S"): 1_000_000_000, UInt8(ascii: "m"): 1_000_000, UInt8(ascii: "u"): 1_000,
      UInt8(ascii: "n"): 1,
    ]
    let digits = bytes.dropLast()
    guard (1...8).contains(digits.count), let last = bytes.last, let unit = units[last],
      digits.allSatisfy({ (48...57).contains($0) })
    else { return nil }
    let number = digits.reduce(Int128(0)) { $0 * 10 + Int128($1 - 48) }
    return Int64(min(number * unit, Int128(HeaderCoding.timeoutMaxNanoseconds)))
  }

  static func percent(_ bytes: UnsafeRawBufferPointer) {
    let decoded = HeaderCoding.percentDecode(bytes)
    if let text = String(validating: bytes, as: UTF8.self) {
      let encoded = HeaderCoding.percentEncode(text)
      precondition(
        encoded.allSatisfy { (0x20...0x7E).contains($0) }, "an encoded message is not printable")
      precondition(
        encoded.withUnsafeBytes { HeaderCoding.percentDecode($0) } == text,
        "a message changed on the way")
      // Foundation refuses what gRPC takes as it is.
      if let other = text.removingPercentEncoding {
        precondition(other == decoded, "a message is decoded otherwise by Foundation")
      }
    }
  }

  static func base64(_ bytes: UnsafeRawBufferPointer) {
    let plain = Array(bytes)
    let encoded = HeaderCoding.base64Encode(plain)
    precondition(
      encoded.withUnsafeBytes { HeaderCoding.base64Decode($0) } == plain, "bytes changed on the way")
    let padding = [UInt8](repeating: 61, count: (4 - encoded.count % 4) % 4)
    precondition(encoded + padding == Array(Data(plain).base64EncodedData()), "not base64")
    decode(plain)
  }

  /// The input taken as base64: where Foundation takes it too, both must agree; it wants padding, and zeros behind the last byte.
  private static func decode(_ text: [UInt8]) {
    let decoded = text.withUnsafeBytes { HeaderCoding.base64Decode($0) }
    var body = text[...]
    while body.last == 61, text.count - body.count < 2 { body = body.dropLast() }
    // Foundation takes padding in the midst of the text ("AA=A"), which is no base64.
    if text.count % 4 == 0, !body.contains(61), let other = Data(base64Encoded: Data(text)) {
      precondition(decoded == Array(other), "base64 is decoded otherwise by Foundation")
    }
    guard let decoded else { return }
    let again = HeaderCoding.base64Encode(decoded)
    precondition(
      again.count == body.count && again.dropLast() == Array(body.dropLast())[...],
      "what was decoded is not what was written")
  }
}

extension String {
  fileprivate init?(validating bytes: UnsafeRawBufferPointer, as encoding: UTF8.Type) {
    guard let text = String(validating: Array(bytes), as: UTF8.self) else { return nil }
    self = text
  }
}
