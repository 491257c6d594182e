package import RPC
package import SwiftProtobuf

/// What generated code calls to turn a typed handler into one of bytes.
extension MethodHandler {
  package static func unary<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handle: @escaping @Sendable (Request, CallContext) async throws -> Response
  ) -> MethodHandler {
    let decode = MessageCoder<Request>.protobuf().decode
    let encode = MessageCoder<Response>.protobuf().encode
    return MethodHandler(
      method,
      .unary { request, context in
        let answer = try await handle(decode(request), context)
        return try context.takeEncoded() ?? encode(answer)
      })
  }

  /// A typed handler on the connection's event loop: it must never block, and leaves answering to this.
  package static func eventLoop<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handle: @escaping @Sendable (Request, LoopCall) throws -> Response
  ) -> MethodHandler {
    MethodHandler(
      method,
      .loop { call in
        do {
          let request = try MessageCoder<Request>.decode(call.message.bytes)
          let answer = try handle(request, call)
          try MessageCoder<Response>.encodeInPlace(answer) { call.reply($0) }
        } catch let error as RPCError {
          call.fail(error)
        } catch {
          call.fail(RPCError(.unknown, "the handler failed", cause: error))
        }
      })
  }

  package static func clientStreaming<Request: Sendable, Response: Sendable>(
    _ method: MethodDescriptor, request: MessageCoder<Request>, response: MessageCoder<Response>,
    _ handle: @escaping @Sendable (RequestStream<Request>, CallContext) async throws -> Response
  ) -> MethodHandler {
    MethodHandler(
      method,
      .streaming { requests, responses, context in
        let answer = try await handle(requests.map(request), context)
        try await responses.map(response).send(answer)
      })
  }

  package static func serverStreaming<Request: Sendable, Response: Sendable>(
    _ method: MethodDescriptor, request: MessageCoder<Request>, response: MessageCoder<Response>,
    _ handle:
      @escaping @Sendable (Request, ResponseWriter<Response>, CallContext) async throws -> Void
  ) -> MethodHandler {
    MethodHandler(
      method,
      .streaming { requests, responses, context in
        var iterator = requests.map(request).makeAsyncIterator()
        guard let first = try await iterator.next() else {
          throw RPCError(.unimplemented, "\(method.path): takes one request, got none")
        }
        // The client half-closes behind its request: whatever else comes is an error of its library.
        guard try await iterator.next() == nil else {
          throw RPCError(.unimplemented, "\(method.path): takes one request, got more")
        }
        try await handle(first, responses.map(response), context)
      })
  }

  package static func bidirectional<Request: Sendable, Response: Sendable>(
    _ method: MethodDescriptor, request: MessageCoder<Request>, response: MessageCoder<Response>,
    _ handle:
      @escaping @Sendable (RequestStream<Request>, ResponseWriter<Response>, CallContext)
      async throws -> Void
  ) -> MethodHandler {
    MethodHandler(
      method,
      .streaming { requests, responses, context in
        try await handle(requests.map(request), responses.map(response), context)
      })
  }
}
