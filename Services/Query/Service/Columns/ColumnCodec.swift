/// A column of whole numbers as bytes: docs/formats/query.md, "Column".
///
/// Each number is stored less the smallest one, in the fewest whole bytes of 0, 1, 2, 4 or 8 that hold the largest
/// difference: reading is one flat loop, and a constant column takes no space.
enum ColumnCodec {
  static let headerBytes = 1 + 4 + 8

  static func encode<T: FixedWidthInteger>(_ values: some Collection<T>) -> [UInt8] {
    let low = values.min() ?? 0
    let high = values.max() ?? 0
    let spread = UInt64(truncatingIfNeeded: high) &- UInt64(truncatingIfNeeded: low)
    let width = width(spread)
    var writer = ByteWriter(capacity: headerBytes + values.count * width)
    writer.append(UInt8(width))
    writer.append(UInt32(values.count))
    writer.append(UInt64(truncatingIfNeeded: low))
    for value in values {
      let rest = UInt64(truncatingIfNeeded: value) &- UInt64(truncatingIfNeeded: low)
      switch width {
      case 0: break
      case 1: writer.append(UInt8(truncatingIfNeeded: rest))
      case 2: writer.append(UInt16(truncatingIfNeeded: rest))
      case 4: writer.append(UInt32(truncatingIfNeeded: rest))
      default: writer.append(rest)
      }
    }
    return writer.bytes
  }

  private static func width(_ spread: UInt64) -> Int {
    switch spread {
    case 0: 0
    case ...0xff: 1
    case ...0xffff: 2
    case ...0xffff_ffff: 4
    default: 8
    }
  }

  /// - Throws: `FormatError` where the block is not exactly one column.
  static func decode<T: FixedWidthInteger>(
    _: T.Type, _ block: UnsafeRawBufferPointer
  ) throws(FormatError) -> [T] {
    var reader = ByteReader(block)
    let width = Int(try reader.uint8())
    let count = Int(try reader.uint32())
    let low = try reader.uint64()
    guard [0, 1, 2, 4, 8].contains(width) else { throw FormatError("column of width \(width)") }
    let body = try reader.take(count * width)
    guard reader.isAtEnd else { throw FormatError("a column has \(reader.remaining) bytes too many") }
    switch width {
    case 0: return Array(repeating: T(truncatingIfNeeded: low), count: count)
    case 1: return widen(body, UInt8.self, low, count)
    case 2: return widen(body, UInt16.self, low, count)
    case 4: return widen(body, UInt32.self, low, count)
    default: return widen(body, UInt64.self, low, count)
    }
  }

  private static func widen<Stored: FixedWidthInteger & BitwiseCopyable, T: FixedWidthInteger>(
    _ body: UnsafeRawBufferPointer, _: Stored.Type, _ low: UInt64, _ count: Int
  ) -> [T] {
    [T](unsafeUninitializedCapacity: count) { target, filled in
      for index in 0..<count {
        let stored = body.loadUnaligned(
          fromByteOffset: index &* MemoryLayout<Stored>.size, as: Stored.self)
        let value = UInt64(truncatingIfNeeded: Stored(littleEndian: stored)) &+ low
        target.initializeElement(at: index, to: T(truncatingIfNeeded: value))
      }
      filled = count
    }
  }
}
