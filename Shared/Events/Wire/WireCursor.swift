/// Why a message is not protobuf, and where.
package struct WireError: Error, Sendable, Equatable, CustomStringConvertible {
  package enum Reason: UInt8, Sendable {
    /// A number, a tag or a length runs beyond the end.
    case truncated
    /// A varint has more than 10 bytes.
    case varintTooLong
    /// A field number of 0, a wire type that does not exist, or the end of a group that was not begun.
    case badTag
    /// Groups nested deeper than `WireCursor.groupDepthMax`.
    case tooDeep
    /// The message is longer than `EventLimits.requestBytesMax`.
    case tooLong
  }

  package let reason: Reason
  /// Bytes from the message's beginning.
  package let offset: Int

  package init(reason: Reason, offset: Int) {
    self.reason = reason
    self.offset = offset
  }

  package var description: String {
    let what =
      switch reason {
      case .truncated: "ends within a field"
      case .varintTooLong: "has a varint of more than 10 bytes"
      case .badTag: "has a field tag that does not exist"
      case .tooDeep: "nests groups deeper than \(WireCursor.groupDepthMax)"
      case .tooLong: "is longer than \(EventLimits.requestBytesMax) bytes"
      }
    return "the message \(what), at byte \(offset)"
  }
}

/// Reads protobuf's wire format in place (protobuf.dev/programming-guides/encoding). Every read is checked against the end;
/// a nested message is read by a cursor of its own that ends where the message ends.
struct WireCursor {
  static let groupDepthMax = 100

  var position: UnsafeRawPointer
  let end: UnsafeRawPointer
  /// The beginning of the whole message, to which slices refer.
  let origin: UnsafeRawPointer

  init(position: UnsafeRawPointer, end: UnsafeRawPointer, origin: UnsafeRawPointer) {
    self.position = position
    self.end = end
    self.origin = origin
  }

  @inline(__always)
  var isAtEnd: Bool { position >= end }

  @inline(__always)
  var offset: UInt32 { UInt32(truncatingIfNeeded: position - origin) }

  func error(_ reason: WireError.Reason) -> WireError {
    WireError(reason: reason, offset: position - origin)
  }

  @inline(__always)
  mutating func varint() throws(WireError) -> UInt64 {
    guard position < end else { throw error(.truncated) }
    let first = position.load(as: UInt8.self)
    if first < 0x80 {
      position += 1
      return UInt64(first)
    }
    return try longVarint(first: UInt64(first & 0x7f))
  }

  /// Bits beyond the 64th are dropped, as every protobuf library does.
  private mutating func longVarint(first: UInt64) throws(WireError) -> UInt64 {
    var value = first
    var shift: UInt64 = 7
    var next = position + 1
    while shift < 70 {
      guard next < end else { throw error(.truncated) }
      let byte = next.load(as: UInt8.self)
      next += 1
      value |= UInt64(byte & 0x7f) &<< shift
      if byte < 0x80 {
        position = next
        return value
      }
      shift &+= 7
    }
    throw error(.varintTooLong)
  }

  /// Field number and wire type as they stand on the wire: `number << 3 | type`.
  @inline(__always)
  mutating func tag() throws(WireError) -> UInt32 {
    guard position < end else { throw error(.truncated) }
    let first = position.load(as: UInt8.self)
    if first < 0x80 && first >= 8 && first & 7 <= 5 {
      position += 1
      return UInt32(first)
    }
    return try longTag()
  }

  private mutating func longTag() throws(WireError) -> UInt32 {
    let start = self
    let value = try varint()
    guard value < UInt64(UInt32.max), value >= 8, value & 7 <= 5 else {
      throw start.error(.badTag)
    }
    return UInt32(truncatingIfNeeded: value)
  }

  /// The length of what follows, which lies within the message.
  @inline(__always)
  private mutating func length() throws(WireError) -> Int {
    let value = try varint()
    guard value <= UInt64(UInt(bitPattern: end - position)) else { throw error(.truncated) }
    return Int(truncatingIfNeeded: value)
  }

  /// A string's or a message's bytes, behind their length.
  @inline(__always)
  mutating func slice() throws(WireError) -> ByteSlice {
    let count = try length()
    let slice = ByteSlice(offset: offset, length: UInt32(truncatingIfNeeded: count))
    position += count
    return slice
  }

  /// A nested message; this cursor goes on behind it.
  @inline(__always)
  mutating func nested() throws(WireError) -> WireCursor {
    let count = try length()
    let inner = WireCursor(position: position, end: position + count, origin: origin)
    position += count
    return inner
  }

  @inline(__always)
  mutating func fixed64() throws(WireError) -> UInt64 {
    guard end - position >= 8 else { throw error(.truncated) }
    let value = UInt64(littleEndian: position.loadUnaligned(as: UInt64.self))
    position += 8
    return value
  }

  /// Passes over a field that we do not know, checking that it is well formed.
  mutating func skip(_ tag: UInt32) throws(WireError) {
    try skip(tag, depth: 0)
  }

  private mutating func skip(_ tag: UInt32, depth: Int) throws(WireError) {
    switch tag & 7 {
    case 0: _ = try varint()
    case 1: _ = try fixed64()
    case 2: position += try length()
    case 3: try skipGroup(tag >> 3, depth: depth + 1)
    case 5:
      guard end - position >= 4 else { throw error(.truncated) }
      position += 4
    default: throw error(.badTag)
    }
  }

  private mutating func skipGroup(_ number: UInt32, depth: Int) throws(WireError) {
    guard depth <= Self.groupDepthMax else { throw error(.tooDeep) }
    while true {
      let inner = try tag()
      if inner & 7 == 4 {
        guard inner >> 3 == number else { throw error(.badTag) }
        return
      }
      try skip(inner, depth: depth)
    }
  }
}
