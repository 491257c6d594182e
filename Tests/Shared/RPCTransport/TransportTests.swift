import Dispatch
import Logging
import RPC
import RPCTransport
import Synchronization
import Testing

/// Answers in every way that a handler can.
struct ProbeService: ServiceHandlers {
  static let serviceName = "probe.Probe"
  let cancelled = AtomicCounter()

  static func method(
    _ name: String, _ kind: MethodDescriptor.Kind, access: MethodDescriptor.Access = .open
  ) -> MethodDescriptor {
    MethodDescriptor(service: serviceName, method: name, kind: kind, access: access)
  }

  static let echo = method("Echo", .unary)
  static let echoAsync = method("EchoAsync", .unary)
  static let later = method("Later", .unary)
  static let never = method("Never", .unary)
  static let dropped = method("Dropped", .unary)
  static let broken = method("Broken", .unary)
  static let guarded = method("Guarded", .unary, access: .scope("secret"))
  static let stream = method("Stream", .bidirectional)
  static let flood = method("Flood", .serverStreaming)

  static let gated = method("Gated", .unary)
  static let gateIsShut = Atomic<Bool>(false)

  struct Bug: Error {}

  func gate(of method: MethodDescriptor) -> CallGate? {
    guard method.path == Self.gated.path else { return nil }
    return { _ in
      Self.gateIsShut.load(ordering: .acquiring) ? .shut(RPCError(.resourceExhausted, "shut")) : .open
    }
  }

  var methodHandlers: [MethodHandler] {
    let cancelled = cancelled
    return [
      MethodHandler(Self.echo, .loop { $0.reply($0.message) }),
      MethodHandler(Self.gated, .loop { $0.reply($0.message) }),
      MethodHandler(Self.echoAsync, .unary { message, _ in message }),
      MethodHandler(
        Self.later,
        .loop { call in
          let bytes = Array(call.message)
          let parked = call.park()
          // Not a task: tests that block their threads leave it none.
          DispatchQueue.global().async { parked.reply(bytes) }
        }),
      MethodHandler(
        Self.never,
        .unary { _, _ in
          do {
            try await Task.sleep(for: .seconds(60))
          } catch {
            cancelled.add(1)
            throw error
          }
          return []
        }),
      MethodHandler(Self.dropped, .loop { _ = $0.park() }),
      MethodHandler(Self.broken, .unary { _, _ in throw Bug() }),
      MethodHandler(
        MethodDescriptor(
          service: Self.serviceName, method: "Critical", kind: .unary, access: .open, priority: .critical),
        .loop { $0.reply($0.message) }),
      MethodHandler(
        Self.method("LongError", .unary),
        .loop {
          $0.fail(
            RPCError(
              .failedPrecondition, String(repeating: "ö", count: 20_000),
              details: [UInt8](repeating: 1, count: 9_000)))
        }),
      MethodHandler(
        Self.method("Alternating", .bidirectional),
        .streaming { requests, responses, context in
          context.response.addInitial("x-first", "yes")
          for try await message in requests {
            for compress in [true, false, true] { try await responses.send(message, compress: compress) }
          }
        }),
      MethodHandler(Self.guarded, .loop { $0.reply($0.message) }),
      MethodHandler(
        Self.stream,
        .streaming { requests, responses, _ in
          for try await message in requests { try await responses.send(message) }
        }),
      MethodHandler(
        Self.flood,
        .streaming { requests, responses, _ in
          for try await message in requests {
            do {
              while true { try await responses.send(message) }
            } catch {
              cancelled.add(1)
              throw error
            }
          }
        }),
    ]
  }
}

final class DenyingAuthorizer: Authorizer {
  let principal = Principal(tokenID: "t", appID: nil, scopes: ["admin"])

  func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal {
    if method.access == .open { return principal }
    guard let authorization, String(decoding: authorization, as: UTF8.self) == "Bearer right" else {
      throw RPCError(.unauthenticated, "no")
    }
    return principal
  }
}

/// A server and a client of it, for the time of a body.
func withServer(
  limits: ServerLimits = ServerLimits(), token: String? = nil,
  _ body: (Channel, ProbeService, RPCServer) async throws -> Void
) async throws {
  let service = ProbeService()
  let server = RPCServer(
    configuration: ServerConfiguration(port: 0, limits: limits), services: [service],
    authorizer: DenyingAuthorizer(), logger: Logger(label: "test"))
  let channel = Channel(host: "127.0.0.1", port: try await server.start(), token: token)
  try await body(channel, service, server)
  await channel.close()
  await server.shutdown(graceMilliseconds: 1_000)
}

/// nil: the body succeeded.
func failure(_ body: () async throws -> Void) async -> RPCError? {
  do {
    try await body()
    return nil
  } catch let error as RPCError {
    return error
  } catch {
    return RPCError(.unknown, "\(error)")
  }
}

func code(_ body: () async throws -> Void) async -> StatusCode {
  await failure(body)?.code ?? .ok
}

@Suite(.serialized) struct TransportTests {
  let options = CallOptions(timeoutMilliseconds: 20_000)

  @Test(arguments: [0, 1, 100, 16_384, 70_000, 1_000_000, 4 * 1024 * 1024])
  func `a message of any size up to the limit comes back`(_ size: Int) async throws {
    try await withServer { channel, _, _ in
      let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      for method in [ProbeService.echo, ProbeService.echoAsync, ProbeService.later] {
        let answer1 = try await channel.unary(method, message, options: options)
        #expect(answer1 == message)
      }
    }
  }

  @Test func `a message over the limit is refused by its prefix`() async throws {
    var limits = ServerLimits()
    limits.messageBytesMax = 1_000
    try await withServer(limits: limits) { channel, _, _ in
      let message = [UInt8](repeating: 1, count: 1_001)
      let error = await failure {
        _ = try await channel.unary(ProbeService.echo, message, options: options)
      }
      #expect(error?.code == .resourceExhausted)
      #expect(error?.message == "message: at most 1000 bytes, this one has 1001")
      let answer2 = try await channel.unary(ProbeService.echo, [1], options: options)
      #expect(answer2 == [1])
    }
  }

  @Test func `many calls at once are all answered`() async throws {
    try await withServer { channel, _, _ in
      let answers = try await withThrowingTaskGroup(of: Bool.self) { group in
        for index in 0..<2_000 {
          group.addTask {
            let message = Array("\(index)".utf8)
            let method = index % 2 == 0 ? ProbeService.echoAsync : ProbeService.later
            return try await channel.unary(method, message, options: options) == message
          }
        }
        return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      #expect(answers == 2_000)
    }
  }

  @Test func `a stream carries messages both ways in order`() async throws {
    try await withServer { channel, _, _ in
      let stream = try await channel.open(ProbeService.stream, options: options)
      let messages = (0..<3_000).map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: $0) }
      async let sending: Void = {
        for message in messages { try await stream.send(message) }
        try await stream.finishSending()
      }()
      var index = 0
      while let message = try await stream.next() {
        #expect(message == messages[index])
        index += 1
      }
      try await sending
      #expect(index == messages.count)
    }
  }

  @Test func `a deadline ends the call on both sides`() async throws {
    try await withServer { channel, service, _ in
      let status = await code {
        _ = try await channel.unary(
          ProbeService.never, [], options: CallOptions(timeoutMilliseconds: 50))
      }
      #expect(status == .deadlineExceeded)
      #expect(await eventually { service.cancelled.value > 0 })
      #expect(service.cancelled.value == 1)
    }
  }

  @Test func `cancelling the caller cancels the handler`() async throws {
    try await withServer { channel, service, _ in
      let caller = Task { try await channel.unary(ProbeService.never, [], options: options) }
      // Only a call that has reached the server can be cancelled there.
      _ = try await channel.unary(ProbeService.echo, [], options: options)
      caller.cancel()
      #expect(await eventually { service.cancelled.value > 0 })
      #expect(service.cancelled.value == 1)
      let result = await caller.result
      #expect(throws: RPCError.self) { try result.get() }
    }
  }

  @Test func `a reader that does not read stops the writer, and its end ends the writer`() async throws {
    try await withServer { channel, service, server in
      let stream = try await channel.open(ProbeService.flood, options: options)
      try await stream.send([UInt8](repeating: 9, count: 10_000))
      try await stream.finishSending()
      for _ in 0..<100 { _ = try await stream.next() }
      stream.cancel()
      #expect(await eventually { service.cancelled.value > 0 })
      #expect(service.cancelled.value == 1)
    }
  }

  @Test func `a handler's own failure is UNKNOWN without its text`() async throws {
    try await withServer { channel, _, _ in
      let error = await failure {
        _ = try await channel.unary(ProbeService.broken, [], options: options)
      }
      #expect(error?.code == .unknown)
      #expect(error?.message.contains("Bug") == false)
      let dropped = await code {
        _ = try await channel.unary(ProbeService.dropped, [], options: options)
      }
      #expect(dropped == .internal)
    }
  }

  @Test func `an unknown method is UNIMPLEMENTED whatever the token`() async throws {
    try await withServer { channel, _, _ in
      for path in ["Nope", "echo", "Echo/"] {
        let method = ProbeService.method(path, .unary, access: .scope("secret"))
        let status = await code { _ = try await channel.unary(method, [], options: options) }
        #expect(status == .unimplemented)
      }
    }
  }

  @Test(arguments: [(nil, StatusCode.unauthenticated), ("wrong", .unauthenticated), ("right", .ok)])
  func `a guarded method needs its token`(_ token: String?, _ expected: StatusCode) async throws {
    try await withServer(token: token) { channel, _, _ in
      let status = await code {
        _ = try await channel.unary(ProbeService.guarded, [], options: options)
      }
      #expect(status == expected)
    }
  }

  @Test func `a graceful end finishes what runs and then refuses`() async throws {
    try await withServer { channel, _, server in
      let stream = try await channel.open(ProbeService.stream, options: options)
      try await stream.send([1])
      let answer3 = try await stream.next()
      #expect(answer3 == [1])
      async let end: Void = server.shutdown(graceMilliseconds: 10_000)
      try await Task.sleep(for: .milliseconds(50))
      try await stream.send([2])
      let answer4 = try await stream.next()
      #expect(answer4 == [2])
      try await stream.finishSending()
      let answer5 = try await stream.next()
      #expect(answer5 == nil)
      await end
      let status = await code {
        _ = try await channel.unary(ProbeService.echo, [], options: options)
      }
      #expect(status == .unavailable)
    }
  }

  @Test func `a channel connects again after its server came back`() async throws {
    let server = RPCServer(
      configuration: ServerConfiguration(port: portToComeBackTo()), services: [ProbeService()],
      authorizer: OpenAuthorizer(), logger: Logger(label: "test"))
    let port = try await server.start()
    var configuration = ChannelConfiguration()
    configuration.backoffInitialMilliseconds = 20
    let channel = Channel(host: "127.0.0.1", port: port, token: nil, configuration: configuration)
    let answer6 = try await channel.unary(ProbeService.echo, [1], options: options)
    #expect(answer6 == [1])
    await server.shutdown(graceMilliseconds: 100)
    let status = await code {
      _ = try await channel.unary(ProbeService.echo, [2], options: options)
    }
    #expect(status == .unavailable)
    let again = RPCServer(
      configuration: ServerConfiguration(port: port), services: [ProbeService()],
      authorizer: OpenAuthorizer(), logger: Logger(label: "test"))
    _ = try await again.start()
    let waiting = CallOptions(timeoutMilliseconds: 10_000, waitForReady: true)
    let answer7 = try await channel.unary(ProbeService.echo, [3], options: waiting)
    #expect(answer7 == [3])
    await channel.close()
    await again.shutdown(graceMilliseconds: 100)
  }

  @Test func `connections over the bound are closed on arrival`() async throws {
    var limits = ServerLimits()
    limits.connectionsMax = 1
    try await withServer(limits: limits) { channel, _, server in
      let answer8 = try await channel.unary(ProbeService.echo, [1], options: options)
      #expect(answer8 == [1])
      let statistics = server.statistics
      #expect(statistics.openConnections == 1)
      #expect(statistics.methods.first { $0.0 === ProbeService.echo }?.1.callsByStatus[0] == 1)
    }
  }
}
