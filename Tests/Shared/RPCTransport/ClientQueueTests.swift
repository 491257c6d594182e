import RPC
import RPCTransport
import Testing

/// Servers that allow few streams, and calls that give up.
@Suite(.serialized) struct ClientQueueTests {
  @Test func `a server that allows one stream gets one call at a time`() async throws {
    let tooMany = AtomicCounter()
    try await withRawServer(script: { peer, _ in
      peer.settings([(3, 1)])
      while let request = peer.nextRequest() {
        // What comes before the answer would be a second stream.
        peer.send(6, 0, 0, [UInt8](repeating: 1, count: 8))
        while let frame = peer.nextFrame(), frame.type != 6 {
          if frame.type == 1 { tooMany.add(1) }
        }
        peer.answer(request.stream, Array(request.body[5...]))
      }
    }) { channel, _ in
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in UInt8(0)..<10 {
          group.addTask {
            try await channel.unary(RawMethods.call, [number], options: CallOptions()) == [number]
          }
        }
        for try await isRight in group { #expect(isRight) }
      }
      #expect(tooMany.value == 0)
    }
  }

  /// A server that allows one stream and answers nothing.
  private func withStuckServer(
    _ configuration: ChannelConfiguration = quickConfiguration(),
    _ body: (Channel) async throws -> Void
  ) async throws {
    try await withRawServer(
      configuration,
      script: { peer, _ in
        peer.settings([(3, 1)])
        peer.waitForClose()
      }
    ) { channel, _ in
      let first = try await channel.open(RawMethods.stream, options: CallOptions())
      try await first.send([1])
      try await body(channel)
      first.cancel()
    }
  }

  @Test func `a call that waits for a stream meets its deadline`() async throws {
    try await withStuckServer { channel in
      let error = await failure {
        _ = try await channel.unary(
          RawMethods.call, [1], options: CallOptions(timeoutMilliseconds: 50))
      }
      #expect(error?.code == .deadlineExceeded)
      #expect(error?.delivery == .notSent)
    }
  }

  @Test func `a call that waits for a stream can be cancelled`() async throws {
    try await withStuckServer { channel in
      let call = Task { try await channel.unary(RawMethods.call, [1], options: CallOptions()) }
      await Task.yield()
      call.cancel()
      let status = await code { _ = try await call.value }
      #expect(status == .cancelled)
    }
  }

  @Test func `the queue for streams is bounded`() async throws {
    var configuration = quickConfiguration()
    configuration.limits.queuedCallsMax = 5
    try await withStuckServer(configuration) { channel in
      let options = CallOptions(timeoutMilliseconds: 1_500)
      let codes = await withTaskGroup(of: StatusCode.self) { group in
        for _ in 0..<8 {
          group.addTask {
            await code { _ = try await channel.unary(RawMethods.call, [1], options: options) }
          }
        }
        return await group.reduce(into: [StatusCode: Int]()) { $0[$1, default: 0] += 1 }
      }
      #expect(codes == [.deadlineExceeded: 5, .resourceExhausted: 3])
    }
  }

  @Test func `the queue for a connection is bounded`() async throws {
    var configuration = quickConfiguration()
    configuration.waitingCallsMax = 5
    // Never SETTINGS: never ready.
    try await withRawServer(configuration, script: { peer, _ in peer.waitForClose() }) { channel, _ in
      let options = CallOptions(timeoutMilliseconds: 1_500)
      let codes = await withTaskGroup(of: StatusCode.self) { group in
        for _ in 0..<8 {
          group.addTask {
            await code { _ = try await channel.unary(RawMethods.call, [1], options: options) }
          }
        }
        return await group.reduce(into: [StatusCode: Int]()) { $0[$1, default: 0] += 1 }
      }
      #expect(codes == [.deadlineExceeded: 5, .resourceExhausted: 3])
    }
  }

  @Test func `many short deadlines end in their order`() async throws {
    try await withStuckServer { channel in
      let ends = await withTaskGroup(of: Int.self) { group in
        for timeout in [500, 100, 300] {
          group.addTask {
            _ = await code {
              _ = try await channel.unary(
                RawMethods.call, [1], options: CallOptions(timeoutMilliseconds: timeout))
            }
            return timeout
          }
        }
        return await group.reduce(into: [Int]()) { $0.append($1) }
      }
      #expect(ends == [100, 300, 500])
    }
  }
}
