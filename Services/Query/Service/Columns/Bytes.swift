/// A stored block that cannot be what we wrote: it is damaged, or of a version that we do not know.
package struct FormatError: Error, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}

/// Writes little-endian numbers.
struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  mutating func append<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }

  /// Adds so many bytes that the closure writes. It must write all of them.
  mutating func append(count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
    let start = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: count))
    bytes.withUnsafeMutableBytes { body(UnsafeMutableRawBufferPointer(rebasing: $0[start...])) }
  }

  /// A block behind its length in 4 bytes.
  mutating func appendBlock(_ block: [UInt8]) {
    append(UInt32(block.count))
    bytes.append(contentsOf: block)
  }
}

/// Reads what `ByteWriter` wrote. Never beyond the end.
struct ByteReader {
  private let raw: UnsafeRawBufferPointer
  private var offset = 0

  init(_ raw: UnsafeRawBufferPointer) { self.raw = raw }

  var isAtEnd: Bool { offset == raw.count }
  var remaining: Int { raw.count - offset }

  mutating func take(_ count: Int) throws(FormatError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else {
      throw FormatError("a block ends \(count - remaining) bytes early")
    }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: raw[offset..<offset + count])
  }

  mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) throws(FormatError) -> T {
    T(littleEndian: try take(MemoryLayout<T>.size).loadUnaligned(as: T.self))
  }

  mutating func uint8() throws(FormatError) -> UInt8 { try integer(UInt8.self) }
  mutating func uint32() throws(FormatError) -> UInt32 { try integer(UInt32.self) }
  mutating func uint64() throws(FormatError) -> UInt64 { try integer(UInt64.self) }

  mutating func block() throws(FormatError) -> UnsafeRawBufferPointer {
    try take(Int(try uint32()))
  }
}
