internal import HTTP2
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Copies nghttp2's output into large buffers: one write and one flush per turn instead of one per frame.
struct OutputWriter {
  /// Room for several frames; a frame is at most 16 KiB and nine bytes.
  private static let bufferBytes = 64 * 1024
  private static let frameBytesMax = 16 * 1024 + 9 + 256

  private var buffer = ByteBuffer()
  /// Bytes given to the channel so far.
  private(set) var bytes = 0

  /// Writes what waits, as long as the socket takes it. Returns whether anything was written.
  mutating func write(_ http2: HTTP2Connection, to context: ChannelHandlerContext) -> Bool {
    var wrote = false
    while context.channel.isWritable, let first = http2.nextOutput() {
      // The storage is reused once the channel has let go of it.
      var filled = buffer
      buffer = ByteBuffer()
      filled.clear()
      filled.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.bufferBytes) { room in
        var count = 0
        var piece: UnsafeRawBufferPointer? = first
        while let bytes = piece {
          UnsafeMutableRawBufferPointer(rebasing: room[count...]).copyMemory(from: bytes)
          count &+= bytes.count
          if count > Self.bufferBytes - Self.frameBytesMax { break }
          piece = http2.nextOutput()
        }
        return count
      }
      bytes &+= filled.readableBytes
      context.write(NIOAny(filled), promise: nil)
      buffer = filled
      wrote = true
    }
    return wrote
  }
}
