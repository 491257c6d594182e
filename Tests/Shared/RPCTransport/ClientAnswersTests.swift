import HTTP2
import RPC
import RPCTransport
import Testing

/// What a client makes of what servers answer (PROTOCOL-HTTP2.md, http-grpc-status-mapping.md, statuscodes.md).
@Suite(.serialized) struct ClientAnswersTests {
  /// The failure of one call that is answered by a script; nil: it succeeded.
  private func answer(
    _ method: MethodDescriptor = RawMethods.call, options: CallOptions = CallOptions(),
    configuration: ChannelConfiguration = quickConfiguration(),
    _ script: @escaping @Sendable (RawPeer, Int32) -> Void
  ) async throws -> RPCError? {
    var result: RPCError?
    try await withRawServer(
      configuration,
      script: { peer, _ in
        peer.settings()
        guard let request = peer.nextRequest() else { return }
        script(peer, request.stream)
        peer.waitForClose()
      }
    ) { channel, _ in
      result = await failure { _ = try await channel.unary(method, [1], options: options) }
    }
    return result
  }

  @Test(arguments: [
    ("0", StatusCode.ok), ("7", .permissionDenied), ("16", .unauthenticated), ("17", .unknown),
    ("99", .unknown), ("05", .unknown), ("+5", .unknown), ("-1", .unknown), ("abc", .unknown),
    ("", .unknown), ("5 ", .unknown), ("123456", .unknown),
  ])
  func `a status that is no known number is UNKNOWN`(_ text: String, _ code: StatusCode) async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, RawPeer.responseHead)
      peer.data(stream, RawPeer.message([1]))
      peer.headers(stream, [("grpc-status", text)], end: true)
    }
    #expect((error?.code ?? .ok) == code)
  }

  @Test(arguments: [
    ("400", StatusCode.internal), ("401", .unauthenticated), ("403", .permissionDenied),
    ("404", .unimplemented), ("429", .unavailable), ("431", .internal), ("500", .unknown),
    ("502", .unavailable), ("503", .unavailable), ("504", .unavailable), ("302", .unknown),
  ])
  func `an HTTP status without gRPC is mapped, and its body not read`(
    _ status: String, _ code: StatusCode
  ) async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, [(":status", status), ("content-type", "text/html")])
      peer.data(stream, Array("<html>Service unavailable</html>".utf8), end: true)
    }
    #expect(error?.code == code)
    #expect(error?.message.contains(status) == true)
  }

  @Test func `a gRPC status counts whatever the HTTP status says`() async throws {
    let error = try await answer { peer, stream in
      peer.headers(
        stream, [(":status", "503"), ("content-type", "text/plain"), ("grpc-status", "5")], end: true)
    }
    #expect(error?.code == .notFound)
  }

  @Test func `informational headers come before the answer`() async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, [(":status", "103"), ("link", "x")])
      peer.answer(stream, [1])
    }
    #expect(error == nil)
  }

  @Test func `a message, details and trailers come with the error`() async throws {
    let error = try await answer { peer, stream in
      peer.refuse(
        stream, "9",
        [("grpc-message", "50%25 %zz %E2%98%BA%"), ("grpc-status-details-bin", "CAk"), ("x-why", "so")])
    }
    #expect(error?.code == .failedPrecondition)
    #expect(error?.message == "50% %zz ☺%")
    #expect(error?.details == [8, 9])
    #expect(error?.metadata["x-why"] == "so")
    #expect(error?.attempts == 1)
    #expect(error?.delivery == .mayHaveRun)
  }

  @Test func `an answer that ends without a status is UNKNOWN`() async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, RawPeer.responseHead)
      peer.data(stream, RawPeer.message([1]), end: true)
    }
    #expect(error?.code == .unknown)
  }

  @Test(arguments: [
    (UInt32(0), StatusCode.internal), (1, .internal), (2, .internal), (3, .internal),
    (8, .cancelled), (11, .resourceExhausted), (12, .permissionDenied),
  ])
  func `a reset is mapped, after headers and after data`(
    _ code: UInt32, _ expected: StatusCode
  ) async throws {
    for sendsData in [false, true] {
      let error = try await answer { peer, stream in
        peer.headers(stream, RawPeer.responseHead)
        if sendsData { peer.data(stream, RawPeer.message([1])) }
        peer.reset(stream, code)
      }
      #expect(error?.code == expected)
    }
  }

  @Test func `a reset within a message is an error, not a short message`() async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, RawPeer.responseHead)
      peer.data(stream, Array(RawPeer.message([1, 2, 3, 4]).prefix(7)))
      peer.reset(stream, 0)
    }
    #expect(error?.code == .internal)
  }

  @Test func `an answer that ends within a message is INTERNAL`() async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, RawPeer.responseHead)
      peer.data(stream, Array(RawPeer.message([1, 2, 3, 4]).prefix(7)))
      peer.headers(stream, [("grpc-status", "0")], end: true)
    }
    #expect(error?.code == .internal)
  }

  @Test func `a connection that is cut is UNAVAILABLE and may have run the call`() async throws {
    try await withRawServer(script: { peer, _ in
      peer.settings()
      _ = peer.nextRequest()
    }) { channel, _ in
      let error = await failure {
        _ = try await channel.unary(RawMethods.call, [1], options: CallOptions())
      }
      #expect(error?.code == .unavailable)
      #expect(error?.delivery == .mayHaveRun)
    }
  }

  @Test(arguments: [0, 2])
  func `a unary call has one answer`(_ count: Int) async throws {
    let error = try await answer { peer, stream in
      peer.headers(stream, RawPeer.responseHead)
      for _ in 0..<count { peer.data(stream, RawPeer.message([1])) }
      peer.headers(stream, [("grpc-status", "0")], end: true)
    }
    #expect(error?.code == .unimplemented)
  }

  @Test func `response headers over the limit end the call`() async throws {
    let error = try await answer { peer, stream in
      peer.headers(
        stream, RawPeer.responseHead + (0..<80).map { ("x-\($0)", String(repeating: "v", count: 120)) })
      peer.waitForClose()
    }
    #expect(error?.code == .resourceExhausted)
    #expect(error?.message.contains("8192") == true)
  }

  @Test func `padding does not use up the window`() async throws {
    // 5 bytes of a message and 255 of padding in each frame: 300 KB of messages are 15 MB of window.
    var configuration = quickConfiguration()
    configuration.limits.http2.streamWindowBytes = 64 * 1024
    configuration.limits.http2.connectionWindowBytes = 64 * 1024
    let size = 300_000
    try await withRawServer(
      configuration,
      script: { peer, _ in
        peer.settings()
        guard let request = peer.nextRequest() else { return }
        peer.headers(request.stream, RawPeer.responseHead)
        let bytes = RawPeer.message([UInt8](repeating: 7, count: size))
        var window = 64 * 1024
        for start in stride(from: 0, to: bytes.count, by: 5) {
          let piece = Array(bytes[start..<min(start + 5, bytes.count)])
          while window < 261 {
            guard let frame = peer.nextFrame() else { return }
            guard frame.type == 8, frame.stream == 0 else { continue }
            window += frame.payload.reduce(0) { $0 << 8 | Int($1) }
          }
          peer.data(request.stream, piece, padding: 255)
          window -= piece.count + 256
        }
        peer.headers(request.stream, [("grpc-status", "0")], end: true)
        peer.waitForClose()
      }
    ) { channel, _ in
      let answer = try await channel.unary(RawMethods.call, [1], options: CallOptions())
      #expect(answer.count == size)
    }
  }

  @Test func `a PING is answered while a call waits`() async throws {
    let error = try await answer { peer, stream in
      for number in UInt8(1)...10 {
        peer.send(6, 0, 0, [UInt8](repeating: number, count: 8))
        while let frame = peer.nextFrame() {
          if frame.type == 6, frame.flags == 1, frame.payload[0] == number { break }
        }
      }
      peer.answer(stream, [1])
    }
    #expect(error == nil)
  }

  @Test func `a status before the client's end ends the call and frees the stream`() async throws {
    try await withRawServer(script: { peer, _ in
      peer.settings()
      guard let request = peer.nextHeaders() else { return }
      peer.refuse(request.stream, "16")
      while let frame = peer.nextFrame() {
        if frame.type == 3, frame.stream == request.stream { break }
      }
      guard let second = peer.nextHeaders() else { return }
      peer.answer(second.stream, [5])
      peer.waitForClose()
    }) { channel, _ in
      let stream = try await channel.open(RawMethods.stream, options: CallOptions())
      let status = await code { _ = try await stream.next() }
      #expect(status == .unauthenticated)
      // The server goes on only after the reset.
      let next = try await channel.open(RawMethods.stream, options: CallOptions())
      #expect(try await next.next() == [5])
      #expect(try await next.next() == nil)
    }
  }

  // MARK: - Compression

  @Test func `requests are packed on demand and answers unpacked`() async throws {
    let message = [UInt8](repeating: 42, count: 50_000)
    try await withRawServer(script: { peer, _ in
      peer.settings()
      while let request = peer.nextRequest() {
        let isPacked = request.body[0] == 1
        let name = request.fields["grpcEncoding"] ?? ""
        let body = Array(request.body[5...])
        let unpacked = isPacked ? try? body.withUnsafeBytes { try Gzip.unpack($0, limit: 100_000) } : body
        guard isPacked == (name == "gzip"), request.fields["grpcAcceptEncoding"] == "identity,gzip"
        else { return peer.refuse(request.stream, "13") }
        peer.headers(request.stream, RawPeer.responseHead + [("grpc-encoding", "gzip")])
        let packed = (unpacked ?? []).withUnsafeBytes { Gzip.pack($0) }
        peer.data(request.stream, RawPeer.message(packed, flag: 1))
        peer.headers(request.stream, [("grpc-status", "0")], end: true)
      }
    }) { channel, _ in
      for compression in MessageEncoding.allCases {
        let answer = try await channel.unary(
          RawMethods.call, message, options: CallOptions(compression: compression))
        #expect(answer == message)
      }
    }
  }

  @Test(arguments: [(nil, StatusCode.internal), ("identity", .internal), ("snappy", .internal)])
  func `a packed message of an encoding that is not known is INTERNAL`(
    _ encoding: String?, _ expected: StatusCode
  ) async throws {
    let error = try await answer { peer, stream in
      peer.headers(
        stream, RawPeer.responseHead + (encoding.map { [("grpc-encoding", $0)] } ?? []))
      peer.data(stream, RawPeer.message([1, 2, 3], flag: 1))
      peer.headers(stream, [("grpc-status", "0")], end: true)
    }
    #expect(error?.code == expected)
  }

  @Test func `an answer that unpacks to more than the limit is refused`() async throws {
    var configuration = quickConfiguration()
    configuration.limits.messageBytesMax = 10_000
    let error = try await answer(configuration: configuration) { peer, stream in
      let packed = [UInt8](repeating: 0, count: 10_001).withUnsafeBytes { Gzip.pack($0) }
      peer.headers(stream, RawPeer.responseHead + [("grpc-encoding", "gzip")])
      peer.data(stream, RawPeer.message(packed, flag: 1))
      peer.headers(stream, [("grpc-status", "0")], end: true)
    }
    #expect(error?.code == .resourceExhausted)
  }
}
