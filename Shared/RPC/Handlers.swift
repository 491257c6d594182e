/// A method and what answers it. Made by generated code; see `ServiceHandlers`.
package struct MethodHandler: Sendable {
  package enum Implementation: Sendable {
    /// Unary, on the connection's event loop: never blocks; answers at once or parks the call and answers later.
    case loop(@Sendable (LoopCall) -> Void)
    /// Unary and `async`: encoded request in, encoded response out.
    case unary(@Sendable ([UInt8], CallContext) async throws -> [UInt8])
    /// Any number of messages either way.
    case streaming(@Sendable (RequestStream<[UInt8]>, ResponseWriter<[UInt8]>, CallContext) async throws -> Void)
  }

  package let method: MethodDescriptor
  package let implementation: Implementation

  package init(_ method: MethodDescriptor, _ implementation: Implementation) {
    self.method = method
    self.implementation = implementation
  }
}

/// A service that a server can offer: the generated `XHandlers` protocols refine it.
package protocol ServiceHandlers: Sendable {
  /// `footfall.ingest.v1.Ingest`.
  static var serviceName: String { get }
  var methodHandlers: [MethodHandler] { get }
}

/// Turns a message into bytes and back; implemented over SwiftProtobuf by `Messages`.
package struct MessageCoder<Message: Sendable>: Sendable {
  package let decode: @Sendable ([UInt8]) throws -> Message
  package let encode: @Sendable (Message) throws -> [UInt8]

  package init(
    decode: @escaping @Sendable ([UInt8]) throws -> Message,
    encode: @escaping @Sendable (Message) throws -> [UInt8]
  ) {
    self.decode = decode
    self.encode = encode
  }
}

extension MessageCoder where Message == [UInt8] {
  /// Bytes as they are.
  package static let bytes = MessageCoder(decode: { $0 }, encode: { $0 })
}

/// The messages that a client sends, in order. One reader; ends when the client half-closes; throws CANCELLED when the call
/// is cancelled. The client's flow-control window opens only as messages are read.
package struct RequestStream<Message: Sendable>: AsyncSequence, Sendable {
  package typealias Element = Message

  private let source: any MessageSource
  private let coder: MessageCoder<Message>

  package init(source: any MessageSource, coder: MessageCoder<Message>) {
    self.source = source
    self.coder = coder
  }

  package struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let source: any MessageSource
    fileprivate let coder: MessageCoder<Message>

    package mutating func next() async throws -> Message? {
      guard let bytes = try await source.next() else { return nil }
      return try coder.decode(bytes)
    }
  }

  package func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(source: source, coder: coder)
  }

  /// Whether the message that was read last came compressed.
  package var lastWasCompressed: Bool { source.lastWasCompressed }

  /// The same messages under another coder.
  package func map<Other>(_ coder: MessageCoder<Other>) -> RequestStream<Other> {
    RequestStream<Other>(source: source, coder: coder)
  }
}

/// The messages that a server sends. `send` waits while more than the window is unsent, so a slow reader slows the handler.
package struct ResponseWriter<Message: Sendable>: Sendable {
  private let sink: any MessageSink
  private let coder: MessageCoder<Message>

  package init(sink: any MessageSink, coder: MessageCoder<Message>) {
    self.sink = sink
    self.coder = coder
  }

  /// Queues a message; returns when there is room for the next. Throws CANCELLED once the call is over.
  package func send(_ message: Message) async throws {
    try await sink.send(coder.encode(message))
  }

  /// The same, saying whether to compress the message. Done only where the client takes gzip and the first message was
  /// compressed, or the server's limits or `ResponseMetadata.compressMessages` have asked for it: the headers that name the
  /// encoding leave with the first one.
  package func send(_ message: Message, compress: Bool) async throws {
    try await sink.send(coder.encode(message), compress: compress)
  }

  package func map<Other>(_ coder: MessageCoder<Other>) -> ResponseWriter<Other> {
    ResponseWriter<Other>(sink: sink, coder: coder)
  }
}

/// Where the messages of a stream come from.
package protocol MessageSource: Sendable {
  /// The next message, nil at the end. One caller at a time.
  func next() async throws -> [UInt8]?
  /// Whether the message that `next` returned last came compressed.
  var lastWasCompressed: Bool { get }
}

extension MessageSource {
  /// A source that knows no compression.
  package var lastWasCompressed: Bool { false }
}

/// Where the messages of a stream go.
package protocol MessageSink: Sendable {
  /// Returns once the message is queued and the queue is below its bound.
  func send(_ message: [UInt8]) async throws
  /// The same; `compress`: whether to pack the message where the peer takes that, nil: as the call's settings say.
  func send(_ message: [UInt8], compress: Bool?) async throws
}

extension MessageSink {
  /// A sink that does not compress.
  package func send(_ message: [UInt8], compress: Bool?) async throws { try await send(message) }
}
