/// Makes calls; `Channel` of RPCTransport does it over TCP.
package protocol ClientTransport: Sendable {
  /// One message each way.
  func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions) async throws
    -> [UInt8]

  /// Any number of messages each way.
  func open(_ method: MethodDescriptor, options: CallOptions) async throws -> any ClientStream
}

/// One streaming call of a client.
package protocol ClientStream: MessageSource, MessageSink {
  /// No more requests will be sent.
  func finishSending() async throws
  /// Ends the call now: the server's handler is cancelled.
  func cancel()
}

/// The answers to one request, in order. Throws `RPCError` where the status is not OK.
package struct ResponseStream<Message: Sendable>: AsyncSequence, Sendable {
  package typealias Element = Message

  package let stream: any ClientStream
  private let coder: MessageCoder<Message>

  package init(stream: any ClientStream, coder: MessageCoder<Message>) {
    self.stream = stream
    self.coder = coder
  }

  package struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let stream: any ClientStream
    fileprivate let coder: MessageCoder<Message>

    package mutating func next() async throws -> Message? {
      guard let bytes = try await stream.next() else { return nil }
      return try coder.decode(bytes)
    }
  }

  package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: stream, coder: coder) }

  /// Ends the call now.
  package func cancel() { stream.cancel() }
}

/// A call with messages both ways: one task sends, another reads `responses`.
package struct StreamingCall<Request: Sendable, Response: Sendable>: Sendable {
  package let stream: any ClientStream
  package let responses: ResponseStream<Response>
  private let coder: MessageCoder<Request>

  package init(
    stream: any ClientStream, requestCoder: MessageCoder<Request>,
    responseCoder: MessageCoder<Response>
  ) {
    self.stream = stream
    self.coder = requestCoder
    self.responses = ResponseStream(stream: stream, coder: responseCoder)
  }

  /// Returns when there is room for the next.
  package func send(_ request: Request) async throws {
    try await stream.send(coder.encode(request))
  }

  package func finishSending() async throws { try await stream.finishSending() }

  package func cancel() { stream.cancel() }
}
