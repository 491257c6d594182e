internal import HTTP2
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Where output is gathered: one for all connections of a loop, so that one that idles holds no buffer. Used on the loop only.
final class OutputBuffer {
  var bytes = ByteBuffer()
}

/// Copies nghttp2's output into large buffers: one write and one flush per turn instead of one per frame.
struct OutputWriter {
  /// Room for several frames; a frame is at most 16 KiB and nine bytes.
  private static let bufferBytes = 64 * 1024
  private static let frameBytesMax = 16 * 1024 + 9 + 256

  /// Less than this leaves in a buffer of its own size: where the socket does not take it, it waits without the rest of the
  /// large one.
  private static let copiedBytesMax = 4 * 1024

  private let shared: OutputBuffer

  /// Bytes given to the channel so far.
  private(set) var bytes = 0

  init(_ shared: OutputBuffer) { self.shared = shared }

  /// Writes what waits, as long as the socket takes it. Returns how many bytes.
  ///
  /// - Parameter bytesMax: no more is begun beyond these.
  mutating func write(
    _ http2: HTTP2Connection, to context: ChannelHandlerContext, _ driver: ChannelDriver, bytesMax: Int = .max
  ) -> Int {
    var written = 0
    while written < bytesMax, driver.isWritable, let first = http2.nextOutput() {
      // The storage is reused once the channel has let go of it.
      var filled = shared.bytes
      shared.bytes = ByteBuffer()
      filled.clear()
      filled.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.bufferBytes) { room in
        var count = 0
        var piece: UnsafeRawBufferPointer? = first
        while let bytes = piece {
          UnsafeMutableRawBufferPointer(rebasing: room[count...]).copyMemory(from: bytes)
          count &+= bytes.count
          if count > Self.bufferBytes - Self.frameBytesMax || written &+ count >= bytesMax { break }
          piece = http2.nextOutput()
        }
        return count
      }
      bytes &+= filled.readableBytes
      written &+= filled.readableBytes
      let small = filled.readableBytes <= Self.copiedBytesMax
      context.write(NIOAny(small ? ByteBuffer(bytes: filled.readableBytesView) : filled), promise: nil)
      shared.bytes = filled
    }
    return written
  }
}
