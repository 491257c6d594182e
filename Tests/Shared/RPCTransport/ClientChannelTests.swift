import Logging
import RPC
import RPCTransport
import Synchronization
import Testing

/// Channels over real servers: their states, several addresses, names, deadlines, interceptors.
@Suite(.serialized) struct ClientChannelTests {
  private let options = CallOptions(timeoutMilliseconds: 20_000)

  /// Says which server it is.
  private struct NamedService: ServiceHandlers {
    static let serviceName = "named.Named"
    static let who = MethodDescriptor(
      service: serviceName, method: "Who", kind: .unary, access: .open,
      defaultDeadlineMilliseconds: 20_000)
    static let packed = MethodDescriptor(
      service: serviceName, method: "Packed", kind: .unary, access: .open,
      defaultDeadlineMilliseconds: 20_000)
    let name: UInt8

    var methodHandlers: [MethodHandler] {
      let name = name
      return [
        MethodHandler(Self.who, .unary { _, _ in [name] }),
        MethodHandler(
          Self.packed,
          .unary { message, context in
            context.response.compressMessages()
            return message
          }),
      ]
    }
  }

  private func start(_ name: UInt8, port: Int = 0) async throws -> (RPCServer, Int) {
    let server = RPCServer(
      configuration: ServerConfiguration(port: port),
      services: [NamedService(name: name), ProbeService()], authorizer: OpenAuthorizer(),
      logger: Logger(label: "test"))
    // A process that another test has started at this moment may hold a copy of the port's last listener for a while.
    let end = Deadline.after(milliseconds: 30_000)
    while true {
      do {
        return (server, try await server.start())
      } catch {
        guard port != 0, !end.hasPassed else { throw error }
        try await Task.sleep(for: .milliseconds(100))
      }
    }
  }

  private func who(_ channel: Channel, _ count: Int) async throws -> [UInt8: Int] {
    var answers: [UInt8: Int] = [:]
    for _ in 0..<count {
      answers[try await channel.unary(NamedService.who, [], options: options)[0], default: 0] += 1
    }
    return answers
  }

  private func addresses(_ ports: [Int]) -> [ServerAddress] {
    ports.map { ServerAddress(host: "127.0.0.1", port: $0) }
  }

  @Test func `round robin spreads calls evenly, without a server that died, with it when it is back`()
    async throws
  {
    let servers = try await [start(1), start(2, port: portToComeBackTo()), start(3)]
    var configuration = quickConfiguration()
    configuration.balancing = .roundRobin
    let channel = Channel(addresses(servers.map(\.1)), token: nil, configuration: configuration)
    channel.connect()
    #expect(await eventually { channel.statistics.addresses.filter { $0.1 == .ready }.count == 3 })
    #expect(try await who(channel, 30) == [1: 10, 2: 10, 3: 10])
    await servers[1].0.shutdown(graceMilliseconds: 100)
    #expect(await eventually { channel.statistics.addresses.filter { $0.1 == .ready }.count == 2 })
    #expect(try await who(channel, 30) == [1: 15, 3: 15])
    let (again, _) = try await start(4, port: servers[1].1)
    #expect(await eventually { channel.statistics.addresses.filter { $0.1 == .ready }.count == 3 })
    #expect(try await who(channel, 30) == [1: 10, 4: 10, 3: 10])
    await channel.close()
    for server in [servers[0].0, servers[2].0, again] { await server.shutdown(graceMilliseconds: 100) }
  }

  @Test func `pick first goes past dead addresses and stays`() async throws {
    let (dead, deadPort) = try await start(9)
    await dead.shutdown(graceMilliseconds: 10)
    let (first, firstPort) = try await start(1)
    let (second, secondPort) = try await start(2)
    let channel = Channel(
      addresses([deadPort, firstPort, secondPort]), token: nil, configuration: quickConfiguration())
    #expect(try await who(channel, 10) == [1: 10])
    await first.shutdown(graceMilliseconds: 100)
    #expect(await eventually { channel.connectivity == .idle })
    #expect(try await who(channel, 10) == [2: 10])
    await channel.close()
    await second.shutdown(graceMilliseconds: 100)
  }

  /// Answers what it is told to, and counts.
  private final class FakeResolver: NameResolver {
    let answers = Mutex<[ServerAddress]>([])
    let asked = AtomicCounter()

    func addresses(of server: ServerAddress) async throws -> [ServerAddress] {
      asked.add(1)
      return answers.withLock { $0 }
    }
  }

  @Test func `a name stands for all its addresses and is asked for again when they fail`() async throws {
    let (first, firstPort) = try await start(1)
    let (second, secondPort) = try await start(2)
    let resolver = FakeResolver()
    resolver.answers.withLock { $0 = addresses([firstPort]) }
    var configuration = quickConfiguration()
    configuration.resolver = resolver
    let channel = Channel(host: "service", port: 1, token: nil, configuration: configuration)
    #expect(try await who(channel, 1) == [1: 1])
    resolver.answers.withLock { $0 = addresses([secondPort]) }
    await first.shutdown(graceMilliseconds: 100)
    let waiting = CallOptions(timeoutMilliseconds: 20_000, waitForReady: true)
    #expect(try await channel.unary(NamedService.who, [], options: waiting) == [2])
    #expect(resolver.asked.value >= 2)
    await channel.close()
    await second.shutdown(graceMilliseconds: 100)
  }

  @Test func `the system finds localhost, and not what does not exist`() async throws {
    let resolver = SystemResolver()
    let found = try await resolver.addresses(of: ServerAddress(host: "localhost", port: 7))
    #expect(found.contains { $0.host == "127.0.0.1" || $0.host == "::1" })
    #expect(found.allSatisfy { $0.port == 7 })
    let numeric = ServerAddress(host: "::1", port: 7)
    #expect(try await resolver.addresses(of: numeric) == [numeric])
    #expect("\(numeric)" == "[::1]:7")
    await #expect(throws: (any Error).self) {
      try await resolver.addresses(of: ServerAddress(host: "no such name", port: 1))
    }
  }

  @Test func `the states of a channel can be watched`() async throws {
    let (server, port) = try await start(1)
    let channel = Channel(addresses([port]), token: nil, configuration: quickConfiguration())
    var states = channel.connectivityChanges.makeAsyncIterator()
    #expect(await states.next() == .idle)
    _ = try await who(channel, 1)
    #expect(await states.next() == .connecting)
    #expect(await states.next() == .ready)
    await server.shutdown(graceMilliseconds: 100)
    #expect(await states.next() == .idle)
    channel.connect()
    #expect(await states.next() == .connecting)
    #expect(await states.next() == .transientFailure)
    await channel.close()
    #expect(await states.next() == .shutdown)
    #expect(await states.next() == nil)
    let error = await failure { _ = try await who(channel, 1) }
    #expect(error?.code == .unavailable)
    #expect(error?.delivery == .notSent)
  }

  @Test func `a call that waits for a server gets it`() async throws {
    let (gone, port) = try await start(1, port: portToComeBackTo())
    await gone.shutdown(graceMilliseconds: 10)
    let channel = Channel(addresses([port]), token: nil, configuration: quickConfiguration())
    let hasty = await failure { _ = try await who(channel, 1) }
    #expect(hasty?.code == .unavailable)
    let waiting = CallOptions(timeoutMilliseconds: 20_000, waitForReady: true)
    async let answer = channel.unary(NamedService.who, [], options: waiting)
    #expect(await eventually { channel.statistics.callsWaiting == 1 })
    let (back, _) = try await start(2, port: port)
    #expect(try await answer == [2])
    let short = CallOptions(timeoutMilliseconds: 50, waitForReady: true)
    await back.shutdown(graceMilliseconds: 10)
    let late = await failure { _ = try await channel.unary(NamedService.who, [], options: short) }
    #expect(late?.code == .deadlineExceeded)
    await channel.close()
  }

  @Test func `a server that never says SETTINGS is no server`() async throws {
    var configuration = quickConfiguration()
    configuration.connectTimeoutMilliseconds = 100
    try await withRawServer(configuration, script: { peer, _ in peer.waitForClose() }) { channel, _ in
      let error = await failure {
        _ = try await channel.unary(RawMethods.call, [1], options: options)
      }
      #expect(error?.code == .unavailable)
      #expect(error.map { "\($0)" }?.contains("SETTINGS") == true)
    }
  }

  @Test func `a GOAWAY over too many PINGs doubles the time between them`() async throws {
    var configuration = quickConfiguration()
    configuration.keepalive = ClientKeepalive(timeMilliseconds: 12_000)
    try await withRawServer(
      configuration,
      script: { peer, _ in
        peer.settings()
        guard let request = peer.nextRequest() else { return }
        peer.answer(request.stream, [1])
        peer.goAway(request.stream, 11, "too_many_pings")
        peer.waitForClose()
      }
    ) { channel, _ in
      #expect(channel.keepaliveMilliseconds == 12_000)
      _ = try await channel.unary(RawMethods.call, [1], options: options)
      #expect(await eventually { channel.keepaliveMilliseconds == 24_000 })
    }
  }

  @Test func `a connection that nobody uses is closed, and made again for the next call`() async throws {
    let (server, port) = try await start(1)
    var configuration = quickConfiguration()
    configuration.idleMilliseconds = 30
    let channel = Channel(addresses([port]), token: nil, configuration: configuration)
    _ = try await who(channel, 1)
    #expect(await eventually { channel.connectivity == .idle })
    #expect(await eventually { server.statistics.openConnections == 0 })
    #expect(try await who(channel, 1) == [1: 1])
    await channel.close()
    await server.shutdown(graceMilliseconds: 100)
  }

  // MARK: - Deadlines

  @Test func `a unary call must have a deadline`() async throws {
    try await withServer { channel, _, server in
      let error = await failure {
        _ = try await channel.unary(ProbeService.echo, [], options: CallOptions())
      }
      #expect(error?.cause is ClientMisuse)
      #expect(error?.delivery == .notSent)
      #expect(server.statistics.acceptedConnections == 0)
      let stream = try await channel.open(ProbeService.stream, options: CallOptions())
      try await stream.send([1])
      #expect(try await stream.next() == [1])
      stream.cancel()
    }
  }

  @Test func `a handler's own calls end before its caller's deadline`() async throws {
    // Before the deadline is set: what passes until the call begins is a part of its time.
    let begin = MonotonicClock.now
    let context = CallContext(
      method: ProbeService.echo, principal: Principal(tokenID: "t", appID: nil, scopes: []),
      deadline: .after(milliseconds: 80))
    try await withServer { channel, _, _ in
      let status = await code {
        _ = try await channel.unary(
          ProbeService.never, [], options: .inheriting(context, marginMilliseconds: 30))
      }
      #expect(status == .deadlineExceeded)
      #expect(MonotonicClock.now - begin >= 45_000_000)
      let deadline = try #require(context.deadline)
      #expect(!deadline.hasPassed)
      let late = await failure {
        _ = try await channel.unary(
          ProbeService.echo, [], options: .inheriting(context, marginMilliseconds: 1_000))
      }
      #expect(late?.code == .deadlineExceeded)
      #expect(late?.delivery == .notSent)
    }
  }

  @Test(arguments: ["grpc-timeout", ":path", "Upper", "te", ""])
  func `metadata that must not be sent is refused`(_ name: String) async throws {
    var options = options
    options.metadata.add(name, "x")
    try await withServer { channel, _, _ in
      let error = await failure {
        _ = try await channel.unary(ProbeService.echo, [], options: options)
      }
      #expect(error?.cause is ClientMisuse)
    }
  }

  @Test func `a request that is too large is not sent`() async throws {
    var configuration = quickConfiguration()
    configuration.limits.requestBytesMax = 10
    let (server, port) = try await start(1)
    let channel = Channel(addresses([port]), token: nil, configuration: configuration)
    let error = await failure {
      _ = try await channel.unary(
        ProbeService.echo, [UInt8](repeating: 1, count: 11), options: options)
    }
    #expect(error?.code == .resourceExhausted)
    #expect(error?.delivery == .notSent)
    await channel.close()
    await server.shutdown(graceMilliseconds: 100)
  }

  @Test(arguments: [0, 1, 100, 100_000, 3_000_000])
  func `messages are packed both ways between a channel and a server`(_ size: Int) async throws {
    let (server, port) = try await start(1)
    let channel = Channel(addresses([port]), token: nil, configuration: quickConfiguration())
    // Packs to about a half: what packs to a hundredth counts as a bomb.
    let message = (0..<size).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) & 15 }
    let packing = CallOptions(timeoutMilliseconds: 20_000, compression: .gzip)
    for method in [NamedService.packed, ProbeService.echo, ProbeService.echoAsync] {
      #expect(try await channel.unary(method, message, options: packing) == message)
    }
    let stream = try await channel.open(ProbeService.stream, options: packing)
    for number in 0..<4 { try await stream.send(message, compress: number % 2 == 0) }
    try await stream.finishSending()
    for _ in 0..<4 { #expect(try await stream.next() == message) }
    #expect(try await stream.next() == nil)
    await channel.close()
    await server.shutdown(graceMilliseconds: 100)
  }

  // MARK: - Interceptors

  private final class Recorder: ClientInterceptor {
    let name: String
    let log: Mutex<[String]>

    init(_ name: String) {
      self.name = name
      log = Mutex([])
    }

    func callBegins(_ call: inout OutgoingCall) throws(RPCError) {
      if call.options.metadata["x-refuse"] != nil { throw RPCError(.permissionDenied, "not that") }
      call.options.metadata.add("x-trace", name)
      let line = "begin \(call.method.method)"
      log.withLock { $0.append(line) }
    }

    func callEnded(_ call: OutgoingCall, _ outcome: CallOutcome) {
      let traces = call.options.metadata.values("x-trace").count
      let line = "end \(outcome.code) \(outcome.attempts) \(traces)"
      log.withLock { $0.append(line) }
    }
  }

  @Test func `interceptors see each call and its outcome, and add metadata`() async throws {
    let (server, port) = try await start(1)
    let recorder = Recorder("a")
    var configuration = quickConfiguration()
    configuration.interceptors = [recorder]
    let channel = Channel(addresses([port]), token: nil, configuration: configuration)
    _ = try await channel.unary(ProbeService.echo, [], options: options)
    _ = await code { _ = try await channel.unary(ProbeService.broken, [], options: options) }
    let stream = try await channel.open(ProbeService.stream, options: options)
    try await stream.finishSending()
    #expect(try await stream.next() == nil)
    let cancelled = try await channel.open(ProbeService.stream, options: options)
    cancelled.cancel()
    cancelled.cancel()
    var refused = options
    refused.metadata.add("x-refuse", "1")
    let status = await code { _ = try await channel.unary(ProbeService.echo, [], options: refused) }
    #expect(status == .permissionDenied)
    #expect(
      recorder.log.withLock { $0 } == [
        "begin Echo", "end OK 1 1", "begin Broken", "end UNKNOWN 1 1", "begin Stream", "end OK 1 1",
        "begin Stream", "end CANCELLED 1 1",
      ])
    #expect(channel.statistics.callsStarted == 5)
    #expect(channel.statistics.callsSucceeded == 2)
    #expect(channel.statistics.callsFailed == 3)
    await channel.close()
    await server.shutdown(graceMilliseconds: 100)
  }

  @Test func `what a server sends beside its messages can be had`() async throws {
    try await withRawServer(script: { peer, _ in
      peer.settings()
      while let request = peer.nextRequest() {
        peer.headers(request.stream, RawPeer.responseHead + [("x-initial", "i")])
        peer.data(request.stream, RawPeer.message([1]))
        peer.headers(request.stream, [("grpc-status", "0"), ("x-trailing-bin", "q6ur")], end: true)
      }
    }) { channel, _ in
      let received = ReceivedMetadata()
      _ = try await channel.unary(
        RawMethods.call, [1], options: CallOptions(received: received))
      #expect(received.initial?["x-initial"] == "i")
      #expect(received.trailing?.values("x-trailing-bin") == [[0xab, 0xab, 0xab]])
    }
  }
}
