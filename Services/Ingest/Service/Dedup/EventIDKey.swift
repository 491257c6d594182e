/// 96 bits that stand for an event's id within its app: two of 10^9 ids have the same ones with a chance of 10^-11.
package struct EventIDKey: Hashable, BitwiseCopyable, Sendable {
  let high: UInt64
  let low: UInt32

  init(high: UInt64, low: UInt32) {
    self.high = high
    self.low = low
  }

  package init(_ id: Hash128, app: Int64) {
    high = id.high ^ UInt64(bitPattern: app) &* 0x9E37_79B9_7F4A_7C15
    low = UInt32(truncatingIfNeeded: id.low)
  }

  // A keyed hash already: hashing it again would only cost time.
  package func _rawHashValue(seed: Int) -> Int {
    Int(truncatingIfNeeded: high &* 0x9E37_79B9_7F4A_7C15 >> 16) ^ seed
  }

  /// Which of 2^bits buckets of a sealed run the id lies in.
  func bucket(bits: Int) -> Int { bits == 0 ? 0 : Int(high >> UInt64(64 - bits)) }
}

/// An id and 32 bits of the hash of its event's content, as 16 bytes on disk: `high`, `low`, `content`, little-endian.
struct EventIDEntry: BitwiseCopyable, Sendable {
  static let byteCount = 16

  let key: EventIDKey
  let content: UInt32

  func append(to bytes: inout [UInt8]) {
    withUnsafeBytes(of: key.high.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: key.low.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: content.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// - Parameter index: of the entry within the bytes.
  @inline(__always)
  static func read(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> EventIDEntry {
    let start = index &* byteCount
    let low = bytes.loadUnaligned(fromByteOffset: start &+ 8, as: UInt32.self)
    let content = bytes.loadUnaligned(fromByteOffset: start &+ 12, as: UInt32.self)
    return EventIDEntry(
      key: EventIDKey(
        high: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self)),
        low: UInt32(littleEndian: low)),
      content: UInt32(littleEndian: content))
  }
}
