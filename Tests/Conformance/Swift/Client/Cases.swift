import InteropMessages
import RPC
import RPCTransport
import SwiftProtobuf

/// The cases of gRPC's interop-test-descriptions, by their official names.
struct Cases {
  /// Above what any case needs: a case that waits for ever fails instead.
  static let timeoutMilliseconds = 30_000

  let arguments: Arguments
  let channel: Channel

  static let all: [String: @Sendable (Cases) async throws -> Void] = [
    "empty_unary": { try await $0.emptyUnary() },
    "large_unary": { try await $0.largeUnary() },
    "client_streaming": { try await $0.clientStreaming() },
    "server_streaming": { try await $0.serverStreaming() },
    "ping_pong": { try await $0.pingPong() },
    "empty_stream": { try await $0.emptyStream() },
    "client_compressed_unary": { try await $0.clientCompressedUnary() },
    "client_compressed_streaming": { try await $0.clientCompressedStreaming() },
    "server_compressed_unary": { try await $0.serverCompressedUnary() },
    "server_compressed_streaming": { try await $0.serverCompressedStreaming() },
    "custom_metadata": { try await $0.customMetadata() },
    "status_code_and_message": { try await $0.statusCodeAndMessage() },
    "special_status_message": { try await $0.specialStatusMessage() },
    "unimplemented_method": { try await $0.unimplementedMethod() },
    "unimplemented_service": { try await $0.unimplementedService() },
    "cancel_after_begin": { try await $0.cancelAfterBegin() },
    "cancel_after_first_response": { try await $0.cancelAfterFirstResponse() },
    "timeout_on_sleeping_server": { try await $0.timeoutOnSleepingServer() },
    "pick_first_unary": { try await $0.pickFirstUnary() },
    "concurrent_large_unary": { try await $0.concurrentLargeUnary() },
    "rpc_soak": { try await $0.rpcSoak() },
    "channel_soak": { try await $0.channelSoak() },
    "goaway": { try await $0.goAway() },
    "rst_after_header": { try await $0.failsWithReset() },
    "rst_during_data": { try await $0.failsWithReset() },
    "rst_after_data": { try await $0.failsWithReset() },
    "ping": { try await $0.largeUnary() },
    "max_streams": { try await $0.maxStreams() },
    "data_frame_padding": { try await $0.largeUnary() },
    "no_df_padding_sanity_test": { try await $0.largeUnary() },
  ]

  init(_ arguments: Arguments) {
    self.arguments = arguments
    channel = Self.channel(arguments)
  }

  static func channel(_ arguments: Arguments) -> Channel {
    Channel(host: arguments.host, port: arguments.port, token: nil)
  }

  var client: Grpc_Testing_TestServiceClient { Grpc_Testing_TestServiceClient(channel) }

  var options: CallOptions { CallOptions(timeoutMilliseconds: Self.timeoutMilliseconds) }
}

// MARK: - Unary

extension Cases {
  private func emptyUnary() async throws {
    let answer = try await client.emptyCall(Grpc_Testing_Empty(), options: options)
    try expectEqual(answer, Grpc_Testing_Empty(), "answer")
  }

  func largeUnary() async throws { try await largeUnary(client) }

  private func largeUnary(_ client: Grpc_Testing_TestServiceClient) async throws {
    let answer = try await client.unaryCall(.large, options: options)
    try expectPayload(answer.payload, bytes: Sizes.largeResponse)
  }

  private func pickFirstUnary() async throws {
    var request = Grpc_Testing_SimpleRequest()
    request.responseSize = 1
    request.fillServerID = true
    let first = try await client.unaryCall(request, options: options).serverID
    try expect(!first.isEmpty, "the server gives no server_id")
    for _ in 1..<20 {
      let next = try await client.unaryCall(request, options: options).serverID
      try expectEqual(next, first, "server_id")
    }
  }

  private func concurrentLargeUnary() async throws {
    try await withThrowingTaskGroup { group in
      for _ in 0..<arguments.iterations { group.addTask { try await largeUnary() } }
      try await group.waitForAll()
    }
  }

  private func rpcSoak() async throws {
    for _ in 0..<arguments.iterations { try await largeUnary() }
  }

  private func channelSoak() async throws {
    for _ in 0..<arguments.iterations {
      let channel = Self.channel(arguments)
      try await largeUnary(Grpc_Testing_TestServiceClient(channel))
      await channel.close()
    }
  }
}

// MARK: - Statuses and metadata

extension Cases {
  private static let initialName = "x-grpc-test-echo-initial"
  private static let trailingName = "x-grpc-test-echo-trailing-bin"

  private func customMetadata() async throws {
    var received = ReceivedMetadata()
    let unary = try await channel.open(
      Grpc_Testing_TestServiceMethods.unaryCall, options: options(receiving: received))
    try await expectEcho(unary, received, Grpc_Testing_SimpleRequest.large.serializedBytes())
    received = ReceivedMetadata()
    let duplex = try await channel.open(
      Grpc_Testing_TestServiceMethods.fullDuplexCall, options: options(receiving: received))
    let request = Grpc_Testing_StreamingOutputCallRequest(
      responses: [Sizes.largeResponse], zeros: Sizes.largeRequest)
    try await expectEcho(duplex, received, request.serializedBytes())
  }

  private func options(receiving received: ReceivedMetadata) -> CallOptions {
    var options = options
    options.received = received
    options.metadata.add(Self.initialName, "test_initial_metadata_value")
    options.metadata.add(Self.trailingName, bytes: [0xab, 0xab, 0xab])
    return options
  }

  /// One message each way, and both names where they belong.
  private func expectEcho(
    _ stream: any ClientStream, _ received: ReceivedMetadata, _ request: [UInt8]
  ) async throws {
    try await stream.send(request)
    try await stream.finishSending()
    try expect(try await stream.next() != nil, "no answer came")
    try expect(try await stream.next() == nil, "more than one answer came")
    try expectEqual(
      received.initial?[Self.initialName], "test_initial_metadata_value", "initial \(Self.initialName)")
    try expectEqual(
      received.trailing?.values(Self.trailingName), [[0xab, 0xab, 0xab]], "trailing \(Self.trailingName)")
  }

  private func statusCodeAndMessage() async throws {
    let status = Grpc_Testing_EchoStatus(code: 2, "test status message")
    try await expectUnaryStatus(status)
    var request = Grpc_Testing_StreamingOutputCallRequest()
    request.responseStatus = status
    let call = try await client.fullDuplexCall(options: options)
    try await call.send(request)
    try await call.finishSending()
    try await expectStatus(.unknown, message: status.message) {
      for try await _ in call.responses {}
    }
  }

  private func specialStatusMessage() async throws {
    try await expectUnaryStatus(
      Grpc_Testing_EchoStatus(
        code: 2, "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"))
  }

  private func expectUnaryStatus(_ status: Grpc_Testing_EchoStatus) async throws {
    var request = Grpc_Testing_SimpleRequest()
    request.responseStatus = status
    try await expectStatus(.unknown, message: status.message) {
      _ = try await client.unaryCall(request, options: options)
    }
  }

  private func unimplementedMethod() async throws {
    try await expectStatus(.unimplemented) {
      _ = try await client.unimplementedCall(Grpc_Testing_Empty(), options: options)
    }
  }

  private func unimplementedService() async throws {
    try await expectStatus(.unimplemented) {
      _ = try await Grpc_Testing_UnimplementedServiceClient(channel)
        .unimplementedCall(Grpc_Testing_Empty(), options: options)
    }
  }
}

// MARK: - Streams

extension Cases {
  private func clientStreaming() async throws {
    let call = try await client.streamingInputCall(options: options)
    for size in Sizes.requests {
      try await call.send(Grpc_Testing_StreamingInputCallRequest(zeros: size))
    }
    try await call.finishSending()
    try await expectSum(call, 74_922)
  }

  func expectSum(
    _ call: StreamingCall<
      Grpc_Testing_StreamingInputCallRequest, Grpc_Testing_StreamingInputCallResponse
    >, _ sum: Int32
  ) async throws {
    var sums: [Int32] = []
    for try await answer in call.responses { sums.append(answer.aggregatedPayloadSize) }
    try expectEqual(sums, [sum], "aggregated_payload_size")
  }

  private func serverStreaming() async throws {
    let responses = try await client.streamingOutputCall(
      Grpc_Testing_StreamingOutputCallRequest(responses: Sizes.responses), options: options)
    var count = 0
    for try await response in responses {
      try expect(count < Sizes.responses.count, "more than \(count) responses came")
      try expectPayload(response.payload, bytes: Sizes.responses[count])
      count += 1
    }
    try expectEqual(count, Sizes.responses.count, "responses")
  }

  private func pingPong() async throws {
    let call = try await client.fullDuplexCall(options: options)
    var answers = call.responses.makeAsyncIterator()
    for (request, response) in zip(Sizes.requests, Sizes.responses) {
      try await call.send(
        Grpc_Testing_StreamingOutputCallRequest(responses: [response], zeros: request))
      guard let answer = try await answers.next() else {
        throw CaseFailure(description: "the stream ended before the answer of \(response) bytes")
      }
      try expectPayload(answer.payload, bytes: response)
    }
    try await call.finishSending()
    try expect(try await answers.next() == nil, "more answers than requests came")
  }

  private func emptyStream() async throws {
    let call = try await client.fullDuplexCall(options: options)
    try await call.finishSending()
    for try await _ in call.responses { throw CaseFailure(description: "an answer came") }
  }

  private func cancelAfterBegin() async throws {
    let call = try await client.streamingInputCall(options: options)
    call.cancel()
    try await expectStatus(.cancelled) { for try await _ in call.responses {} }
  }

  private func cancelAfterFirstResponse() async throws {
    let call = try await client.fullDuplexCall(options: options)
    var answers = call.responses.makeAsyncIterator()
    try await call.send(
      Grpc_Testing_StreamingOutputCallRequest(
        responses: [Sizes.responses[0]], zeros: Sizes.requests[0]))
    try expect(try await answers.next() != nil, "no answer came")
    call.cancel()
    try await expectStatus(.cancelled) { _ = try await answers.next() }
  }

  private func timeoutOnSleepingServer() async throws {
    // Connected first: the millisecond is for the call.
    try await emptyUnary()
    try await expectStatus(.deadlineExceeded) {
      let call = try await client.fullDuplexCall(options: CallOptions(timeoutMilliseconds: 1))
      var request = Grpc_Testing_StreamingOutputCallRequest(
        responses: [Sizes.responses[0]], zeros: Sizes.requests[0])
      request.responseParameters[0].intervalUs = 500_000
      try await call.send(request)
      for try await _ in call.responses {}
    }
  }
}

// MARK: - Against a server that misbehaves (http2-interop-test-descriptions)

extension Cases {
  private func goAway() async throws {
    try await largeUnary()
    // The server's GOAWAY follows its answer: the second call must find another connection by itself.
    try await Task.sleep(for: .seconds(1))
    try await largeUnary()
  }

  /// A stream that the server resets with NO_ERROR before the trailers is INTERNAL (PROTOCOL-HTTP2.md, "Errors").
  private func failsWithReset() async throws {
    try await expectStatus(.internal) {
      _ = try await client.unaryCall(.large, options: options)
    }
  }

  private func maxStreams() async throws {
    try await largeUnary()
    try await withThrowingTaskGroup { group in
      for _ in 0..<10 { group.addTask { try await largeUnary() } }
      try await group.waitForAll()
    }
  }
}
