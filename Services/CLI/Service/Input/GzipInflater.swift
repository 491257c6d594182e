import CZlib

/// Unpacks a gzip file piece by piece; also one of several members. Owns its `z_stream`.
package final class GzipInflater {
  /// The first bytes of every gzip file.
  package static let magic: [UInt8] = [0x1f, 0x8b]

  // On the heap, because zlib keeps the address.
  private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  /// Whether a member has begun and its end has not been seen.
  package private(set) var isInsideMember = false

  package init() throws(InputError) {
    stream.initialize(to: z_stream())
    // 15 bits of window, + 16: gzip and nothing else.
    let code = inflateInit2_(
      stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard code == Z_OK else { throw InputError("gzip: zlib does not start (code \(code))") }
  }

  deinit {
    inflateEnd(stream)
    stream.deinitialize(count: 1)
    stream.deallocate()
  }

  /// Unpacks all of `packed` and appends what comes out.
  ///
  /// The output of one call is bounded by zlib's greatest ratio, about 1,032 times the input.
  package func unpack(_ packed: [UInt8], onto output: inout [UInt8]) throws(InputError) {
    var input = packed
    var offset = 0
    while offset < input.count {
      let before = output.count
      let room = InputLimits.readBytes
      output.append(contentsOf: repeatElement(0, count: room))
      var code = Z_OK
      var (used, made) = (0, 0)
      input.withUnsafeMutableBufferPointer { source in
        output.withUnsafeMutableBufferPointer { target in
          guard let from = source.baseAddress, let to = target.baseAddress else { return }
          stream.pointee.next_in = from + offset
          stream.pointee.avail_in = UInt32(source.count - offset)
          stream.pointee.next_out = to + before
          stream.pointee.avail_out = UInt32(room)
          code = inflate(stream, Z_NO_FLUSH)
          used = source.count - offset - Int(stream.pointee.avail_in)
          made = room - Int(stream.pointee.avail_out)
        }
      }
      output.removeLast(room - made)
      offset += used
      isInsideMember = true
      switch code {
      case Z_OK: break
      case Z_STREAM_END:
        isInsideMember = false
        inflateReset(stream)
        if isPadding(input[offset...]) { return }
      case Z_BUF_ERROR where offset == input.count: return
      default: throw InputError("gzip: damaged data (\(reason(code)))")
      }
    }
  }

  /// Some writers fill the last block with zeros.
  private func isPadding(_ rest: ArraySlice<UInt8>) -> Bool { rest.allSatisfy { $0 == 0 } }

  private func reason(_ code: Int32) -> String {
    stream.pointee.msg.map { String(cString: $0) } ?? "zlib code \(code)"
  }
}
