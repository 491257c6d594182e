/// HTTP/2 frames around fuzzed contents.
enum Frames {
  static let greeting = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])

  static func frame(_ kind: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let length = UInt32(payload.count)
    var bytes = [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), kind, flags]
    withUnsafeBytes(of: stream.bigEndian) { bytes += $0 }
    return bytes + payload
  }

  /// A field that enters no table.
  static func literal(_ name: String, _ value: String) -> [UInt8] {
    precondition(name.utf8.count < 127 && value.utf8.count < 127, "one byte of length each")
    return [0, UInt8(name.utf8.count)] + Array(name.utf8) + [UInt8(value.utf8.count)]
      + Array(value.utf8)
  }

  /// The fields that open a call of `f.F`.
  static func request(_ method: String) -> [UInt8] {
    [0x83, 0x86] + literal(":path", "/f.F/\(method)") + literal(":authority", "f")
      + literal("content-type", "application/grpc") + literal("te", "trailers")
  }
}
