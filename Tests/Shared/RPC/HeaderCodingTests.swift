import RPC
import Testing

@Suite struct HeaderCodingTests {
  static func bytes<R>(_ text: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    Array(text.utf8).withUnsafeBytes(body)
  }

  @Test(arguments: [
    ("1n", 1), ("1u", 1_000), ("1m", 1_000_000), ("2S", 2_000_000_000), ("1M", 60_000_000_000),
    ("1H", 3_600_000_000_000), ("0m", 0), ("99999999H", HeaderCoding.timeoutMaxNanoseconds),
  ] as [(String, Int64)])
  func `a timeout of one to eight digits and a unit is taken`(_ text: String, _ expected: Int64) {
    #expect(Self.bytes(text, HeaderCoding.timeoutNanoseconds) == expected)
  }

  @Test(arguments: ["", "m", "1", "123456789m", "-1m", "1x", "1 m", "1.5S", "1mm"])
  func `any other timeout is refused`(_ text: String) {
    #expect(Self.bytes(text, HeaderCoding.timeoutNanoseconds) == nil)
  }

  @Test(arguments: [1, 999, 99_999_999, 100_000_000, Int.max / 2])
  func `a written timeout is valid and no longer than asked`(_ milliseconds: Int) {
    let text = HeaderCoding.timeout(milliseconds: milliseconds)
    let read = Self.bytes(text, HeaderCoding.timeoutNanoseconds)
    #expect(read != nil)
    #expect((read ?? 0) / 1_000_000 <= milliseconds)
  }

  @Test func `a status message survives percent encoding`() {
    let text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n 100 %"
    let encoded = HeaderCoding.percentEncode(text)
    #expect(encoded.allSatisfy { (0x20...0x7E).contains($0) })
    #expect(encoded.withUnsafeBytes(HeaderCoding.percentDecode) == text)
  }

  @Test func `a status message is cut between characters`() {
    let text = "aé茶😈%\n" + String(repeating: "plain ", count: 4) + "é茶"
    for room in 0..<120 {
      let encoded = HeaderCoding.percentEncode(text, bytesMax: room)
      #expect(encoded.count <= room)
      let decoded = encoded.withUnsafeBytes(HeaderCoding.percentDecode)
      #expect(text.hasPrefix(decoded), "\(room) bytes: \(decoded)")
      let next = text.unicodeScalars.dropFirst(decoded.unicodeScalars.count).first
      let more = next.map { HeaderCoding.percentEncode(String($0)).count } ?? .max
      #expect(more > room - encoded.count, "\(room) bytes: there is room for more than \(decoded)")
    }
  }

  @Test(arguments: [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("a%41b", "aAb"), ("%e2%98%BA", "☺")])
  func `decoding a broken percent sequence never fails`(_ text: String, _ expected: String) {
    #expect(Self.bytes(text, HeaderCoding.percentDecode) == expected)
  }

  @Test func `base64 is written without padding and read with and without`() {
    for count in 0..<67 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
      var text = HeaderCoding.base64Encode(bytes)
      #expect(!text.contains(UInt8(ascii: "=")))
      #expect(text.withUnsafeBytes(HeaderCoding.base64Decode) == bytes)
      while text.count % 4 != 0 { text.append(UInt8(ascii: "=")) }
      #expect(text.withUnsafeBytes(HeaderCoding.base64Decode) == bytes)
    }
  }

  @Test(arguments: ["a", "abc!", "a===", "ab=c", "abcde"])
  func `what is not base64 is refused`(_ text: String) {
    #expect(Self.bytes(text, HeaderCoding.base64Decode) == nil)
  }
}
