/// gRPC's length-prefixed messages: [compressed u8][length u32, big-endian][message].
enum MessageFraming {
  static let prefixBytes = 5

  enum Front {
    /// Not even a prefix, or not the whole message yet: this many bytes of it are still to come.
    case incomplete
    /// A message of this many bytes stands behind the prefix.
    case message(Int)
    case failure(RPCError)
  }

  /// Looks at the front of what has been received. A message over the limit is refused by its prefix alone, before it is
  /// buffered.
  @inline(__always)
  static func front(of bytes: UnsafeRawBufferPointer, limit: Int) -> Front {
    guard bytes.count >= prefixBytes else { return .incomplete }
    if bytes[0] != 0 { return .failure(compressed(bytes[0])) }
    let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
    if length > limit { return .failure(tooLarge(length, limit)) }
    return bytes.count &- prefixBytes >= length ? .message(length) : .incomplete
  }

  @inline(never)
  private static func compressed(_ flag: UInt8) -> RPCError {
    flag == 1
      ? RPCError(.internal, "a message is marked as compressed, but grpc-encoding names no compression")
      : RPCError(.internal, "a message's compressed flag is \(flag); it must be 0 or 1")
  }

  @inline(never)
  private static func tooLarge(_ length: Int, _ limit: Int) -> RPCError {
    RPCError(.resourceExhausted, "message: at most \(limit) bytes, this one has \(length)")
  }
}
