/// Says of an event's identity that it is in quarantine for certain not, or perhaps: a Bloom filter of 1 MiB with two bits
/// for each. Answers without a look at the disk for every event that was never kept aside.
struct IdentityFilter {
  private static let bitCount: UInt64 = 1 << 23
  /// Beyond this many, more than one look in twenty is in vain.
  static let identitiesMax = 1 << 20

  private var words = [UInt64](repeating: 0, count: Int(bitCount / 64))
  private(set) var count = 0

  mutating func insert(_ hash: UInt64) {
    let (first, second) = Self.bits(hash)
    words[Int(first / 64)] |= 1 << (first % 64)
    words[Int(second / 64)] |= 1 << (second % 64)
    count += 1
  }

  @inline(__always)
  func mayHold(_ hash: UInt64) -> Bool {
    let (first, second) = Self.bits(hash)
    return isSet(first) && isSet(second)
  }

  @inline(__always)
  private func isSet(_ bit: UInt64) -> Bool { words[Int(bit / 64)] >> (bit % 64) & 1 == 1 }

  @inline(__always)
  private static func bits(_ hash: UInt64) -> (UInt64, UInt64) {
    (hash % bitCount, (hash &>> 32) % bitCount)
  }
}

/// What tells one event of an app from another: its device and number, or its id.
struct EventIdentity: Hashable, BitwiseCopyable, Sendable {
  let owner: Hash128
  /// 0 where `owner` is the id.
  let sequence: UInt64

  init(_ event: PreparedEvent, in batch: PreparedBatch) {
    owner = event.hasID ? event.id : batch.device
    sequence = event.hasID ? 0 : event.sequence
  }

  /// As it is stored.
  init?(bytes: UnsafeRawBufferPointer) {
    guard bytes.count == 24 else { return nil }
    owner = Hash128(
      high: bytes.loadUnaligned(as: UInt64.self),
      low: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    sequence = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
  }

  var bytes: [UInt8] {
    withUnsafeBytes(of: (owner.high, owner.low, sequence)) { Array($0) }
  }

  /// The owner's bits are random already; the number's are spread over the word.
  @inline(__always)
  func hash(app: Int64) -> UInt64 {
    let spread = (owner.low ^ UInt64(bitPattern: app)) &+ sequence &* 0x9E37_79B9_7F4A_7C15
    let product = spread.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    return product.high ^ product.low
  }
}
