import RPC
import Testing

private func pack(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { Gzip.pack($0) } }

private func unpack(_ bytes: [UInt8], limit: Int = 4 << 20) throws -> [UInt8] {
  try bytes.withUnsafeBytes { try Gzip.unpack($0, limit: limit) }
}

private func code(_ body: () throws -> [UInt8]) -> StatusCode {
  do {
    _ = try body()
    return .ok
  } catch {
    return (error as? RPCError)?.code ?? .unknown
  }
}

@Suite struct MessageCompressionTests {
  @Test(arguments: [0, 1, 100, 16_384, 16_385, 1_000_000])
  func `a message comes back as it was`(count: Int) throws {
    let message = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }
    #expect(try unpack(pack(message)) == message)
  }

  @Test func `the limit holds for what comes out, exactly`() throws {
    let packed = pack([UInt8](repeating: 0, count: 100_000))
    #expect(packed.count < 1_000)
    #expect(try unpack(packed, limit: 100_000).count == 100_000)
    #expect(code { try unpack(packed, limit: 99_999) } == .resourceExhausted)
    #expect(code { try unpack(packed, limit: 0) } == .resourceExhausted)
    #expect(try unpack(pack([]), limit: 0) == [])
  }

  @Test func `what is no whole member is refused`() {
    let packed = pack(Array("footfall footfall".utf8))
    #expect(code { try unpack([]) } == .internal)
    #expect(code { try unpack([1, 2, 3]) } == .internal)
    for count in 1..<packed.count {
      #expect(code { try unpack(Array(packed.prefix(count))) } == .internal, "\(count) bytes")
    }
    #expect(code { try unpack(packed + [0]) } == .internal)
    #expect(code { try unpack(packed + packed) } == .internal)
    var damaged = packed
    damaged[packed.count - 6] ^= 1
    #expect(code { try unpack(damaged) } == .internal)
  }
}
