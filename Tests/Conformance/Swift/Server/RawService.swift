import RPC

/// Bytes for the raw-frame cases: a handler on the event loop, an `async` one, a stream, and one that needs a token.
struct RawService: ServiceHandlers {
  static let serviceName = "conformance.Raw"

  private static func method(
    _ name: String, _ kind: MethodDescriptor.Kind, _ access: MethodDescriptor.Access = .open
  ) -> MethodDescriptor {
    MethodDescriptor(service: serviceName, method: name, kind: kind, access: access)
  }

  var methodHandlers: [MethodHandler] {
    [
      MethodHandler(Self.method("Echo", .unary), .loop { $0.reply($0.message) }),
      MethodHandler(Self.method("EchoAsync", .unary), .unary { message, _ in message }),
      MethodHandler(
        Self.method("EchoStream", .bidirectional),
        .streaming { requests, responses, _ in
          for try await message in requests { try await responses.send(message) }
        }),
      MethodHandler(
        Self.method("First", .bidirectional),
        // Ends while the client is still sending.
        .streaming { requests, responses, _ in
          for try await message in requests {
            try await responses.send(message)
            break
          }
        }),
      MethodHandler(
        Self.method("Metadata", .unary),
        .unary { _, context in
          context.metadata.entries.map { "\($0.name)=\($0.value)\n" }.joined().utf8.map { $0 }
        }),
      MethodHandler(
        Self.method("Sleep", .unary),
        // A tenth of a second for each unit of the first byte.
        .unary { message, _ in
          try await Task.sleep(for: .milliseconds(Int(message.first ?? 0) * 100))
          return message
        }),
      MethodHandler(Self.method("Throw", .unary), .unary { _, _ in throw NotAnRPCError() }),
      MethodHandler(
        Self.method("Guarded", .unary, .scope("conformance")), .loop { $0.reply($0.message) }),
    ]
  }
}

/// A bug of a handler, as the transport sees it. Its text must not reach the client.
private struct NotAnRPCError: Error, CustomStringConvertible {
  let description = "a secret of the handler"
}

/// Open methods for all, the others with one token.
final class TokenAuthorizer: Authorizer {
  private let principal = Principal(tokenID: "conformance", appID: nil, scopes: ["conformance"])

  func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal {
    if method.access == .open { return principal }
    guard let authorization, authorization.elementsEqual("Bearer conformance".utf8) else {
      throw RPCError(.unauthenticated, "\(method): needs the token")
    }
    return principal
  }
}
