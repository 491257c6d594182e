import Store

/// What the windows of one transaction took in, as one row of a journal: 36 bytes for each device and 4 for each event, where
/// the windows themselves would be up to 648 bytes each, on pages that lie far apart.
///
/// A row is runs behind one another, little-endian:
///
/// ```
/// | app: Int64 | high: UInt64 | low: UInt64 | first sequence: UInt64 | count: UInt32 | contents: count x UInt32 |
/// ```
///
/// Where the highest bit of `count` is set, the numbers came and were not kept (`DeviceWindow.excuse`): no contents follow.
struct DeviceJournal {
  private static let headBytes = 36

  private(set) var bytes: [UInt8] = []
  /// Where the open run begins; nil: none.
  private var run: Int?
  private var runKey = DeviceKey(app: 0, device: .zero)
  private var runEnd: UInt64 = 0
  private var runCount: UInt32 = 0
  private var runIsKept = true
  private static let notKept: UInt32 = 1 << 31

  /// A number that its window has taken in.
  ///
  /// - Parameter content: nil: the number is excused only.
  mutating func note(_ key: DeviceKey, _ sequence: UInt64, content: UInt64?) {
    let isKept = content != nil
    if run == nil || sequence != runEnd || key != runKey || isKept != runIsKept {
      begin(key, sequence, isKept)
    }
    if let content { append(UInt32(truncatingIfNeeded: content)) }
    runEnd = sequence &+ 1
    runCount += 1
  }

  private mutating func begin(_ key: DeviceKey, _ sequence: UInt64, _ isKept: Bool) {
    close()
    runIsKept = isKept
    run = bytes.count
    runKey = key
    append(key.app)
    append(key.device.high)
    append(key.device.low)
    append(sequence)
    append(UInt32(0))
  }

  /// Ends the open run. To be called before the bytes are read.
  mutating func close() {
    guard let start = run else { return }
    withUnsafeBytes(of: (runCount | (runIsKept ? 0 : Self.notKept)).littleEndian) { count in
      for index in 0..<4 { bytes[start + Self.headBytes - 4 + index] = count[index] }
    }
    run = nil
    runCount = 0
  }

  mutating func removeAll() {
    precondition(run == nil, "the journal is closed before it is emptied")
    bytes.removeAll(keepingCapacity: true)
  }

  private mutating func append<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// Gives every number of a row, in the order in which they were taken in.
  ///
  /// - Throws: `corrupt` where the bytes are no runs.
  static func read(
    _ bytes: UnsafeRawBufferPointer, _ body: (DeviceKey, UInt64, UInt64?) throws -> Void
  ) throws {
    var position = 0
    while position < bytes.count {
      guard bytes.count - position >= headBytes else { throw damaged }
      let word = { UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position + $0, as: UInt64.self)) }
      let key = DeviceKey(
        app: Int64(bitPattern: word(0)), device: Hash128(high: word(8), low: word(16)))
      let first = word(24)
      let word32 = UInt32(
        littleEndian: bytes.loadUnaligned(fromByteOffset: position + 32, as: UInt32.self))
      let count = Int(word32 & ~notKept)
      position += headBytes
      guard first > 0, count > 0, first <= UInt64(Int64.max) else { throw damaged }
      if word32 & notKept != 0 {
        for index in 0..<count { try body(key, first &+ UInt64(index), nil) }
        continue
      }
      guard (bytes.count - position) / 4 >= count else { throw damaged }
      for index in 0..<count {
        let content = bytes.loadUnaligned(fromByteOffset: position + index * 4, as: UInt32.self)
        try body(key, first &+ UInt64(index), UInt64(UInt32(littleEndian: content)))
      }
      position += count * 4
    }
  }

  private static let damaged = StoreError(.corrupt, "a row of the devices' journal is damaged")
}
