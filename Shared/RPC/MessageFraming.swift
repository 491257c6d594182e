/// gRPC's length-prefixed messages: [compressed u8][length u32, big-endian][message].
enum MessageFraming {
  static let prefixBytes = 5
  /// A packed message may unpack to this many bytes whatever its own size; beyond it at most `UnpackLimit.ratio` times its size: a
  /// few kilobytes shall not cost megabytes of work.
  static let unpackedFreeBytes = 1024 * 1024

  enum Front {
    /// Not even a prefix, or not the whole message yet.
    case incomplete
    /// A message of this many bytes stands behind the prefix, as it is.
    case message(Int)
    /// The same, packed with the call's encoding: see `unpack`. Only where an encoding was named.
    case packed(Int)
    case failure(RPCError)
  }

  /// Looks at the front of what has been received. A message over the limit is refused by its prefix alone, before it is
  /// buffered.
  ///
  /// - Parameter encoding: what `grpc-encoding` of the call says.
  @inline(__always)
  static func front(
    of bytes: UnsafeRawBufferPointer, limit: Int, encoding: MessageEncoding = .identity
  ) -> Front {
    guard bytes.count >= prefixBytes else { return .incomplete }
    let flag = bytes[0]
    if flag != 0, flag != 1 || encoding == .identity { return .failure(badFlag(flag)) }
    let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
    if length > limit { return .failure(tooLarge(length, limit)) }
    guard bytes.count &- prefixBytes >= length else { return .incomplete }
    return flag == 0 ? .message(length) : .packed(length)
  }

  /// How many messages stand in bytes that hold whole ones only.
  static func count(_ bytes: UnsafeRawBufferPointer) -> Int {
    var (count, offset) = (0, 0)
    while offset &+ prefixBytes <= bytes.count {
      let length = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset &+ 1, as: UInt32.self))
      offset &+= prefixBytes &+ Int(length)
      count &+= 1
    }
    return count
  }

  @inline(never)
  private static func badFlag(_ flag: UInt8) -> RPCError {
    flag == 1
      ? RPCError(.internal, "a message is marked as compressed, but grpc-encoding names no compression")
      : RPCError(.internal, "a message's compressed flag is \(flag); it must be 0 or 1")
  }

  @inline(never)
  private static func tooLarge(_ length: Int, _ limit: Int) -> RPCError {
    RPCError(.resourceExhausted, "message: at most \(limit) bytes, this one has \(length)")
  }

  /// The message within a packed one.
  ///
  /// - Throws: RESOURCE_EXHAUSTED over the limit; INTERNAL where it is damaged.
  static func unpack(_ packed: UnsafeRawBufferPointer, limit: UnpackLimit) throws(RPCError) -> [UInt8] {
    try Gzip.unpack(
      packed, limit: limit.bytes, freeBytes: unpackedFreeBytes, ratioMax: limit.ratio)
  }

  /// Adds a message with its prefix to a buffer.
  static func append(_ message: [UInt8], packed: Bool, to buffer: inout [UInt8]) {
    let count = UInt32(message.count)
    buffer.append(packed ? 1 : 0)
    withUnsafeBytes(of: count.bigEndian) { buffer.append(contentsOf: $0) }
    buffer.append(contentsOf: message)
  }
}

/// What a packed message may unpack to.
struct UnpackLimit {
  var bytes: Int
  /// Times its packed size.
  var ratio: Int

  /// The same for work on the spot.
  func atMost(_ few: Int) -> UnpackLimit { UnpackLimit(bytes: min(bytes, few), ratio: ratio) }
}

/// A message ready to be framed.
struct EncodedMessage: Sendable {
  var bytes: [UInt8]
  var isPacked = false
}

/// How the messages of one direction of a call are written.
struct OutboundCoding: Sendable {
  /// What the peer takes. `identity`: nothing is ever packed.
  var encoding: MessageEncoding = .identity
  /// Messages of at least this many bytes are packed where nothing else is said. `Int.max`: none.
  var fromBytes = Int.max
  /// Bytes of one message, before it is packed.
  var messageBytesMax = Int(UInt32.max)
  /// Of a server's call: what the handler says for all its messages.
  var call: ServerCall?

  /// - Parameter wish: what the sender of this message says; nil: nothing.
  @inline(__always)
  func packs(_ count: Int, wish: Bool?) -> Bool {
    encoding != .identity && count > 0
      && (wish ?? (count >= fromBytes || call?.compressesMessages == true))
  }

  /// - Throws: RESOURCE_EXHAUSTED over `messageBytesMax`.
  @inline(__always)
  func check(_ count: Int) throws(RPCError) {
    if count > messageBytesMax { throw tooLarge(count) }
  }

  @inline(never)
  func tooLarge(_ count: Int) -> RPCError {
    RPCError(.resourceExhausted, "message to send: at most \(messageBytesMax) bytes, this one has \(count)")
  }

  /// Packs a message where that is wished and possible. Cost: see `Gzip.pack`.
  func encode(_ message: [UInt8], wish: Bool? = nil) -> EncodedMessage {
    guard packs(message.count, wish: wish) else { return EncodedMessage(bytes: message) }
    return EncodedMessage(bytes: message.withUnsafeBytes { Gzip.pack($0) }, isPacked: true)
  }
}
