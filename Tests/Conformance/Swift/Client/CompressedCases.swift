import InteropMessages
import RPC
import SwiftProtobuf

/// The cases about compression. Whether messages really travel compressed is read off the wire by the runner's tap: our client
/// shows it to nobody.
extension Cases {
  func clientCompressedUnary() async throws {
    if arguments.probes {
      try await expectStatus(.invalidArgument) { try await unary(.identity, expected: true) }
    }
    try await unary(.gzip, expected: true)
    try await unary(.identity, expected: false)
  }

  private func unary(_ encoding: MessageEncoding, expected: Bool) async throws {
    var request = Grpc_Testing_SimpleRequest.large
    request.expectCompressed = Grpc_Testing_BoolValue(expected)
    let answer = try await client.unaryCall(request, options: options(encoding))
    try expectPayload(answer.payload, bytes: Sizes.largeResponse)
  }

  private func options(_ encoding: MessageEncoding) -> CallOptions {
    var options = options
    options.compression = encoding
    return options
  }

  func serverCompressedUnary() async throws {
    for isCompressed in [true, false] {
      var request = Grpc_Testing_SimpleRequest.large
      request.responseCompressed = Grpc_Testing_BoolValue(isCompressed)
      let answer = try await client.unaryCall(request, options: options)
      try expectPayload(answer.payload, bytes: Sizes.largeResponse)
    }
  }

  func clientCompressedStreaming() async throws {
    if arguments.probes {
      let call = try await client.streamingInputCall(options: options)
      try await call.send(Self.request(27_182, expected: true))
      try await call.finishSending()
      try await expectStatus(.invalidArgument) { for try await _ in call.responses {} }
    }
    let call = try await client.streamingInputCall(options: options(.gzip))
    try await call.send(Self.request(27_182, expected: true))
    let plain = try Self.request(45_904, expected: false).serializedBytes() as [UInt8]
    try await call.stream.send(plain, compress: false)
    try await call.finishSending()
    try await expectSum(call, 73_086)
  }

  private static func request(
    _ bytes: Int, expected: Bool
  ) -> Grpc_Testing_StreamingInputCallRequest {
    var request = Grpc_Testing_StreamingInputCallRequest(zeros: bytes)
    request.expectCompressed = Grpc_Testing_BoolValue(expected)
    return request
  }

  func serverCompressedStreaming() async throws {
    let sizes = [31_415, 92_653]
    var request = Grpc_Testing_StreamingOutputCallRequest(responses: sizes)
    request.responseParameters[0].compressed = Grpc_Testing_BoolValue(true)
    request.responseParameters[1].compressed = Grpc_Testing_BoolValue(false)
    var count = 0
    for try await answer in try await client.streamingOutputCall(request, options: options) {
      try expect(count < sizes.count, "more than \(count) answers came")
      try expectPayload(answer.payload, bytes: sizes[count])
      count += 1
    }
    try expectEqual(count, sizes.count, "answers")
  }
}
