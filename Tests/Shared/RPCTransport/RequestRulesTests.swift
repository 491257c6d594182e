import HTTP2
import Logging
import RPC
import RPCTransport
import Synchronization
import Testing

private let echo = "/probe.Probe/Echo"
private let gzip = [HeaderField("grpc-encoding", "gzip")]
private let takesGzip = [HeaderField("grpc-accept-encoding", "identity,deflate,gzip")]

private func pack(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { Gzip.pack($0) } }

private func withRawClient(
  _ limits: ServerLimits = ServerLimits(), authorizer: any Authorizer = DenyingAuthorizer(), _ body: (RawClient, RPCServer) async throws -> Void
) async throws {
  let server = RPCServer(
    configuration: ServerConfiguration(port: 0, limits: limits), services: [ProbeService()],
    authorizer: authorizer, logger: Logger(label: "test"))
  let port = try await server.start()
  do {
    let client = try RawClient(port: port)
    try await body(client, server)
    // The compiler may let go of it behind its last use: a test that waits for what the server does to it needs it open.
    withExtendedLifetime(client) {}
  } catch {
    await server.shutdown(graceMilliseconds: 0)
    throw error
  }
  await server.shutdown(graceMilliseconds: 0)
}

@Suite(.serialized) struct RequestRulesTests {
  @Test(arguments: ["Echo", "EchoAsync", "Later", "Stream"])
  func `a message packed with gzip is taken`(_ method: String) async throws {
    let message = [UInt8](repeating: 7, count: 50_000)
    try await withRawClient { client, _ in
      let answer = try client.call(
        "/probe.Probe/\(method)", gzip, body: RawClient.framed(pack(message), flag: 1))
      #expect(answer.status == 0)
      #expect(answer.message == message)
      #expect(answer.fields["grpc-encoding"] == nil)
      #expect(answer.fields["grpc-accept-encoding"] == "identity,gzip")
    }
  }

  @Test func `a plain message of a call with gzip is taken`() async throws {
    try await withRawClient { client, _ in
      let answer = try client.call(echo, gzip, body: RawClient.framed([1, 2]))
      #expect(answer.message == [1, 2])
    }
  }

  @Test(arguments: [
    ([], 1 as UInt8, [1, 2, 3] as [UInt8], StatusCode.internal),
    ([HeaderField("grpc-encoding", "identity")], 1, [1, 2, 3], .internal),
    (gzip, 2, [1, 2, 3], .internal), ([], 255, [1], .internal),
    (gzip, 1, [1, 2, 3], .internal),
    (gzip, 1, Array(pack([UInt8](repeating: 1, count: 9_000)).dropLast(3)), .internal),
    (gzip, 1, pack([UInt8](repeating: 0, count: 4 << 20 | 1)), .resourceExhausted),
    ([HeaderField("grpc-encoding", "snappy")], 0, [1], .unimplemented),
  ] as [([HeaderField], UInt8, [UInt8], StatusCode)])
  func `a message that is packed wrongly is refused`(
    _ fields: [HeaderField], _ flag: UInt8, _ message: [UInt8], _ code: StatusCode
  ) async throws {
    try await withRawClient { client, _ in
      for path in [echo, "/probe.Probe/Stream"] {
        let answer = try client.call(path, fields, body: RawClient.framed(message, flag: flag))
        #expect(answer.status == code.rawValue)
        if code == .unimplemented {
          #expect(answer.fields["grpc-accept-encoding"] == "identity,gzip")
        }
      }
      let status1 = try client.call(echo, body: RawClient.framed([1])).status
      #expect(status1 == 0)
    }
  }

  @Test func `a few kilobytes do not unpack to megabytes`() async throws {
    var limits = ServerLimits()
    limits.messageBytesMax = 64 << 20
    try await withRawClient(limits) { client, _ in
      let bomb = pack([UInt8](repeating: 0, count: 8 << 20))
      let answer = try client.call(echo, gzip, body: RawClient.framed(bomb, flag: 1))
      #expect(answer.status == StatusCode.resourceExhausted.rawValue)
    }
  }

  @Test func `how far a message may unpack is a limit`() async throws {
    // Like 500 reports of one error: 1.5 MB.
    let report = (0..<3_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) }
    var reports: [UInt8] = []
    for number in 0..<500 {
      withUnsafeBytes(of: number &* 0x9E37_79B9) { reports += $0 }
      reports += report
    }
    let packed = pack(reports)
    try #require((50..<200).contains(reports.count / packed.count), "\(reports.count / packed.count) times")
    for (ratio, code) in [(200, StatusCode.ok), (20, .resourceExhausted)] {
      var limits = ServerLimits()
      limits.unpackedRatioMax = ratio
      try await withRawClient(limits) { client, _ in
        for path in [echo, "/probe.Probe/Stream"] {
          let answer = try client.call(path, gzip, body: RawClient.framed(packed, flag: 1))
          #expect(answer.status == code.rawValue)
        }
      }
    }
  }

  @Test(arguments: ["Echo", "EchoAsync", "Later", "Stream"])
  func `an answer is packed where the client takes it and a setting asks`(_ method: String) async throws {
    var limits = ServerLimits()
    limits.compressResponsesFromBytes = 1_000
    let message = [UInt8](repeating: 9, count: 20_000)
    try await withRawClient(limits) { client, _ in
      let path = "/probe.Probe/\(method)"
      let packed = try client.call(path, takesGzip, body: RawClient.framed(message))
      #expect(packed.fields["grpc-encoding"] == "gzip")
      #expect(packed.body.first == 1)
      let unpacked = try packed.message.withUnsafeBytes { try Gzip.unpack($0, limit: 1 << 20) }
      #expect(unpacked == message)
      let plain = try client.call(path, body: RawClient.framed(message))
      #expect(plain.fields["grpc-encoding"] == nil)
      #expect(plain.message == message)
      let small = try client.call(path, takesGzip, body: RawClient.framed([1]))
      #expect(small.body.first == 0)
    }
  }

  @Test func `a stream packs the messages that its handler asks for`() async throws {
    try await withRawClient { client, _ in
      let message = [UInt8](repeating: 9, count: 100)
      for (fields, flags) in [(takesGzip, [1, 0, 1] as [UInt8]), ([], [0, 0, 0])] {
        let answer = try client.call(
          "/probe.Probe/Alternating", fields, body: RawClient.framed(message))
        #expect(answer.status == 0)
        var rest = answer.body[...]
        var seen: [UInt8] = []
        while rest.count >= 5 {
          let bytes = Array(rest)
          seen.append(bytes[0])
          rest = rest.dropFirst(5 + bytes[1..<5].reduce(0) { $0 << 8 | Int($1) })
        }
        #expect(seen == flags)
        #expect(answer.fields["x-first"] == "yes")
        #expect(answer.fields["grpc-encoding"] == (fields.isEmpty ? nil : "gzip"))
      }
    }
  }

  @Test(arguments: [
    (":method", "GET", "405"), (":method", "PUT", "405"), ("content-type", "text/plain", "415"),
    ("content-type", "application/grpc+json", "415"), ("content-type", "application/grpcx", "415"),
  ])
  func `what is not gRPC gets a plain status`(
    _ name: String, _ value: String, _ status: String
  ) async throws {
    try await withRawClient { client, _ in
      let fields = RawClient.fields(echo).map { field in
        String(decoding: field.name, as: UTF8.self) == name ? HeaderField(name, value) : field
      }
      let answer = try client.wait(for: client.begin(fields, []))
      #expect(answer.fields[":status"] == status)
      #expect(answer.status == nil)
    }
  }

  @Test(arguments: ["/probe.Probe/Echo/", "//probe.Probe/Echo", "/probe.Probe", "/", "/probe.Probe/echo", "/probe.Probe/Guarded%20"])
  func `a path that is no method's is UNIMPLEMENTED before any question of a token`(
    _ path: String
  ) async throws {
    try await withRawClient { client, _ in
      let status2 = try client.call(path, body: RawClient.framed([])).status
      #expect(status2 == 12)
    }
  }

  @Test(arguments: ["Bearer ", "Bearer", " ", "Bearer wrong "])
  func `a token that is empty or ends in blanks is UNAUTHENTICATED`(_ value: String) async throws {
    try await withRawClient { client, _ in
      let answer = try client.call(
        "/probe.Probe/Guarded", [HeaderField("authorization", value)], body: RawClient.framed([]))
      #expect(answer.status == StatusCode.unauthenticated.rawValue)
    }
  }

  @Test func `a request without te is served and counted`() async throws {
    try await withRawClient { client, server in
      let fields = RawClient.fields(echo).filter { $0.name != Array("te".utf8) }
      let answer = try client.wait(for: client.begin(fields, RawClient.framed([1])))
      #expect(answer.status == 0)
      #expect(server.statistics.connections.requestsWithoutTECount == 1)
    }
  }

  @Test(arguments: [([], 12), ([1, 2, 3], 13), (RawClient.framed([1]) + RawClient.framed([2]), 12)] as [([UInt8], Int)])
  func `a unary call takes one whole message`(_ body: [UInt8], _ status: Int) async throws {
    try await withRawClient { client, _ in
      let status3 = try client.call(echo, body: body).status
      #expect(status3 == status)
    }
  }

  @Test func `a content-length that is not what comes ends the stream`() async throws {
    try await withRawClient { client, _ in
      let length = HeaderField("content-length", "3")
      let answer = try client.call(echo, [length], body: RawClient.framed([1, 2, 3]))
      #expect(answer.status == nil)
      #expect(answer.code == HTTP2ErrorCode.protocolError)
      let right = try client.call(
        echo, [HeaderField("content-length", "8")], body: RawClient.framed([1, 2, 3]))
      #expect(right.status == 0)
    }
  }

  @Test func `headers over a limit are refused, and a peer that goes on is cut`() async throws {
    try await withRawClient { client, server in
      let many = (0..<70).map { HeaderField("x-\($0)", "y") }
      let status4 = try client.call(echo, many, body: []).status
      #expect(status4 == StatusCode.resourceExhausted.rawValue)
      let flood = (0..<200).map { HeaderField("x-\($0)", "y") }
      _ = try client.begin(RawClient.fields(echo, flood), [])
      try client.waitUntilClosed()
      #expect(client.goAway == HTTP2ErrorCode.enhanceYourCalm)
      #expect(count(server, .headerFlood) == 1)
    }
  }

  @Test func `a response over its limit is RESOURCE_EXHAUSTED with both numbers`() async throws {
    var limits = ServerLimits()
    limits.responseBytesMax = 1_000
    try await withRawClient(limits) { client, _ in
      for method in ["Echo", "EchoAsync", "Later", "Stream"] {
        let answer = try client.call(
          "/probe.Probe/\(method)", body: RawClient.framed([UInt8](repeating: 1, count: 1_001)))
        #expect(answer.status == StatusCode.resourceExhausted.rawValue, "\(method)")
        let text = answer.fields["grpc-message"] ?? ""
        #expect(text.contains("at most 1000 bytes, this one has 1001"), "\(method): \(text)")
      }
    }
  }

  @Test func `trailers stay within their budget`() async throws {
    try await withRawClient { client, _ in
      let answer = try client.call("/probe.Probe/LongError", body: RawClient.framed([]))
      #expect(answer.status == StatusCode.failedPrecondition.rawValue)
      #expect(answer.fields["grpc-status-details-bin"] == nil)
      let size = answer.fields.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count + 32 }
      #expect(size <= ServerLimits().trailerBytesMax)
      #expect((answer.fields["grpc-message"] ?? "").count > 1_000)
    }
  }
}

/// The `authorization` field names the app.
private final class AppAuthorizer: Authorizer {
  let apps = ["a", "b"].map { Principal(tokenID: $0, appID: $0, scopes: ["admin"]) }

  func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal {
    let name = authorization.map { String(decoding: $0, as: UTF8.self) }
    guard let app = apps.first(where: { $0.appID == name }) else {
      throw RPCError(.unauthenticated, "no app")
    }
    return app
  }
}

func count(_ server: RPCServer, _ end: ConnectionEnd) -> Int {
  server.statistics.connections.endsByCause.first { $0.0 == end }?.1 ?? 0
}

@Suite(.serialized) struct ConnectionRulesTests {
  /// Timers that a test can wait for.
  private static var quick: ServerLimits {
    var limits = ServerLimits()
    limits.sweepMilliseconds = 20
    limits.prefaceMilliseconds = 150
    limits.settingsMilliseconds = 300
    limits.headerBlockMilliseconds = 150
    limits.messageIdleMilliseconds = 150
    limits.writeStallMilliseconds = 300
    return limits
  }

  @Test func `a client that says nothing is cut`() async throws {
    try await withRawClient(Self.quick) { client, server in
      // Its SETTINGS have not been sent: nothing was flushed.
      #expect(await eventually { count(server, .prefaceTimeout) > 0 })
      _ = client
    }
  }

  @Test func `a message that does not go on ends its call only`() async throws {
    try await withRawClient(Self.quick) { client, _ in
      for path in [echo, "/probe.Probe/Stream"] {
        let half = RawClient.framed([1, 2], length: 100)
        let answer = try client.call(path, body: half, end: false)
        #expect(answer.status == StatusCode.deadlineExceeded.rawValue)
      }
      let status5 = try client.call(echo, body: RawClient.framed([1])).status
      #expect(status5 == 0)
    }
  }

  @Test func `PINGs beyond the permit end the connection with too_many_pings`() async throws {
    try await withRawClient { client, server in
      for _ in 0..<4 { client.http2.ping() }
      try client.flush()
      try client.waitUntilClosed()
      #expect(client.goAway == HTTP2ErrorCode.enhanceYourCalm)
      #expect(count(server, .pings) == 1)
    }
  }

  @Test func `PINGs between calls are no strikes`() async throws {
    try await withRawClient { client, _ in
      for _ in 0..<50 {
        client.http2.ping()
        let status6 = try client.call(echo, body: RawClient.framed([1])).status
        #expect(status6 == 0)
      }
    }
  }

  @Test func `an idle connection is sent a PING and kept if it answers`() async throws {
    var limits = Self.quick
    limits.keepaliveMilliseconds = 50
    limits.keepaliveTimeoutMilliseconds = 100
    try await withRawClient(limits) { client, server in
      _ = try client.call(echo, body: RawClient.framed([1]))
      let end = Deadline.after(milliseconds: 600)
      try client.pump { end.hasPassed }
      #expect(!client.isClosed)
      // From now on nothing is read or answered.
      #expect(await eventually { count(server, .keepaliveTimeout) > 0 })
    }
  }

  @Test(arguments: [ConnectionEnd.idle, .age])
  func `a connection that has rested or is old ends gracefully`(_ end: ConnectionEnd) async throws {
    var limits = Self.quick
    if end == .idle { limits.connectionIdleMilliseconds = 100 } else { limits.connectionAgeMilliseconds = 100 }
    limits.drainRoundTripMilliseconds = 50
    try await withRawClient(limits) { client, server in
      let status7 = try client.call(echo, body: RawClient.framed([1])).status
      #expect(status7 == 0)
      try client.waitUntilClosed()
      #expect(client.goAway == HTTP2ErrorCode.noError)
      #expect(count(server, end) == 1)
    }
  }

  @Test func `a call that outlives the grace of an old connection is cut`() async throws {
    var limits = Self.quick
    limits.connectionAgeMilliseconds = 50
    limits.connectionAgeGraceMilliseconds = 100
    try await withRawClient(limits) { client, server in
      _ = try client.call("/probe.Probe/Never", body: RawClient.framed([]))
      #expect(client.isClosed)
      #expect(count(server, .ageGrace) == 1)
    }
  }

  @Test func `a client that asks and does not read loses the stream`() async throws {
    try await withRawClient(Self.quick) { client, server in
      // Takes the server's SETTINGS, which would be missed before the messages are.
      _ = try client.call(echo, body: RawClient.framed([1]))
      _ = try client.begin(
        RawClient.fields("/probe.Probe/Flood"), RawClient.framed([UInt8](repeating: 1, count: 10_000)))
      #expect(
        await eventually {
          server.statistics.connections.stalledStreamsCount > 0 || count(server, .writeStall) > 0
        })
    }
  }

  @Test(arguments: ["Echo", "EchoAsync", "Flood"])
  func `a deadline ends a call whose messages the client does not take`(_ method: String) async throws {
    var limits = Self.quick
    limits.writeStallMilliseconds = 60_000
    try await withRawClient(limits) { client, _ in
      // Takes the server's SETTINGS. The window of a stream takes none of what follows.
      _ = try client.call(echo, body: RawClient.framed([1]))
      client.takesMessages = false
      let message = [UInt8](repeating: 1, count: 300_000)
      let answer = try client.call(
        "/probe.Probe/\(method)", [HeaderField("grpc-timeout", "1S")], body: RawClient.framed(message))
      #expect(answer.code == HTTP2ErrorCode.cancel)
      #expect(answer.status == nil)
      // The connection goes on.
      client.takesMessages = true
      let status = try client.call(echo, body: RawClient.framed([1])).status
      #expect(status == 0)
    }
  }

  @Test func `over the server's bound a call is refused with a pushback`() async throws {
    var limits = ServerLimits()
    limits.runningCallsMax = 16
    try await withRawClient(limits) { client, server in
      for _ in 0..<13 { _ = try client.begin(RawClient.fields("/probe.Probe/Never"), RawClient.framed([])) }
      #expect(await eventually { server.statistics.runningCalls == 13 })
      let answer = try client.call(echo, body: RawClient.framed([1]))
      #expect(answer.status == StatusCode.resourceExhausted.rawValue)
      #expect((200...400).contains(Int(answer.fields["grpc-retry-pushback-ms"] ?? "") ?? 0))
      let health = try client.call("/probe.Probe/Critical", body: RawClient.framed([1]))
      #expect(health.status == 0)
    }
  }

  @Test func `an app may hold no more than its share of a half-full server`() async throws {
    var limits = ServerLimits()
    limits.runningCallsMax = 40
    try await withRawClient(limits, authorizer: AppAuthorizer()) { client, server in
      let never = "/probe.Probe/Never"
      for _ in 0..<20 {
        _ = try client.begin(
          RawClient.fields(never, [HeaderField("authorization", "a")]), RawClient.framed([]))
      }
      #expect(await eventually { server.statistics.runningCalls == 20 })
      let more = try client.call(
        echo, [HeaderField("authorization", "a")], body: RawClient.framed([1]))
      #expect(more.status == StatusCode.resourceExhausted.rawValue)
      let other = try client.call(
        echo, [HeaderField("authorization", "b")], body: RawClient.framed([1]))
      #expect(other.status == 0)
    }
  }

  @Test func `a call that cannot be taken is refused before its message, and the client sends less ahead`() async throws {
    ProbeService.gateIsShut.store(true, ordering: .releasing)
    try await withRawClient(ServerLimits()) { client, _ in
      let gated = "/probe.Probe/Gated"
      let stream = try client.begin(RawClient.fields(gated), [], end: false)
      #expect(try client.wait(for: stream).status == StatusCode.resourceExhausted.rawValue)
      // One connection alone keeps what a new one has.
      let large = RawClient.framed([UInt8](repeating: 1, count: 200_000))
      for _ in 0..<5 { #expect(try client.call(gated, body: large).status == StatusCode.resourceExhausted.rawValue) }
      #expect(client.http2.sendWindowBytes <= 65_535)
      // Larger than the window: it opens as the message comes.
      #expect(try client.call(echo, body: large).message.count == 200_000)
      ProbeService.gateIsShut.store(false, ordering: .releasing)
      #expect(try client.call(gated, body: large).status == 0)
      // A second later the window is as at first: the client hears it with what it sends next.
      try await Task.sleep(for: .seconds(2))
      #expect(try client.call(gated, body: RawClient.framed([1])).status == 0)
      #expect((32_000...65_535).contains(client.http2.sendWindowBytes))
    }
  }

  @Test func `a connection's window is the protocol's at first, and grows as it is used up`() async throws {
    try await withRawClient(ServerLimits()) { client, _ in
      let first = try client.call(echo, body: RawClient.framed([1]))
      #expect(first.status == 0)
      #expect((32_000...65_535).contains(client.http2.sendWindowBytes))
      let large = RawClient.framed([UInt8](repeating: 1, count: 1_000_000))
      let end = ContinuousClock.now + .seconds(20)
      while client.http2.sendWindowBytes < 2 * 1024 * 1024, ContinuousClock.now < end {
        let answer = try client.call(echo, body: large)
        #expect(answer.status == 0)
      }
      #expect((2 * 1024 * 1024...4 * 1024 * 1024).contains(client.http2.sendWindowBytes))
    }
  }

  @Test func `a client that is refused sends on slowly, and as fast as ever once it is not`() async throws {
    ProbeService.gateIsShut.store(true, ordering: .releasing)
    try await withRawClient(ServerLimits()) { client, _ in
      let gated = RawClient.fields("/probe.Probe/Gated")
      let batch = RawClient.framed([UInt8](repeating: 1, count: 4_000))
      /// Calls that are answered in so many milliseconds, eight at once.
      func calls(_ milliseconds: Int) throws -> (count: Int, refused: Int) {
        let end = ContinuousClock.now + .milliseconds(milliseconds)
        var (count, refused) = (0, 0)
        while ContinuousClock.now < end {
          for stream in try (0..<8).map({ _ in try client.begin(gated, batch) }) {
            if try client.wait(for: stream).status != 0 { refused += 1 }
            count += 1
          }
        }
        return (count, refused)
      }
      // At first nobody knows how much is taken.
      _ = try calls(100)
      let refused = try calls(1_000)
      // 16 KiB come every 25 ms: 160 calls. Without it there are thousands.
      #expect(refused.refused == refused.count && (40...600).contains(refused.count), "\(refused)")
      ProbeService.gateIsShut.store(false, ordering: .releasing)
      _ = try calls(2_000)
      let taken = try calls(1_000)
      #expect(taken.refused == 0 && taken.count > 2_000, "\(taken)")
    }
  }
}
