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
    var options = BinaryDecodingOptions()
    options.messageDepthLimit = MessageLimits.depthMax
    do {
      return try Message(serializedBytes: bytes, options: options)
    } catch {
      throw RPCError(
        .internal, "message of \(bytes.count) bytes is not a valid \(Message.protoMessageName)",
        cause: error)
    }
  }

  private static func encode(_ message: Message) throws(RPCError) -> [UInt8]
  where Message: SwiftProtobuf.Message {
    do {
      return try message.serializedBytes()
    } catch {
      throw RPCError(
        .internal, "cannot encode a \(Message.protoMessageName)", cause: error)
    }
  }
}
