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

  static func encode(_ message: Message) throws(RPCError) -> [UInt8]
  where Message: SwiftProtobuf.Message {
    do {
      return try (message.serializedBytes() as EncodedBytes).array
    } catch {
      throw RPCError(
        .internal, "cannot encode a \(Message.protoMessageName)", cause: error)
    }
  }
}

/// An array for SwiftProtobuf to encode into. Its generic code would make an array of elements that it does not know, which takes five
/// times as many instructions (530) as the copy of bytes here.
private struct EncodedBytes: SwiftProtobufContiguousBytes {
  private(set) var array: [UInt8]

  private static let zeros = [UInt8](repeating: 0, count: 1_024)

  init(repeating: UInt8, count: Int) {
    array =
      repeating == 0 && count <= Self.zeros.count
      ? Self.zeros.withUnsafeBytes { Array(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      : [UInt8](repeating: repeating, count: count)
  }

  init<Bytes: Sequence>(_ sequence: Bytes) where Bytes.Element == UInt8 { array = Array(sequence) }

  var count: Int { array.count }

  func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try array.withUnsafeBytes(body)
  }

  mutating func withUnsafeMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try array.withUnsafeMutableBytes(body)
  }
}
