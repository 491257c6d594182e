import Events

/// The payload of a row of kind `batches`: what several batches of one app were appended as, together.
///
/// ```
/// +------------+------------------+---------------------------------------+
/// | count: u32 | count x 32 bytes | the batches' bytes, one after another |
/// +------------+------------------+---------------------------------------+
/// 32 bytes: received_ms i64, clock_offset_ms i64, events u32, flags u32, bytes u32, CRC-32C of the bytes u32
/// ```
///
/// Little-endian. The row's checksum covers the index, which is all before the batches' bytes; the index covers each batch.
enum PackedBatches {
  /// What the index says of a batch.
  struct Entry: Sendable, BitwiseCopyable {
    var receivedMilliseconds: Int64
    var clockOffsetMilliseconds: Int64
    var events: UInt32
    var flags: UInt32
    var bytes: UInt32
    var checksum: UInt32

    var isImport: Bool { flags & Self.importFlag != 0 }
    /// Its bytes are zeros, and stand for none.
    var isErased: Bool { flags & Self.erasedFlag != 0 }

    init(_ clock: EventClock, events: Int, payload: [UInt8], checksum: UInt32) {
      receivedMilliseconds = clock.receivedMilliseconds
      clockOffsetMilliseconds = clock.offsetMilliseconds
      self.events = UInt32(events)
      flags = clock.isImport ? Self.importFlag : 0
      bytes = UInt32(payload.count)
      self.checksum = checksum
    }

    fileprivate init(_ index: UnsafeRawBufferPointer, _ number: Int) {
      func word<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _: T.Type) -> T {
        T(littleEndian: index.loadUnaligned(fromByteOffset: Self.start(number) + offset, as: T.self))
      }
      receivedMilliseconds = word(0, Int64.self)
      clockOffsetMilliseconds = word(8, Int64.self)
      events = word(16, UInt32.self)
      flags = word(20, UInt32.self)
      bytes = word(24, UInt32.self)
      checksum = word(28, UInt32.self)
    }

    fileprivate func withBytes<T>(_ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
      let words = (
        receivedMilliseconds.littleEndian, clockOffsetMilliseconds.littleEndian, events.littleEndian,
        flags.littleEndian, bytes.littleEndian, checksum.littleEndian
      )
      return try withUnsafeBytes(of: words, body)
    }

    /// Where the index says of a batch what it says.
    fileprivate static func start(_ number: Int) -> Int { countBytes + number * entryBytes }

    private static let importFlag: UInt32 = 1
    private static let erasedFlag: UInt32 = 2

    fileprivate mutating func erase(checksum: UInt32) {
      flags |= Self.erasedFlag
      self.checksum = checksum
    }
  }

  private static let countBytes = 4
  static let entryBytes = 32

  static func indexBytes(_ count: Int) -> Int { countBytes + count * entryBytes }

  // MARK: Writing

  /// Begins a payload of so many batches with its index; their bytes follow.
  static func appendIndex(_ entries: some Collection<Entry>, to payload: inout [UInt8]) {
    withUnsafeBytes(of: UInt32(entries.count).littleEndian) { payload.append(contentsOf: $0) }
    for entry in entries { entry.withBytes { payload.append(contentsOf: $0) } }
  }

  /// Overwrites batches with zeros, in a payload that is as it was written.
  ///
  /// - Parameter numbers: of the batches.
  /// - Returns: how many events they held.
  static func erase(_ numbers: [Int], from payload: inout [UInt8]) -> Int {
    let wanted = Set(numbers)
    var events = 0
    var end = payload.withUnsafeBytes { index(of: $0)?.count ?? 0 }
    for number in 0..<count(inIndexOf: end) {
      var entry = payload.withUnsafeBytes { Entry($0, number) }
      let start = end
      end += Int(entry.bytes)
      guard wanted.contains(number), !entry.isErased else { continue }
      for position in start..<end { payload[position] = 0 }
      entry.erase(checksum: payload.withUnsafeBytes { CRC32C.checksum(.init(rebasing: $0[start..<end])) })
      entry.withBytes { bytes in
        let place = Entry.start(number)
        payload.replaceSubrange(place..<place + entryBytes, with: bytes)
      }
      events += Int(entry.events)
    }
    return events
  }

  // MARK: Reading

  /// The index of a payload; nil where it does not fit what follows.
  static func index(of payload: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard payload.count >= countBytes else { return nil }
    let count = Int(UInt32(littleEndian: payload.loadUnaligned(as: UInt32.self)))
    let bytes = indexBytes(count)
    guard count > 0, bytes <= payload.count else { return nil }
    let index = UnsafeRawBufferPointer(rebasing: payload[..<bytes])
    var end = bytes
    for number in 0..<count { end += Int(Entry(index, number).bytes) }
    return end == payload.count ? index : nil
  }

  private static func count(inIndexOf bytes: Int) -> Int { (bytes - countBytes) / entryBytes }

  /// - Parameter index: from `index(of:)`.
  static func entries(_ index: UnsafeRawBufferPointer) -> some Collection<Entry> {
    (0..<count(inIndexOf: index.count)).lazy.map { Entry(index, $0) }
  }
}
