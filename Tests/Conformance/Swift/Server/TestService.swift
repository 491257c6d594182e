import Foundation
import InteropMessages
import Messages
import RPC

/// `grpc.testing.TestService` as gRPC's interop-test-descriptions tell it.
struct TestService: Grpc_Testing_TestServiceHandlers {
  private static let payloadBytesMax = 4 * 1024 * 1024 - 64
  private static let pauseMicrosecondsMax = 10_000_000
  private static let requestsMax = 1_024

  /// Differs between servers.
  let serverID = "footfall-\(UInt64.random(in: 0...UInt64.max))"
  let journal: Journal

  func emptyCall(
    _ request: Grpc_Testing_Empty, context: CallContext
  ) async throws -> Grpc_Testing_Empty {
    begin(context)
    return Grpc_Testing_Empty()
  }

  func unaryCall(
    _ request: Grpc_Testing_SimpleRequest, context: CallContext
  ) async throws -> Grpc_Testing_SimpleResponse {
    begin(context)
    if request.hasExpectCompressed {
      try check(request.expectCompressed, isCompressed: context.requestWasCompressed)
    }
    if request.hasResponseStatus { try fail(request.responseStatus) }
    if request.responseCompressed.value { context.response.compressMessages() }
    var response = Grpc_Testing_SimpleResponse()
    response.payload = try payload(Int(request.responseSize))
    if request.fillServerID { response.serverID = serverID }
    return response
  }

  func streamingOutputCall(
    _ request: Grpc_Testing_StreamingOutputCallRequest,
    responses: ResponseWriter<Grpc_Testing_StreamingOutputCallResponse>, context: CallContext
  ) async throws {
    begin(context)
    try await answer(request, to: responses, context)
  }

  func streamingInputCall(
    _ requests: RequestStream<Grpc_Testing_StreamingInputCallRequest>, context: CallContext
  ) async throws -> Grpc_Testing_StreamingInputCallResponse {
    begin(context)
    var sum = 0
    for try await request in requests {
      if request.hasExpectCompressed {
        try check(request.expectCompressed, isCompressed: requests.lastWasCompressed)
      }
      sum += request.payload.body.count
    }
    var response = Grpc_Testing_StreamingInputCallResponse()
    response.aggregatedPayloadSize = Int32(clamping: sum)
    return response
  }

  func fullDuplexCall(
    _ requests: RequestStream<Grpc_Testing_StreamingOutputCallRequest>,
    responses: ResponseWriter<Grpc_Testing_StreamingOutputCallResponse>, context: CallContext
  ) async throws {
    begin(context)
    for try await request in requests { try await answer(request, to: responses, context) }
  }

  func halfDuplexCall(
    _ requests: RequestStream<Grpc_Testing_StreamingOutputCallRequest>,
    responses: ResponseWriter<Grpc_Testing_StreamingOutputCallResponse>, context: CallContext
  ) async throws {
    begin(context)
    var waiting: [Grpc_Testing_StreamingOutputCallRequest] = []
    for try await request in requests {
      guard waiting.count < Self.requestsMax else {
        throw RPCError(.resourceExhausted, "at most \(Self.requestsMax) requests")
      }
      waiting.append(request)
    }
    for request in waiting { try await answer(request, to: responses, context) }
  }

  // MARK: - Parts of an answer

  /// Metadata that the client wants back, and the call's name for the journal.
  private func begin(_ context: CallContext) {
    for entry in context.metadata.entries {
      switch entry.name {
      case "x-grpc-test-echo-initial": context.response.addInitial(entry.name, bytes: entry.value)
      case "x-grpc-test-echo-trailing-bin":
        context.response.addTrailing(entry.name, bytes: entry.value)
      case "x-conformance-call": journal.began(String(decoding: entry.value, as: UTF8.self))
      default: break
      }
    }
  }

  private func answer(
    _ request: Grpc_Testing_StreamingOutputCallRequest,
    to responses: ResponseWriter<Grpc_Testing_StreamingOutputCallResponse>, _ context: CallContext
  ) async throws {
    if request.hasResponseStatus { try fail(request.responseStatus) }
    // Said before the headers leave, whatever the first message wants.
    if request.responseParameters.contains(where: \.compressed.value) {
      context.response.compressMessages()
    }
    for parameters in request.responseParameters {
      let pause = min(Int(parameters.intervalUs), Self.pauseMicrosecondsMax)
      if pause > 0 { try await Task.sleep(for: .microseconds(pause)) }
      var response = Grpc_Testing_StreamingOutputCallResponse()
      response.payload = try payload(Int(parameters.size))
      if parameters.hasCompressed {
        try await responses.send(response, compress: parameters.compressed.value)
      } else {
        try await responses.send(response)
      }
    }
  }

  private func payload(_ bytes: Int) throws(RPCError) -> Grpc_Testing_Payload {
    guard (0...Self.payloadBytesMax).contains(bytes) else {
      throw RPCError(.invalidArgument, "size: 0 to \(Self.payloadBytesMax), not \(bytes)")
    }
    var payload = Grpc_Testing_Payload()
    payload.body = Data(count: bytes)
    return payload
  }

  private func fail(_ status: Grpc_Testing_EchoStatus) throws(RPCError) {
    guard status.code != 0 else { return }
    throw RPCError(StatusCode(rawValue: Int(status.code)) ?? .unknown, status.message)
  }

  private func check(_ expected: Grpc_Testing_BoolValue, isCompressed: Bool) throws(RPCError) {
    guard expected.value != isCompressed else { return }
    throw RPCError(
      .invalidArgument, "expect_compressed is \(expected.value), the message was the opposite")
  }

  // MARK: - Not offered, see `OfferedMethods`

  func cacheableUnaryCall(
    _ request: Grpc_Testing_SimpleRequest, context: CallContext
  ) async throws -> Grpc_Testing_SimpleResponse { throw Self.notOffered(context) }

  func unimplementedCall(
    _ request: Grpc_Testing_Empty, context: CallContext
  ) async throws -> Grpc_Testing_Empty { throw Self.notOffered(context) }

  private static func notOffered(_ context: CallContext) -> RPCError {
    RPCError(.unimplemented, "\(context.method) is not offered")
  }
}

/// The test service without the methods that no server has: a client that asks for one must meet the router, not a handler.
struct OfferedMethods: ServiceHandlers {
  static let serviceName = TestService.serviceName
  let service: TestService

  var methodHandlers: [MethodHandler] {
    service.methodHandlers.filter {
      !["UnimplementedCall", "CacheableUnaryCall"].contains($0.method.method)
    }
  }
}
