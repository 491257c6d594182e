import HTTP2
import Testing

private typealias Frames = [UInt8]

/// A frame as bytes.
private func frame(_ kind: UInt8, _ flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> Frames {
  let length = UInt32(payload.count)
  return [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), kind, flags]
    + withUnsafeBytes(of: stream.bigEndian) { Array($0) } + payload
}

private let hello = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4) + frame(4, 1)

/// Literal fields, none of which enters the dynamic table.
private func field(_ name: String, _ value: String) -> [UInt8] {
  [0, UInt8(name.utf8.count)] + Array(name.utf8) + [UInt8(value.utf8.count)] + Array(value.utf8)
}

private func request(_ stream: UInt32, end: Bool = false, _ more: [UInt8] = []) -> Frames {
  frame(
    1, end ? 5 : 4, stream: stream,
    [0x83, 0x86] + field(":path", "/a.B/C") + field(":authority", "x") + more)
}

/// What a server makes of a peer's bytes; nil: it goes on.
private func verdict(
  _ bytes: Frames, limits: HTTP2Limits = HTTP2Limits(), memory: SessionMemory = SessionMemory()
) throws -> HTTP2Error? {
  let server = try HTTP2Connection(role: .server, limits: limits, memory: memory)
  do {
    for piece in [hello, bytes] { try piece.withUnsafeBytes { try server.receive($0) } }
    while server.nextOutput() != nil {}
    try server.checkConduct()
    return nil
  } catch let error as HTTP2Error {
    return error
  }
}

@Suite struct PeerConductTests {
  @Test(arguments: [
    (PeerAbuse.emptyFrames, frame(0, 0, stream: 1)), (.priorities, frame(2, 0, stream: 9, [0, 0, 0, 0, 15])),
    (.settings, frame(4)), (.unknownFrames, frame(0x42, 0, stream: 0, [1])),
    (.priorities, frame(16, 0, stream: 0, [0, 0, 0, 1])),
  ])
  func `a frame without use may come a hundred times at once and no more`(
    _ abuse: PeerAbuse, _ bytes: [UInt8]
  ) throws {
    let begun = request(1)
    #expect(try verdict(begun + Array(repeating: bytes, count: 99).flatMap { $0 }) == nil)
    #expect(try verdict(begun + Array(repeating: bytes, count: 150).flatMap { $0 }) == .abuse(abuse))
  }

  @Test func `connections of one loop share what each cancels beyond its own`() throws {
    var limits = HTTP2Limits()
    limits.commonResetsBurst = 100
    limits.commonResetsPerSecond = 1
    let memory = SessionMemory()
    func cancels(_ count: UInt32) -> Frames {
      var frames: Frames = []
      for call in 0..<count {
        let stream = call * 2 + 1
        frames += request(stream)
        frames += frame(3, 0, stream: stream, [0, 0, 0, 8])
      }
      return frames
    }
    // 60 each: 25 of their own and 35 of the common 100.
    #expect(try verdict(cancels(60), limits: limits, memory: memory) == nil)
    #expect(try verdict(cancels(60), limits: limits, memory: memory) == nil)
    #expect(try verdict(cancels(60), limits: limits, memory: memory) == .abuse(.resets))
    // Who stays within his own is not harmed by what others have done.
    #expect(try verdict(cancels(20), limits: limits, memory: memory) == nil)
  }

  @Test func `ten thousand window updates that no data calls for may come at once and no more`() throws {
    func updates(_ count: Int) -> Frames {
      request(1) + Array(repeating: frame(8, 0, stream: 0, [0, 0, 0, 1]), count: count).flatMap { $0 }
    }
    #expect(try verdict(updates(9_000)) == nil)
    #expect(try verdict(updates(15_000)) == .abuse(.windowUpdates))
  }

  @Test func `streams may be reset two hundred times at once and no more`() throws {
    func resets(_ count: UInt32) -> Frames {
      (0..<count).flatMap { (call: UInt32) -> Frames in
        let stream = call * 2 + 1
        return request(stream) + frame(3, 0, stream: stream, [0, 0, 0, 8])
      }
    }
    #expect(try verdict(resets(190)) == nil)
    #expect(try verdict(resets(300)) == .abuse(.resets))
  }

  @Test func `resets that the peer provokes count as well`() throws {
    // An overflow of the stream's window: RST_STREAM by the server.
    func overflows(_ count: UInt32) -> Frames {
      (0..<count).flatMap { (call: UInt32) -> Frames in
        let stream = call * 2 + 1
        return request(stream) + frame(8, 0, stream: stream, [0x7F, 0xFF, 0xFF, 0xFF])
      }
    }
    #expect(try verdict(overflows(40)) == nil)
    #expect(try verdict(overflows(120)) == .abuse(.provokedResets))
  }

  @Test func `a header block in many pieces ends the connection`() throws {
    let begun = frame(1, 0, stream: 1, [0x83, 0x86] + field(":path", "/a.B/C"))
    let pieces = Array(repeating: frame(9, 0, stream: 1), count: 50).flatMap { $0 }
    #expect(try verdict(begun + pieces) == .abuse(.continuations))
  }

  @Test func `PINGs are strikes until something is answered`() throws {
    let ping = frame(6, 0, stream: 0, [UInt8](repeating: 1, count: 8))
    #expect(try verdict(ping + ping + ping) == nil)
    #expect(try verdict(ping + ping + ping + ping) == .abuse(.pings))
    var limits = HTTP2Limits()
    limits.pingsWithoutCalls = true
    limits.pingPermitMilliseconds = 0
    #expect(try verdict(Array(repeating: ping, count: 50).flatMap { $0 }, limits: limits) == nil)
  }

  @Test func `fields far beyond a limit end the connection`() throws {
    let some = (0..<70).flatMap { _ in field("x", "y") }
    let many = (0..<200).flatMap { _ in field("x", "y") }
    #expect(try verdict(request(1, some)) == nil)
    #expect(try verdict(request(1, many)) == .abuse(.headerFlood))
  }
}
