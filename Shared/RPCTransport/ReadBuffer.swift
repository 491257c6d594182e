internal import NIOCore

/// What all connections of a loop read into, one after another: a connection that rests holds no buffer to read. Used on the loop
/// only.
// @unchecked: see above; NIO wants what allocates to be Sendable.
final class ReadBuffer: @unchecked Sendable {
  static let bytes = 64 * 1024

  private var spare: ByteBuffer?

  fileprivate func take(_ allocator: ByteBufferAllocator) -> ByteBuffer {
    guard var buffer = spare else { return allocator.buffer(capacity: Self.bytes) }
    // Held by nobody else from here on, so that NIO writes into it as it is.
    spare = nil
    buffer.clear()
    return buffer
  }

  /// Takes back what has been read. A buffer of another size, such as one that TLS has made, is not ours.
  func give(_ buffer: ByteBuffer) {
    if buffer.storageCapacity == Self.bytes { spare = buffer }
  }
}

/// Gives a channel its buffers. NIO keeps a channel's first buffer and reads into it whenever nobody else holds it, and keeps none
/// of those that it asks for otherwise. So the first is a small one, and `ServerChannelHandler` holds it.
struct SharedReadAllocator: RecvByteBufferAllocator {
  static let firstBytes = 512

  private let shared: ReadBuffer
  private var hasRead = false

  init(_ shared: ReadBuffer) { self.shared = shared }

  func nextBufferSize() -> Int? { hasRead ? ReadBuffer.bytes : Self.firstBytes }

  func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
    hasRead ? shared.take(allocator) : allocator.buffer(capacity: Self.firstBytes)
  }

  mutating func record(actualReadBytes: Int) -> Bool {
    hasRead = true
    return false
  }
}
