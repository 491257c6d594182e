import Logging
import RPC
import RPCTransport
import Synchronization
import Testing

/// What was logged, for a test to look at.
final class LogLines: Sendable {
  struct Line: Sendable {
    let level: Logger.Level
    let message: String
    let metadata: [String: String]
  }

  private let lines = Mutex<[Line]>([])
  var all: [Line] { lines.withLock { $0 } }

  func add(_ line: Line) { lines.withLock { $0.append(line) } }

  var logger: Logger { Logger(label: "test", factory: { _ in Handler(lines: self) }) }

  private struct Handler: LogHandler {
    let lines: LogLines
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(lines: LogLines) { self.lines = lines }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      lines.add(
        Line(
          level: event.level, message: "\(event.message)",
          metadata: (event.metadata ?? [:]).mapValues { "\($0)" }))
    }
  }
}

/// Tells how the call it answers is called.
struct NameService: ServiceHandlers {
  static let serviceName = "name.Name"
  static let here = MethodDescriptor(
    service: serviceName, method: "Here", kind: .unary, access: .open)
  static let onLoop = MethodDescriptor(
    service: serviceName, method: "OnLoop", kind: .unary, access: .open)

  static func names(_ context: CallContext) -> [UInt8] {
    Array("\(context.requestID) \(context.trace.traceID) \(context.trace.span)".utf8)
  }

  var methodHandlers: [MethodHandler] {
    [
      MethodHandler(Self.here, .unary { _, context in Self.names(context) }),
      MethodHandler(Self.onLoop, .loop { $0.reply(Self.names($0.context)) }),
    ]
  }
}

/// Calls `NameService` elsewhere and answers what both hops are called.
struct RelayService: ServiceHandlers {
  static let serviceName = "relay.Relay"
  static let call = MethodDescriptor(
    service: serviceName, method: "Call", kind: .unary, access: .open)
  let channel: Channel

  var methodHandlers: [MethodHandler] {
    let channel = channel
    return [
      MethodHandler(
        Self.call,
        .unary { _, context in
          let far = try await channel.unary(NameService.here, [], options: CallOptions(timeoutMilliseconds: 60_000))
          return NameService.names(context) + [UInt8(ascii: "\n")] + far
        })
    ]
  }
}

@Suite("What is told of calls")
struct CallLogTests {
  private func withServer(
    share: Double, _ services: [any ServiceHandlers] = [ProbeService()],
    _ body: (Channel, RPCServer, LogLines) async throws -> Void
  ) async throws {
    let lines = LogLines()
    var configuration = ServerConfiguration(port: 0)
    configuration.sampling = CallSampling(share: share)
    let server = RPCServer(
      configuration: configuration, services: services, authorizer: DenyingAuthorizer(),
      logger: lines.logger)
    let channel = Channel(host: "127.0.0.1", port: try await server.start(), token: nil)
    let result: Result<Void, any Error>
    do {
      result = .success(try await body(channel, server, lines))
    } catch {
      result = .failure(error)
    }
    await channel.close()
    await server.shutdown(graceMilliseconds: 1_000)
    try result.get()
  }

  @Test("A chosen call is one line with all that is known of it")
  func chosen() async throws {
    try await withServer(share: 1) { channel, _, lines in
      var options = CallOptions(timeoutMilliseconds: 60_000)
      options.metadata.add("x-request-id", "mine")
      _ = try await channel.unary(ProbeService.echo, [1, 2, 3], options: options)
      let line = try #require(lines.all.first { $0.message == "call" })
      #expect(line.level == .info)
      #expect(line.metadata["method"] == "/probe.Probe/Echo")
      #expect(line.metadata["status"] == "OK")
      #expect(line.metadata["request_bytes"] == "3")
      #expect(line.metadata["response_bytes"] == "3")
      #expect(line.metadata["peer"]?.hasPrefix("127.0.0.1:") == true)
      #expect(line.metadata["token"] == "t")
      #expect(line.metadata["app"] == "-")
      #expect(line.metadata["request_id"] == "mine")
      #expect(line.metadata["trace_id"]?.count == 32)
      #expect(line.metadata["microseconds"].flatMap { Int($0) } != nil)
    }
  }

  @Test("Without a share only faults are told, the same request id to the caller and to the log")
  func faults() async throws {
    try await withServer(share: 0) { channel, _, lines in
      _ = try await channel.unary(ProbeService.echo, [], options: CallOptions(timeoutMilliseconds: 60_000))
      #expect(await code { _ = try await channel.unary(ProbeService.guarded, [], options: CallOptions(timeoutMilliseconds: 60_000)) } == .unauthenticated)
      let error = await failure { _ = try await channel.unary(ProbeService.broken, [], options: CallOptions(timeoutMilliseconds: 60_000)) }
      #expect(error?.code == .unknown)
      let id = try #require(error?.metadata["x-request-id"])
      // The answer may be here before the lines.
      #expect(await eventually { lines.all.count { $0.metadata["request_id"] != nil } == 2 })
      let told = lines.all.filter { $0.metadata["request_id"] != nil }
      #expect(lines.all.map(\.message) == told.map(\.message))
      #expect(told.map(\.message) == ["a handler failed", "call"])
      #expect(told.allSatisfy { $0.metadata["request_id"] == id && $0.level == .error })
    }
  }

  @Test("About a tenth of the calls is told at a share of 0.1")
  func share() async throws {
    try await withServer(share: 0.1) { channel, _, lines in
      for _ in 0..<2_000 { _ = try await channel.unary(ProbeService.echo, [], options: CallOptions(timeoutMilliseconds: 60_000)) }
      let count = lines.all.count { $0.message == "call" }
      // Six standard deviations (13 each) around 200.
      #expect((120...280).contains(count), "\(count)")
    }
  }

  @Test("A burst of faults is told 50 times, then ten times a second")
  func bounded() async throws {
    try await withServer(share: 0) { channel, _, lines in
      let begin = MonotonicClock.now
      for _ in 0..<500 { _ = await code { _ = try await channel.unary(ProbeService.broken, [], options: CallOptions(timeoutMilliseconds: 60_000)) } }
      let seconds = Double(MonotonicClock.now - begin) / 1_000_000_000
      let count = lines.all.count { $0.level == .error }
      #expect(count >= 50)
      #expect(Double(count) <= 51 + 10 * seconds, "\(count) lines in \(seconds) s")
    }
  }

  @Test("Texts of strangers stay on one line of plain characters")
  func escaped() {
    #expect(LogText.line("a\nb\r\u{1b}[31m\"\\é") == #"a\u{a}b\u{d}\u{1b}[31m\"\\\u{e9}"#)
    #expect(LogText.line(String(repeating: "x", count: 10_000)).utf8.count <= LogText.bytesMax + 3)
  }

  @Test("Bytes and messages are counted by method, calls by connection")
  func counted() async throws {
    try await withServer(share: 0) { channel, server, _ in
      for method in [ProbeService.echo, ProbeService.echoAsync, ProbeService.later] {
        for size in 1...4 {
          _ = try await channel.unary(
            method, [UInt8](repeating: 7, count: size), options: CallOptions(timeoutMilliseconds: 60_000))
        }
        let figures = try #require(server.statistics.methods.first { $0.0 === method }?.1)
        #expect(figures.calls == 4)
        #expect(figures.requestMessages == 4)
        #expect(figures.requestBytes == 10)
        #expect(figures.responseMessages == 4)
        #expect(figures.responseBytes == 10)
        #expect(figures.inFlight == 0)
      }
      let stream = try await channel.open(ProbeService.stream, options: CallOptions(timeoutMilliseconds: 60_000))
      for size in 1...4 { try await stream.send([UInt8](repeating: 7, count: size)) }
      try await stream.finishSending()
      while try await stream.next() != nil {}
      let figures = try #require(
        server.statistics.methods.first { $0.0 === ProbeService.stream }?.1)
      #expect((figures.requestMessages, figures.requestBytes) == (4, 10))
      #expect((figures.responseMessages, figures.responseBytes) == (4, 10))

      let id = try #require(server.connectionIDs(from: 0).first)
      let connection = try #require(await server.connection(id))
      #expect(connection.figures.callsStarted == 13)
      #expect(connection.figures.callsSucceeded == 13)
      #expect(connection.figures.messagesReceived == 16)
      #expect(connection.figures.messagesSent == 16)
      #expect(connection.sendWindowBytes > 0 && connection.receiveWindowBytes > 0)
      let client = try #require(await channel.subchannels.first?.connection)
      #expect(client.local == connection.peer)
      #expect(client.peer == connection.local)
      #expect(client.figures.callsSucceeded == 13)
    }
  }

  private static func names(_ bytes: some Sequence<UInt8>) -> [String] {
    String(decoding: Array(bytes), as: UTF8.self).split { $0 == " " || $0 == "\n" }.map(String.init)
  }

  @Test("A call made by a handler carries the request id and the trace on, under a span of its own")
  func hops() async throws {
    try await withServer(share: 0, [NameService()]) { far, _, _ in
      try await withServer(share: 0, [RelayService(channel: far)]) { near, _, _ in
        var options = CallOptions(timeoutMilliseconds: 60_000)
        options.metadata.add("x-request-id", "mine")
        options.metadata.add(
          "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        let named = Self.names(try await near.unary(RelayService.call, [], options: options))
        #expect(named[0] == "mine" && named[3] == "mine")
        #expect(named[1] == "4bf92f3577b34da6a3ce929d0e0e4736" && named[4] == named[1])
        #expect(named[2] != named[5])

        let made = Self.names(try await near.unary(RelayService.call, [], options: CallOptions(timeoutMilliseconds: 60_000)))
        #expect(made[0] == made[3] && made[0].count == 32)
        #expect(made[1] == made[4])
        #expect(Set([made[2], made[5]]).count == 2)
      }
    }
  }

  @Test("a caller's address is not in the log, and its lines can be told from others'")
  func pseudonyms() {
    for address in ["203.0.113.9", "2001:db8::9"] {
      let name = PeerName.inLog("\(address):4711")
      #expect(!name.contains(address))
      #expect(name.hasPrefix("p-") && name.hasSuffix(":4711"))
      #expect(name.dropLast(4) == PeerName.inLog("\(address):4712").dropLast(4))
      #expect(name != PeerName.inLog("203.0.113.10:4711"))
    }
    #expect(PeerName.inLog("127.0.0.1:80") == "127.0.0.1:80")
    #expect(PeerName.inLog("unknown") == "unknown")
  }
}
