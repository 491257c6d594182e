package import RPC
package import SwiftProtobuf

/// What generated clients call.
extension ClientTransport {
  package func call<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request, options: CallOptions
  ) async throws -> Response {
    let bytes = try MessageCoder<Request>.protobuf().encode(request)
    let answer = try await unary(method, bytes, options: options)
    return try MessageCoder<Response>.protobuf().decode(answer)
  }

  package func openResponses<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request, options: CallOptions
  ) async throws -> ResponseStream<Response> {
    let bytes = try MessageCoder<Request>.protobuf().encode(request)
    let stream = try await open(method, options: options)
    do {
      try await stream.send(bytes)
      try await stream.finishSending()
    } catch {
      stream.cancel()
      throw error
    }
    return ResponseStream(stream: stream, coder: .protobuf())
  }

  package func openStream<Request: Message, Response: Message>(
    _ method: MethodDescriptor, options: CallOptions
  ) async throws -> StreamingCall<Request, Response> {
    StreamingCall(
      stream: try await open(method, options: options), requestCoder: .protobuf(),
      responseCoder: .protobuf())
  }
}
