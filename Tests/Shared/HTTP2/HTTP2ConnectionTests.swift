import HTTP2
import Testing

/// A client and a server session joined by arrays of bytes.
struct Pair {
  let client: HTTP2Connection
  let server: HTTP2Connection

  init(server limits: HTTP2Limits = HTTP2Limits()) throws {
    client = try HTTP2Connection(role: .client, memory: SessionMemory())
    server = try HTTP2Connection(role: .server, limits: limits, memory: SessionMemory())
  }

  /// Carries what waits both ways until both are quiet; `piece`: how many bytes at a time.
  func exchange(piece: Int = .max) throws {
    while try move(client, server, piece) || move(server, client, piece) {}
  }

  private func move(
    _ from: HTTP2Connection, _ to: HTTP2Connection, _ piece: Int
  ) throws -> Bool {
    var bytes: [UInt8] = []
    while let output = from.nextOutput() { bytes += output }
    var index = 0
    while index < bytes.count {
      let end = min(bytes.count, piece == .max ? .max : index + piece)
      try bytes[index..<end].withUnsafeBytes { try to.receive($0) }
      index = end
    }
    return !bytes.isEmpty
  }
}

private let request = [
  HeaderField(":method", "POST"), HeaderField(":scheme", "http"),
  HeaderField(":path", "/a.B/C"), HeaderField(":authority", "x"),
  HeaderField("content-type", "application/grpc"), HeaderField("te", "trailers"),
]

private func events(_ connection: HTTP2Connection) -> [HTTP2Event] {
  var events: [HTTP2Event] = []
  while let event = connection.nextEvent() {
    if event.kind == .data { event.stream?.dataHandled() }
    events.append(event)
  }
  return events
}

private func text(_ stream: StreamPointer) -> String { String(decoding: stream.unread, as: UTF8.self) }

@Suite struct HTTP2ConnectionTests {
  @Test(arguments: [1, 5, 1_000, Int.max])
  func `a request and its answer pass whatever the size of the pieces`(_ piece: Int) throws {
    let pair = try Pair()
    let sent = try #require(pair.client.request(request))
    Array("hello".utf8).withUnsafeBytes { sent.write($0) }
    pair.client.endBody(sent)
    try pair.exchange(piece: piece)
    let requested = events(pair.server).filter { $0.kind == .headers || $0.kind == .data }
    let stream = try #require(requested.first?.stream)
    #expect(requested.map(\.kind) == [.headers, .data])
    #expect(text(stream) == "hello")
    var path = ""
    stream.forEachHeader(in: stream.pointee.firstBlock) { name, _, value in
      if name == .path { path = String(decoding: value, as: UTF8.self) }
    }
    #expect(path == "/a.B/C")

    pair.server.respond(stream)
    Array("world".utf8).withUnsafeBytes { stream.write($0) }
    pair.server.endOK(stream)
    try pair.exchange(piece: piece)
    let answered = events(pair.client)
    #expect(answered.filter { $0.kind == .headers }.count == 2)
    #expect(answered.last { $0.kind == .closed }?.code == 0)
    #expect(text(sent) == "world")
    pair.client.release(sent)
    #expect(events(pair.server).contains { $0.kind == .closed })
    pair.server.release(stream)
    #expect(pair.client.liveStreams == 0 && pair.server.liveStreams == 0)
  }

  @Test func `headers beyond the bound are marked and not kept`() throws {
    var limits = HTTP2Limits()
    limits.headerFieldsMax = 15
    let pair = try Pair(server: limits)
    let many = (0..<20).map { HeaderField("x-\($0)", "y") }
    _ = try #require(pair.client.request(request + many))
    try pair.exchange()
    let stream = try #require(events(pair.server).first { $0.kind == .headers }?.stream)
    #expect(stream.pointee.flags.contains(.headersOverflowed))
    var kept = 0
    stream.forEachHeader(in: stream.pointee.firstBlock) { _, _, _ in kept += 1 }
    #expect(kept <= 15)
  }

  @Test func `header bytes beyond the bound are marked`() throws {
    var limits = HTTP2Limits()
    limits.headerBytesMax = 1_000
    let pair = try Pair(server: limits)
    let long = HeaderField("x-long", String(repeating: "z", count: 1_000))
    _ = try #require(pair.client.request(request + [long]))
    try pair.exchange()
    let stream = try #require(events(pair.server).first { $0.kind == .headers }?.stream)
    #expect(stream.pointee.flags.contains(.headersOverflowed))
  }

  @Test func `a peer sends no more than the window until bytes are consumed`() throws {
    var limits = HTTP2Limits()
    limits.streamWindowBytes = 1_000
    let pair = try Pair(server: limits)
    try pair.exchange()
    let sent = try #require(pair.client.request(request))
    [UInt8](repeating: 7, count: 5_000).withUnsafeBytes { sent.write($0) }
    pair.client.endBody(sent)
    try pair.exchange()
    let stream = try #require(events(pair.server).first { $0.kind == .headers }?.stream)
    #expect(stream.unread.count == 1_000)
    stream.skip(1_000)
    pair.server.consumeAll(stream)
    try pair.exchange()
    #expect(stream.unread.count == 1_000)
  }

  @Test func `bytes that are not HTTP/2 end the connection`() throws {
    let pair = try Pair()
    #expect(throws: HTTP2Error.self) {
      try Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8).withUnsafeBytes {
        try pair.server.receive($0)
      }
    }
  }

  @Test func `an answer before the request's end frees the stream`() throws {
    let pair = try Pair()
    let sent = try #require(pair.client.request(request))
    try pair.exchange()
    let stream = try #require(events(pair.server).first { $0.kind == .headers }?.stream)
    pair.server.respondOnly(stream, [HeaderField(":status", "200"), HeaderField("grpc-status", "5")])
    try pair.exchange()
    #expect(events(pair.server).contains { $0.kind == .closed })
    #expect(events(pair.client).contains { $0.kind == .closed && $0.code == 0 })
    pair.server.release(stream)
    pair.client.release(sent)
  }

  @Test func `trailers of one's own follow the body`() throws {
    let pair = try Pair()
    let sent = try #require(pair.client.request(request))
    pair.client.endBody(sent)
    try pair.exchange()
    let stream = try #require(events(pair.server).first { $0.kind == .headers }?.stream)
    pair.server.respond(stream)
    pair.server.end(stream, trailers: [HeaderField("grpc-status", "9"), HeaderField("x-t", "v")])
    try pair.exchange()
    let trailers = try #require(events(pair.client).last { $0.kind == .headers })
    var seen: [String: String] = [:]
    sent.forEachHeader(in: trailers.block) { name, custom, value in
      let label = name == .grpcStatus ? "grpc-status" : String(decoding: custom, as: UTF8.self)
      seen[label] = String(decoding: value, as: UTF8.self)
    }
    #expect(seen == ["grpc-status": "9", "x-t": "v"])
  }

  @Test func `the loaded nghttp2 tells its version`() {
    #expect(HTTP2Connection.libraryVersion.split(separator: ".").count == 3)
  }
}
