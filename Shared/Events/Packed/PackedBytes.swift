/// Writes numbers and bytes close together: varints as protobuf has them, signed numbers by zigzag.
package struct PackedWriter {
  package private(set) var bytes: [UInt8] = []

  package init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  @inline(__always)
  package mutating func unsigned(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  @inline(__always)
  package mutating func signed(_ value: Int64) {
    unsigned(UInt64(bitPattern: (value &<< 1) ^ (value >> 63)))
  }

  /// A count, then the bytes.
  package mutating func text(_ value: String) {
    unsigned(UInt64(value.utf8.count))
    bytes.append(contentsOf: value.utf8)
  }

  /// Eight bytes, little endian.
  package mutating func word(_ value: UInt64) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// Forgets what was written; the memory stays.
  package mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }
}

/// Reads what `PackedWriter` wrote. Every read is checked: bytes from a damaged file are an error, never a crash.
package struct PackedReader {
  private let bytes: UnsafeRawBufferPointer
  private var position = 0

  /// - Parameter bytes: must stay where they are while the reader is used.
  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package var isAtEnd: Bool { position == bytes.count }

  @inline(__always)
  package mutating func unsigned() throws(PackedError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while shift < 64 {
      guard position < bytes.count else { throw PackedError() }
      let byte = bytes[position]
      position &+= 1
      value |= UInt64(byte & 0x7F) &<< shift
      if byte < 0x80 { return value }
      shift &+= 7
    }
    throw PackedError()
  }

  @inline(__always)
  package mutating func signed() throws(PackedError) -> Int64 {
    let value = try unsigned()
    return Int64(bitPattern: (value >> 1) ^ (0 &- (value & 1)))
  }

  /// A number that must not exceed `max`: the size of what follows.
  package mutating func count(max: Int) throws(PackedError) -> Int {
    let value = try unsigned()
    guard value <= UInt64(max) else { throw PackedError() }
    return Int(value)
  }

  package mutating func text() throws(PackedError) -> String {
    let length = try count(max: bytes.count - position)
    defer { position += length }
    return String(decoding: bytes[position..<position + length], as: UTF8.self)
  }

  package mutating func word() throws(PackedError) -> UInt64 {
    guard bytes.count - position >= 8 else { throw PackedError() }
    defer { position += 8 }
    return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
  }
}

/// Stored bytes that nobody wrote so: the file was damaged.
package struct PackedError: Error, CustomStringConvertible {
  package init() {}
  package var description: String { "stored bytes are damaged" }
}
