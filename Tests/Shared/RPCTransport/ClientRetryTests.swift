import RPC
import RPCTransport
import Synchronization
import Testing

/// Repetitions: those that nobody can notice, and those of a policy (gRFC A6).
@Suite(.serialized) struct ClientRetryTests {
  private func configuration(_ attempts: Int = 3, throttle: RetryThrottle? = nil) -> ChannelConfiguration {
    var configuration = quickConfiguration()
    configuration.retry = RetryPolicy(
      maxAttempts: attempts, initialBackoffMilliseconds: 1, maxBackoffMilliseconds: 5)
    configuration.retryThrottle = throttle
    return configuration
  }

  /// Answers each request by its number, over all connections.
  private func withAnswers(
    _ configuration: ChannelConfiguration,
    _ answer: @escaping @Sendable (RawPeer, RawPeer.Request, Int) -> Void,
    _ body: (Channel, AtomicCounter) async throws -> Void
  ) async throws {
    let counter = AtomicCounter()
    try await withRawServer(
      configuration,
      script: { peer, _ in
        peer.settings()
        while let request = peer.nextRequest() {
          let number = counter.value
          counter.add(1)
          answer(peer, request, number)
        }
      }
    ) { channel, _ in try await body(channel, counter) }
  }

  @Test func `a refused stream is repeated once, whatever the method`() async throws {
    for refusals in [1, 2] {
      try await withAnswers(quickConfiguration()) { peer, request, number in
        number < refusals ? peer.reset(request.stream, 7) : peer.answer(request.stream, [1])
      } _: { channel, counter in
        let error = await failure {
          _ = try await channel.unary(RawMethods.call, [1], options: CallOptions())
        }
        #expect(error?.code == (refusals == 1 ? nil : .unavailable))
        if refusals == 2 { #expect(error?.delivery == .notRun) }
        #expect(counter.value == 2)
      }
    }
  }

  @Test func `a GOAWAY after the first call moves the second to another connection`() async throws {
    try await withRawServer(script: { peer, _ in
      peer.settings()
      guard let request = peer.nextRequest() else { return }
      peer.answer(request.stream, [1])
      peer.goAway(request.stream, 0)
      peer.waitForClose()
    }) { channel, server in
      for count in 1...3 {
        let answer = try await channel.unary(RawMethods.call, [1], options: CallOptions())
        #expect(answer == [1])
        #expect(await eventually { channel.connectivity == .idle })
        #expect(server.connections == count)
      }
    }
  }

  @Test func `calls that a GOAWAY leaves out are repeated, those before it finish`() async throws {
    try await withRawServer(script: { peer, number in
      peer.settings()
      guard number == 0 else {
        while let request = peer.nextRequest() { peer.answer(request.stream, [2]) }
        return
      }
      guard let first = peer.nextRequest(), peer.nextRequest() != nil else { return }
      peer.goAway(first.stream, 0)
      peer.answer(first.stream, [1])
      peer.waitForClose()
    }) { channel, server in
      async let one = channel.unary(RawMethods.call, [1], options: CallOptions())
      async let other = channel.unary(RawMethods.call, [1], options: CallOptions())
      let answers = try await [one, other].map { $0[0] }.sorted()
      #expect(answers == [1, 2])
      #expect(server.connections == 2)
    }
  }

  @Test func `a policy repeats idempotent methods and no others`() async throws {
    for method in [RawMethods.call, RawMethods.idempotent] {
      try await withAnswers(configuration()) { peer, request, number in
        let previous = request.fields["grpc-previous-rpc-attempts"]
        guard previous == (number == 0 ? nil : "\(number)") else {
          return peer.refuse(request.stream, "13")
        }
        number < 2 ? peer.refuse(request.stream, "14") : peer.answer(request.stream, [1])
      } _: { channel, counter in
        let error = await failure { _ = try await channel.unary(method, [1], options: CallOptions()) }
        #expect(error?.code == (method === RawMethods.call ? .unavailable : nil))
        #expect(counter.value == (method === RawMethods.call ? 1 : 3))
      }
    }
  }

  @Test func `a policy ends after its attempts and says how many`() async throws {
    try await withAnswers(configuration(4)) { peer, request, _ in
      peer.refuse(request.stream, "14")
    } _: { channel, counter in
      let error = await failure {
        _ = try await channel.unary(RawMethods.idempotent, [1], options: CallOptions())
      }
      #expect(error?.code == .unavailable)
      #expect(error?.attempts == 4)
      #expect(counter.value == 4)
    }
  }

  @Test func `an answer that has begun is not repeated`() async throws {
    try await withAnswers(configuration()) { peer, request, _ in
      peer.headers(request.stream, RawPeer.responseHead)
      peer.headers(request.stream, [("grpc-status", "14")], end: true)
    } _: { channel, counter in
      let status = await code {
        _ = try await channel.unary(RawMethods.idempotent, [1], options: CallOptions())
      }
      #expect(status == .unavailable)
      #expect(counter.value == 1)
    }
  }

  @Test(arguments: [("40", 2), ("-1", 1), ("soon", 1)])
  func `the server says when to come again, or not to`(_ pushback: String, _ attempts: Int) async throws {
    try await withAnswers(configuration()) { peer, request, number in
      number == 0
        ? peer.refuse(request.stream, "14", [("grpc-retry-pushback-ms", pushback)])
        : peer.answer(request.stream, [1])
    } _: { channel, counter in
      let begin = MonotonicClock.now
      let error = await failure {
        _ = try await channel.unary(RawMethods.idempotent, [1], options: CallOptions())
      }
      #expect((error == nil) == (attempts == 2))
      #expect(counter.value == attempts)
      if attempts == 2 { #expect(MonotonicClock.now - begin >= 40_000_000) }
    }
  }

  @Test func `a throttle stops repetitions while much fails`() async throws {
    // Four tokens: two failures leave half of them, and that is not enough.
    try await withAnswers(configuration(5, throttle: RetryThrottle(maxTokens: 4, tokenRatio: 0.1))) {
      peer, request, _ in peer.refuse(request.stream, "14")
    } _: { channel, counter in
      for _ in 0..<3 {
        _ = await code {
          _ = try await channel.unary(RawMethods.idempotent, [1], options: CallOptions())
        }
      }
      #expect(counter.value == 4)
    }
  }

  @Test func `the deadline spans all attempts`() async throws {
    try await withAnswers(configuration(5)) { peer, request, _ in
      peer.refuse(request.stream, "14", [("grpc-retry-pushback-ms", "1500")])
    } _: { channel, counter in
      let status = await code {
        _ = try await channel.unary(
          RawMethods.idempotent, [1], options: CallOptions(timeoutMilliseconds: 2_500))
      }
      #expect(status == .unavailable)
      #expect(counter.value == 2)
    }
  }

  @Test func `a stream's messages are sent again until it is answered`() async throws {
    try await withAnswers(configuration()) { peer, request, number in
      guard number > 0 else { return peer.refuse(request.stream, "14") }
      peer.headers(request.stream, RawPeer.responseHead)
      peer.data(request.stream, request.body)
      peer.headers(request.stream, [("grpc-status", "0")], end: true)
    } _: { channel, counter in
      let stream = try await channel.open(RawMethods.stream, options: CallOptions())
      for number in UInt8(1)...5 { try await stream.send([number]) }
      try await stream.finishSending()
      for number in UInt8(1)...5 { #expect(try await stream.next() == [number]) }
      #expect(try await stream.next() == nil)
      #expect(counter.value == 2)
    }
  }

  @Test func `a stream that has sent more than is kept is not repeated`() async throws {
    var configuration = self.configuration()
    configuration.limits.retryBytesMax = 100
    try await withAnswers(configuration) { peer, request, _ in
      peer.refuse(request.stream, "14")
    } _: { channel, counter in
      let stream = try await channel.open(RawMethods.stream, options: CallOptions())
      for _ in 0..<3 { try await stream.send([UInt8](repeating: 1, count: 50)) }
      try await stream.finishSending()
      let status = await code { _ = try await stream.next() }
      #expect(status == .unavailable)
      #expect(counter.value == 1)
    }
  }
}
