internal import CZlib

/// How a message travels: the values of `grpc-encoding` that both sides of this layer speak (grpc/doc/compression.md).
package enum MessageEncoding: String, Sendable, CaseIterable {
  case identity
  case gzip

  /// What `grpc-accept-encoding` says.
  package static let accepted = allCases.map(\.rawValue).joined(separator: ",")
}

/// Packs and unpacks single messages with gzip. Nothing is carried from one message to the next.
package enum Gzip {
  /// Output grows by this at first, bytes: a bomb is found before it has taken much.
  private static let chunkBytes = 16 * 1024
  /// 15 bits of window, + 16: gzip and nothing else.
  private static let windowBits: Int32 = 15 + 16

  /// Packs a message at zlib's fastest level: on a network of today the time is worth more than the last percents.
  /// Cost: about 10 us and 256 KiB of zlib's memory while it runs, then some 10 ns per byte.
  package static func pack(_ message: UnsafeRawBufferPointer) -> [UInt8] {
    var stream = z_stream()
    let begun = deflateInit2_(
      &stream, Z_BEST_SPEED, Z_DEFLATED, windowBits, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
      Int32(MemoryLayout<z_stream>.size))
    precondition(begun == Z_OK, "zlib does not begin to pack (code \(begun))")
    defer { deflateEnd(&stream) }
    let bound = Int(deflateBound(&stream, UInt(message.count)))
    return [UInt8](unsafeUninitializedCapacity: bound) { packed, count in
      stream.next_in = input(message)
      stream.avail_in = UInt32(message.count)
      stream.next_out = packed.baseAddress
      stream.avail_out = UInt32(bound)
      let code = deflate(&stream, Z_FINISH)
      precondition(code == Z_STREAM_END, "zlib packs more than its own bound (code \(code))")
      count = bound - Int(stream.avail_out)
    }
  }

  /// Unpacks a message.
  ///
  /// - Parameter limit: bytes that it may have unpacked. What it says of itself is not believed: memory grows with what
  ///   really comes out, and never beyond the limit.
  /// - Parameters:
  ///   - freeBytes: so much may come out whatever went in.
  ///   - ratioMax: beyond, at most so many times what has been read so far: a bomb goes off early or not at all.
  /// - Throws: RESOURCE_EXHAUSTED over a limit; INTERNAL where it is not one whole gzip member.
  package static func unpack(
    _ packed: UnsafeRawBufferPointer, limit: Int, freeBytes: Int = .max, ratioMax: Int = .max
  ) throws(RPCError) -> [UInt8] {
    var stream = z_stream()
    let begun = inflateInit2_(
      &stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard begun == Z_OK else {
      throw RPCError(.resourceExhausted, "message: no memory to unpack it (zlib code \(begun))")
    }
    defer { inflateEnd(&stream) }
    stream.next_in = input(packed)
    stream.avail_in = UInt32(packed.count)
    var message: [UInt8] = []
    var code = Z_OK
    while code == Z_OK {
      // One byte beyond the limit shows that there is more.
      let room = min(max(chunkBytes, message.count), limit + 1 - message.count)
      guard room > 0 else {
        throw RPCError(.resourceExhausted, "message: at most \(limit) bytes, this one unpacks to more")
      }
      let before = message.count
      message.append(contentsOf: repeatElement(0, count: room))
      message.withUnsafeMutableBufferPointer { target in
        stream.next_out = target.baseAddress.unsafelyUnwrapped + before
        stream.avail_out = UInt32(room)
        code = inflate(&stream, Z_NO_FLUSH)
      }
      message.removeLast(Int(stream.avail_out))
      let taken = packed.count - Int(stream.avail_in)
      if message.count > freeBytes, message.count / max(1, taken) >= ratioMax {
        throw RPCError(
          .resourceExhausted,
          "message: beyond \(freeBytes) bytes at most \(ratioMax) times its packed size, this one unpacks to more")
      }
    }
    guard code == Z_STREAM_END, stream.avail_in == 0 else {
      throw RPCError(.internal, "message: not one whole gzip member (zlib code \(code))")
    }
    guard message.count <= limit else {
      throw RPCError(.resourceExhausted, "message: at most \(limit) bytes, this one unpacks to more")
    }
    return message
  }

  /// zlib does not write to its input, but does not say so in its type.
  private static func input(_ bytes: UnsafeRawBufferPointer) -> UnsafeMutablePointer<UInt8>? {
    UnsafeMutablePointer(mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
  }
}
