internal import CScratch
package import RPC
package import SwiftProtobuf

/// What a message off the wire may be.
package enum MessageLimits {
  /// Messages nested in messages. Above what any request of ours can need: a filter of the greatest depth lies 20 deep.
  package static let depthMax = 64
}

extension MessageCoder {
  /// Bytes on the wire and SwiftProtobuf's types. A message that does not decode is INTERNAL, as with every gRPC library.
  package static func protobuf() -> MessageCoder where Message: SwiftProtobuf.Message {
    MessageCoder(decode: { try decode($0) }, encode: { try encode($0) })
  }

  private static func decode(_ bytes: [UInt8]) throws(RPCError) -> Message
  where Message: SwiftProtobuf.Message {
    try decode(bytes.span.bytes)
  }

  static func decode(_ bytes: RawSpan) throws(RPCError) -> Message
  where Message: SwiftProtobuf.Message {
    var options = BinaryDecodingOptions()
    options.messageDepthLimit = MessageLimits.depthMax
    do {
      return try Message(serializedBytes: bytes, options: options)
    } catch {
      throw RPCError(
        .internal, "message of \(bytes.byteCount) bytes is not a valid \(Message.protoMessageName)",
        cause: error)
    }
  }

  private static func encode(_ message: Message) throws(RPCError) -> [UInt8]
  where Message: SwiftProtobuf.Message {
    // By code that knows the elements: SwiftProtobuf would make an array of ones that it does not know, which takes five times as many
    // instructions (530) as this copy.
    try encodeInPlace(message) { Array($0) }
  }

  /// Encodes into memory that is valid during the closure only, which encodes nothing.
  static func encodeInPlace<Result>(
    _ message: Message, _ body: (UnsafeRawBufferPointer) -> Result
  ) throws(RPCError) -> Result
  where Message: SwiftProtobuf.Message {
    do {
      return body(UnsafeRawBufferPointer(try (message.serializedBytes() as ScratchBytes).bytes))
    } catch {
      throw RPCError(
        .internal, "cannot encode a \(Message.protoMessageName)", cause: error)
    }
  }
}

/// The thread's scratch memory for SwiftProtobuf to encode into. One at a time.
private struct ScratchBytes: SwiftProtobufContiguousBytes {
  let bytes: UnsafeMutableRawBufferPointer

  init(repeating byte: UInt8, count: Int) {
    guard let memory = footfall_scratch(count) else { preconditionFailure("no memory for a message") }
    // Not filled: whoever asks for it writes every byte.
    bytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
  }

  init<Bytes: Sequence>(_ sequence: Bytes) where Bytes.Element == UInt8 {
    let array = Array(sequence)
    self.init(repeating: 0, count: array.count)
    bytes.copyBytes(from: array)
  }

  var count: Int { bytes.count }

  func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try body(UnsafeRawBufferPointer(bytes))
  }

  mutating func withUnsafeMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result { try body(bytes) }
}
