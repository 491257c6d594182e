import CZstd

/// Zstandard over whole columns, RFC 8878. Frames know their length and have no checksum of their own: the column's does.
enum Zstd {
  /// - Returns: nil where it would not be smaller.
  static func compress(_ raw: [UInt8], level: Int32) -> [UInt8]? {
    let bound = ZSTD_compressBound(raw.count)
    let frame = [UInt8](unsafeUninitializedCapacity: bound) { target, filled in
      let length = raw.withUnsafeBytes { raw in
        ZSTD_compress(target.baseAddress, bound, raw.baseAddress, raw.count, level)
      }
      filled = ZSTD_isError(length) == 0 ? length : 0
    }
    return frame.isEmpty || frame.count >= raw.count ? nil : frame
  }

  /// The smallest of some: with matches, and with hardly any; numbers that only follow a skewed distribution are written in fewer
  /// bytes one by one. What takes long is for a bounded number of bytes, and for a gain.
  ///
  /// - Returns: nil where none would be smaller.
  static func compressSmallest(_ raw: [UInt8]) -> [UInt8]? {
    let usual = compress(raw, level: Limits.compressionLevel)
    let single = compressSingly(raw)
    guard let smaller = [usual, single].compactMap({ $0 }).min(by: { $0.count < $1.count }) else {
      return nil
    }
    guard raw.count <= Limits.thoroughCompressionBytesMax,
      let thorough = compress(raw, level: Limits.thoroughCompressionLevel)
    else { return smaller }
    return thorough.count < smaller.count * 97 / 100 ? thorough : smaller
  }

  private static func compressSingly(_ raw: [UInt8]) -> [UInt8]? {
    guard let context = ZSTD_createCCtx() else { return nil }
    defer { ZSTD_freeCCtx(context) }
    // A tiny table of long matches finds next to none.
    for (parameter, value) in [
      (ZSTD_c_strategy, Int32(bitPattern: ZSTD_fast.rawValue)), (ZSTD_c_minMatch, 7),
      (ZSTD_c_hashLog, 6), (ZSTD_c_chainLog, 6), (ZSTD_c_searchLog, 1), (ZSTD_c_windowLog, 17),
    ] {
      guard ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0 else { return nil }
    }
    let bound = ZSTD_compressBound(raw.count)
    let frame = [UInt8](unsafeUninitializedCapacity: bound) { target, filled in
      let length = raw.withUnsafeBytes { raw in
        ZSTD_compress2(context, target.baseAddress, bound, raw.baseAddress, raw.count)
      }
      filled = ZSTD_isError(length) == 0 ? length : 0
    }
    return frame.isEmpty || frame.count >= raw.count ? nil : frame
  }

  static func decompress(_ frame: [UInt8], length: Int) throws(FormatError) -> [UInt8] {
    let result = frame.withUnsafeBytes { frame in
      Result { () throws(FormatError) -> [UInt8] in try decompress(frame, length: length) }
    }
    return try result.get()
  }

  /// - Throws: `FormatError` where the frame is damaged or holds another number of bytes.
  static func decompress(
    _ frame: UnsafeRawBufferPointer, length: Int
  ) throws(FormatError) -> [UInt8] {
    // The length comes from the file: what the frame says of itself must agree before so much memory is taken.
    guard ZSTD_getFrameContentSize(frame.baseAddress, frame.count) == UInt64(length) else {
      throw FormatError("a compressed column is not of \(length) bytes")
    }
    var found = 0
    let raw = [UInt8](unsafeUninitializedCapacity: length) { target, filled in
      found = ZSTD_decompress(target.baseAddress, length, frame.baseAddress, frame.count)
      filled = ZSTD_isError(found) == 0 ? min(found, length) : 0
    }
    guard raw.count == length else { throw FormatError("a compressed column is damaged") }
    return raw
  }
}
