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
  /// What is asked as soon as a call's headers have come, before its message: nil for a method that takes every call.
  func gate(of method: MethodDescriptor) -> CallGate?
}

extension ServiceHandlers {
  package func gate(of method: MethodDescriptor) -> CallGate? { nil }
}

/// Whether a call of somebody can be taken now. Runs on the event loop for every call of its method: a few loads and compares.
package typealias CallGate = @Sendable (Principal) -> GateState

package enum GateState: Sendable {
  case open
  /// The call can be taken, but if much more comes at once, others cannot: their senders are slowed down before they are refused.
  case crowded
  case shut(RPCError)
}

/// Turns a message into bytes and back; implemented over SwiftProtobuf by `Messages`.
@usableFromInline
package struct MessageCoder<Message: Sendable>: Sendable {
  @usableFromInline package let decode: @Sendable ([UInt8]) throws -> Message
  @usableFromInline package let encode: @Sendable (Message) throws -> [UInt8]

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
@usableFromInline
package struct RequestStream<Message: Sendable>: AsyncSequence, Sendable {
  @usableFromInline package typealias Element = Message

  @usableFromInline let source: any MessageSource
  @usableFromInline let coder: MessageCoder<Message>

  package init(source: any MessageSource, coder: MessageCoder<Message>) {
    self.source = source
    self.coder = coder
  }

  @usableFromInline
  package struct AsyncIterator: AsyncIteratorProtocol {
    @usableFromInline let source: any MessageSource
    @usableFromInline let coder: MessageCoder<Message>

    @inlinable
    init(source: any MessageSource, coder: MessageCoder<Message>) {
      self.source = source
      self.coder = coder
    }

    /// A message that has come already costs no suspension: inlined into the handler's loop, it is a plain call.
    @inlinable @inline(__always)
    package mutating func next() async throws -> Message? {
      try await next(isolation: nil)
    }

    @inlinable @inline(__always)
    package mutating func next(isolation actor: isolated (any Actor)?) async throws -> Message? {
      switch try source.ready() {
      case .message(let bytes): return try coder.decode(bytes)
      case .end: return nil
      case .nothing: break
      }
      guard let bytes = try await source.next() else { return nil }
      return try coder.decode(bytes)
    }
  }

  @inlinable @inline(__always)
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
@usableFromInline
package struct ResponseWriter<Message: Sendable>: Sendable {
  @usableFromInline let sink: any MessageSink
  @usableFromInline let coder: MessageCoder<Message>

  package init(sink: any MessageSink, coder: MessageCoder<Message>) {
    self.sink = sink
    self.coder = coder
  }

  /// Queues a message; returns when there is room for the next. Throws CANCELLED once the call is over.
  @inlinable @inline(__always)
  package func send(_ message: Message) async throws {
    let bytes = try coder.encode(message)
    switch try sink.offer(bytes, compress: nil) {
    case .taken: break
    case .full: try await sink.waitForRoom()
    case .refused: try await sink.send(bytes)
    }
  }

  /// The same, saying whether to compress the message. Done only where the client takes gzip and the first message was
  /// compressed, or the server's limits or `ResponseMetadata.compressMessages` have asked for it: the headers that name the
  /// encoding leave with the first one.
  @inlinable @inline(__always)
  package func send(_ message: Message, compress: Bool) async throws {
    let bytes = try coder.encode(message)
    switch try sink.offer(bytes, compress: compress) {
    case .taken: break
    case .full: try await sink.waitForRoom()
    case .refused: try await sink.send(bytes, compress: compress)
    }
  }

  package func map<Other>(_ coder: MessageCoder<Other>) -> ResponseWriter<Other> {
    ResponseWriter<Other>(sink: sink, coder: coder)
  }
}

/// Where the messages of a stream come from.
@usableFromInline
package protocol MessageSource: Sendable {
  /// The next message where it has come already: no suspension, which costs more than all the rest.
  func ready() throws -> ReadyMessage
  /// The next message, nil at the end. One caller at a time.
  func next() async throws -> [UInt8]?
  /// Whether the message that `next` returned last came compressed.
  var lastWasCompressed: Bool { get }
}

/// What a source has without waiting.
@usableFromInline
package enum ReadyMessage: Sendable {
  case message([UInt8])
  case end
  /// Nothing yet: `next` waits.
  case nothing
}

extension MessageSource {
  /// A source that knows no compression.
  package var lastWasCompressed: Bool { false }
  /// A source that always waits.
  package func ready() throws -> ReadyMessage { .nothing }
}

/// What a sink has done with a message.
@usableFromInline
package enum Offer: Sendable {
  case taken
  /// The same, and the sender should wait for room before the next.
  case full
  /// It takes none without waiting: `send` does.
  case refused
}

/// Where the messages of a stream go.
@usableFromInline
package protocol MessageSink: Sendable {
  /// Queues a message without a suspension. `compress`: as for `send`.
  func offer(_ message: [UInt8], compress: Bool?) throws -> Offer
  /// Returns once the queue is below its bound.
  func waitForRoom() async throws
  /// Returns once the message is queued and the queue is below its bound.
  func send(_ message: [UInt8]) async throws
  /// The same; `compress`: whether to pack the message where the peer takes that, nil: as the call's settings say.
  func send(_ message: [UInt8], compress: Bool?) async throws
}

extension MessageSink {
  package func offer(_ message: [UInt8], compress: Bool?) throws -> Offer { .refused }
  package func waitForRoom() async throws {}
  /// A sink that does not compress.
  package func send(_ message: [UInt8], compress: Bool?) async throws { try await send(message) }
}
