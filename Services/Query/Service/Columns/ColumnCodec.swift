/// What a column may hold.
package typealias ColumnNumber = FixedWidthInteger & BitwiseCopyable & SIMDScalar

/// A column of whole numbers as bytes: docs/formats/query.md, "Column".
///
/// The first byte says how the numbers are written, so that any column of any version is read by one function. `encode` is
/// for what will soon be written anew, in the order of the log; `ColumnPacker` for what stays.
package enum ColumnCodec {
  /// The first byte of a column. 0, 1, 2, 4 and 8: whole numbers of so many bytes, each less the smallest one.
  enum Tag {
    static let planes: UInt8 = 0x10
    static let patched: UInt8 = 0x11
    static let dictionary: UInt8 = 0x12
    static let runs: UInt8 = 0x13
    static let differences: UInt8 = 0x14
    static let zigzagDifferences: UInt8 = 0x15
    static let groupedDifferences: UInt8 = 0x16
    static let groupedZigzagDifferences: UInt8 = 0x17
    static let changes: UInt8 = 0x18
    static let groupedRuns: UInt8 = 0x1c
    // Of segments: they say where the numbers follow from (`SegmentReader`).
    static let ofParent: UInt8 = 0x19
    static let ofEvents: UInt8 = 0x1a
    static let ofUsers: UInt8 = 0x1b
    static let zstd: UInt8 = 0xfd
  }

  /// Each number less the smallest one, in the fewest whole bytes of 0, 1, 2, 4 or 8 that hold the largest difference.
  package static func encode<T: ColumnNumber>(_ values: [T]) -> [UInt8] {
    values.withUnsafeBufferPointer { encode($0) }
  }

  private static func encode<T: ColumnNumber>(
    _ values: UnsafeBufferPointer<T>
  ) -> [UInt8] {
    let low = values.min() ?? 0
    let high = values.max() ?? 0
    let spread = UInt64(truncatingIfNeeded: high) &- UInt64(truncatingIfNeeded: low)
    let width = width(spread)
    var writer = ByteWriter(capacity: 13 + values.count * width)
    writer.append(UInt8(width))
    writer.append(UInt32(values.count))
    writer.append(UInt64(truncatingIfNeeded: low))
    switch width {
    case 0: break
    case 1: writer.append(count: values.count) { narrow(values, low, into: $0, UInt8.self) }
    case 2: writer.append(count: values.count * 2) { narrow(values, low, into: $0, UInt16.self) }
    case 4: writer.append(count: values.count * 4) { narrow(values, low, into: $0, UInt32.self) }
    default: writer.append(count: values.count * 8) { narrow(values, low, into: $0, UInt64.self) }
    }
    return writer.bytes
  }

  @inline(__always)
  private static func narrow<T: FixedWidthInteger, Stored: ColumnNumber>(
    _ values: UnsafeBufferPointer<T>, _ low: T, into target: UnsafeMutableRawBufferPointer,
    _: Stored.Type
  ) {
    for index in 0..<values.count {
      let stored = Stored(truncatingIfNeeded: values[index] &- low)
      target.storeBytes(
        of: stored.littleEndian, toByteOffset: index &* MemoryLayout<Stored>.size, as: Stored.self)
    }
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

  // MARK: Decoding

  /// - Parameters:
  ///   - most: numbers that it may have; a damaged one must not take memory without end.
  ///   - ends: where the groups end that it was packed by (`ColumnPacker.packAscending(_:ends:)`).
  /// - Throws: `FormatError` where the block is not exactly one column, or has more numbers.
  package static func decode<T: ColumnNumber>(
    _: T.Type, _ block: UnsafeRawBufferPointer, most: Int = Limits.rowsPerSegmentMax,
    ends: [UInt32] = []
  ) throws(FormatError) -> [T] {
    try decode(T.self, block, Bound(count: most, depth: 0, ends: ends))
  }

  /// What a damaged column may not exceed.
  struct Bound {
    let count: Int
    /// Columns within columns.
    let depth: Int
    /// Of the groups; those of columns within have none.
    let ends: [UInt32]

    var nested: Bound { Bound(count: count, depth: depth + 1, ends: []) }
    /// For the same column, written as another one.
    var wrapped: Bound { Bound(count: count, depth: depth + 1, ends: ends) }
  }

  static func decode<T: ColumnNumber>(
    _: T.Type, _ block: UnsafeRawBufferPointer, _ bound: Bound
  ) throws(FormatError) -> [T] {
    guard bound.depth <= Limits.columnDepthMax else {
      throw FormatError("a column nested too deeply")
    }
    var reader = ByteReader(block)
    let tag = try reader.uint8()
    if tag == Tag.zstd { return try decodeCompressed(T.self, &reader, bound) }
    let count = Int(try reader.uint32())
    guard count <= bound.count else { throw FormatError("a column of \(count) numbers") }
    let values: [T]
    switch tag {
    case 0, 1, 2, 4, 8: values = try decodeWhole(T.self, &reader, width: Int(tag), count)
    case Tag.planes: values = try decodePlanes(T.self, &reader, count)
    case Tag.patched: values = try decodePatched(T.self, &reader, count, bound.nested)
    case Tag.dictionary: values = try decodeDictionary(T.self, &reader, count, bound.nested)
    case Tag.runs: values = try decodeRuns(T.self, &reader, count, bound.nested)
    case Tag.differences, Tag.zigzagDifferences:
      values = try decodeDifferences(
        T.self, &reader, count, isZigzag: tag == Tag.zigzagDifferences,
        bound.nested)
    case Tag.groupedDifferences, Tag.groupedZigzagDifferences:
      values = try decodeGroups(
        T.self, &reader, count, isZigzag: tag == Tag.groupedZigzagDifferences, bound)
    case Tag.groupedRuns: values = try decodeGroupedRuns(T.self, &reader, count, bound)
    case Tag.changes: values = try decodeChanges(T.self, &reader, count, bound.nested)
    default: throw FormatError("a column written in way \(tag)")
    }
    guard reader.isAtEnd else { throw FormatError("a column has \(reader.remaining) bytes too many") }
    return values
  }

  private static func decodeCompressed<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let raw = try decompressed(&reader, most: bound.count)
    // Not through a closure: it would lose the type of the error.
    let result = raw.withUnsafeBytes { bytes in
      Result { () throws(FormatError) -> [T] in try decode(T.self, bytes, bound.wrapped) }
    }
    return try result.get()
  }

  private static func decompressed(
    _ reader: inout ByteReader, most: Int
  ) throws(FormatError) -> [UInt8] {
    let length = Int(try reader.uint32())
    let frame = try reader.take(reader.remaining)
    guard length <= most * 16 + 4_096 else {
      throw FormatError("a compressed column of \(length) bytes")
    }
    return try Zstd.decompress(frame, length: length)
  }

  private static func decodeWhole<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, width: Int, _ count: Int
  ) throws(FormatError) -> [T] {
    let low = T(truncatingIfNeeded: try reader.uint64())
    let body = try reader.take(count * width)
    switch width {
    case 0: return Array(repeating: low, count: count)
    case 1: return widen(body, UInt8.self, low, count)
    case 2: return widen(body, UInt16.self, low, count)
    case 4: return widen(body, UInt32.self, low, count)
    default: return widen(body, UInt64.self, low, count)
    }
  }

  @inline(__always)
  private static func widen<Stored: ColumnNumber, T: FixedWidthInteger>(
    _ body: UnsafeRawBufferPointer, _: Stored.Type, _ low: T, _ count: Int
  ) -> [T] {
    [T](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      guard count > 0, let source = body.baseAddress, let target = target.baseAddress else { return }
      for index in 0..<count {
        let stored = source.loadUnaligned(
          fromByteOffset: index &* MemoryLayout<Stored>.size, as: Stored.self)
        (target + index).initialize(to: T(truncatingIfNeeded: Stored(littleEndian: stored)) &+ low)
      }
    }
  }

  private static func decodePlanes<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int
  ) throws(FormatError) -> [T] {
    let width = Int(try reader.uint8())
    let low = T(truncatingIfNeeded: try reader.uint64())
    guard width <= MemoryLayout<T>.size else { throw FormatError("a column of \(width) planes") }
    let body = try reader.take(count * width)
    if width == 0 { return Array(repeating: low, count: count) }
    return [T](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      guard count > 0, let planes = body.baseAddress?.assumingMemoryBound(to: UInt8.self),
        let target = target.baseAddress
      else { return }
      join(planes, width, low, count, into: target)
    }
  }

  /// The numbers whose byte k stands in plane k.
  private static func join<T: FixedWidthInteger>(
    _ planes: UnsafePointer<UInt8>, _ width: Int, _ low: T, _ count: Int,
    into target: UnsafeMutablePointer<T>
  ) {
    switch width {
    case 1:
      for index in 0..<count {
        (target + index).initialize(to: T(truncatingIfNeeded: planes[index]) &+ low)
      }
    case 2:
      let second = planes + count
      for index in 0..<count {
        let value = UInt16(planes[index]) | UInt16(second[index]) &<< 8
        (target + index).initialize(to: T(truncatingIfNeeded: value) &+ low)
      }
    case 3:
      let (second, third) = (planes + count, planes + 2 * count)
      for index in 0..<count {
        let value = UInt32(planes[index]) | UInt32(second[index]) &<< 8 | UInt32(third[index]) &<< 16
        (target + index).initialize(to: T(truncatingIfNeeded: value) &+ low)
      }
    default:
      let (second, third, fourth) = (planes + count, planes + 2 * count, planes + 3 * count)
      for index in 0..<count {
        let value =
          UInt32(planes[index]) | UInt32(second[index]) &<< 8 | UInt32(third[index]) &<< 16
          | UInt32(fourth[index]) &<< 24
        (target + index).initialize(to: T(truncatingIfNeeded: value))
      }
      for plane in 4..<width {
        let bytes = planes + plane * count
        let shift = T(truncatingIfNeeded: plane * 8)
        for index in 0..<count { target[index] |= T(truncatingIfNeeded: bytes[index]) &<< shift }
      }
      if low != 0 { for index in 0..<count { target[index] &+= low } }
    }
  }

  private static func decodePatched<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let places = try decode(UInt32.self, reader.block(), bound)
    let patches = try decode(T.self, reader.block(), bound)
    guard places.count == patches.count, places.allSatisfy({ Int($0) < count }) else {
      throw FormatError("a column's exceptions do not fit it")
    }
    var values = try decodePlanes(T.self, &reader, count)
    values.withUnsafeMutableBufferPointer { values in
      for index in 0..<places.count { values[Int(places[index])] = patches[index] }
    }
    return values
  }

  private static func decodeDictionary<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let table = try decode(T.self, reader.block(), bound)
    let numbers = try decode(UInt32.self, reader.block(), bound)
    guard numbers.count == count else { throw FormatError("a column's numbers do not fit it") }
    return try lookUp(numbers, in: table)
  }

  /// Calls the closure with a column as it was before it was compressed.
  static func withPlain<Outcome>(
    _ block: UnsafeRawBufferPointer, most: Int, _ body: (UnsafeRawBufferPointer) throws -> Outcome
  ) throws -> Outcome {
    guard block.first == Tag.zstd else { return try body(block) }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: block[1...]))
    return try decompressed(&reader, most: most).withUnsafeBytes(body)
  }

  /// Which one of its values each row of a column has that was packed as a dictionary.
  ///
  /// - Parameter block: not compressed.
  /// - Throws: `FormatError` where it was not.
  static func decodeNumbers(
    _ block: UnsafeRawBufferPointer, most: Int
  ) throws(FormatError) -> [UInt32] {
    var reader = ByteReader(block)
    let tag = try reader.uint8()
    guard tag == Tag.dictionary else { throw FormatError("a column that another one follows from") }
    let count = Int(try reader.uint32())
    _ = try reader.block()
    let numbers = try decode(UInt32.self, reader.block(), most: most)
    guard numbers.count == count, reader.isAtEnd else {
      throw FormatError("a column's numbers do not fit it")
    }
    return numbers
  }

  /// Takes each number's value.
  ///
  /// - Throws: `FormatError` where a number has none.
  static func lookUp<T: BitwiseCopyable>(
    _ numbers: [UInt32], in table: [T]
  ) throws(FormatError) -> [T] {
    guard Int(numbers.highest) < max(table.count, 1), numbers.isEmpty || !table.isEmpty else {
      throw FormatError("a column's numbers do not fit its values")
    }
    return [T](unsafeUninitializedCapacity: numbers.count) { target, filled in
      filled = numbers.count
      table.withUnsafeBufferPointer { table in
        for index in 0..<numbers.count {
          target.initializeElement(at: index, to: table[Int(numbers[index])])
        }
      }
    }
  }

  private static func decodeRuns<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let values = try decode(T.self, reader.block(), bound)
    let lengths = try decode(UInt32.self, reader.block(), bound)
    guard values.count == lengths.count, lengths.reduce(0, { $0 + Int($1) }) == count else {
      throw FormatError("a column's runs do not fit it")
    }
    return [T](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      guard var next = target.baseAddress else { return }
      for index in 0..<values.count {
        next.initialize(repeating: values[index], count: Int(lengths[index]))
        next += Int(lengths[index])
      }
    }
  }

  private static func decodeDifferences<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, isZigzag: Bool, _ bound: Bound
  ) throws(FormatError) -> [T] {
    var values = try decode(T.self, reader.block(), bound)
    guard values.count == count else { throw FormatError("a column's differences do not fit it") }
    values.withUnsafeMutableBufferPointer { values in
      var sum: T = 0
      if isZigzag {
        for index in 0..<values.count {
          let value = values[index]
          sum &+= value & 1 == 0 ? value &>> 1 : ~(value &>> 1)
          values[index] = sum
        }
      } else {
        for index in 0..<values.count {
          sum &+= values[index]
          values[index] = sum
        }
      }
    }
    return values
  }
}
