import HTTP2
import Testing

/// What honest clients do often, and must not be cut for.
@Suite struct HonestClientTests {
  private static func frame(_ kind: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let length = UInt32(payload.count)
    var bytes = [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), kind, flags]
    withUnsafeBytes(of: stream.bigEndian) { bytes += $0 }
    return bytes + payload
  }

  /// gRPC's C core does so with every call; those that pass their deadline get no DATA in between.
  @Test func `window updates around calls that end without a byte of ours do not count against a client`() throws {
    let server = try HTTP2Connection(role: .server, memory: SessionMemory())
    func handleEvents() {
      while let event = server.nextEvent() {
        guard let stream = event.stream else { continue }
        if event.kind == .headers { server.respondOnly(stream, [HeaderField(":status", "200")]) }
        if event.kind == .closed { server.release(stream) }
      }
    }
    func receive(_ bytes: [UInt8]) throws {
      try bytes.withUnsafeBytes { try server.receive($0) }
      handleEvents()
      // What is sent closes streams.
      while server.nextOutput() != nil {}
      handleEvents()
      try server.checkConduct()
    }
    try receive(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Self.frame(4, 0, 0, []))
    // POST, http, `/`.
    let block: [UInt8] = [0x83, 0x86, 0x84, 0x41, 1, 0x78]
    for call in 0..<5_000 as Range<UInt32> {
      let stream = call * 2 + 1
      try receive(
        Self.frame(1, 4, stream, block) + Self.frame(8, 0, stream, [0, 0, 0, 5])
          + Self.frame(8, 0, 0, [0, 0, 0, 5]) + Self.frame(0, 1, stream, [1])
          + Self.frame(8, 0, 0, [0, 0, 0, 1]))
    }
    #expect(server.liveStreams == 0)
  }
}
