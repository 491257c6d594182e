import Store

/// A device and where runs have it: by `place`, then by key.
struct DevicePlace: BitwiseCopyable, Sendable {
  let place: UInt64
  let key: DeviceKey

  init(_ key: DeviceKey) {
    self.key = key
    // The device's bits are a keyed hash, so that places are spread evenly; the factors only mix in what is left.
    let app = UInt64(bitPattern: key.app) &* 0xD1B5_4A32_D192_ED03
    place = (key.device.high ^ app) &* 0x9E37_79B9_7F4A_7C15
  }

  /// Which of 2^bits buckets of a run it lies in.
  func bucket(bits: Int) -> Int { Self.bucket(of: place, bits: bits) }

  static func bucket(of place: UInt64, bits: Int) -> Int { bits == 0 ? 0 : Int(place >> UInt64(64 - bits)) }

  /// 16 bits that tell most other devices of the bucket from this one. They are on disk: never change them.
  var fingerprint: UInt16 { UInt16(truncatingIfNeeded: key.device.low) }

  static func < (a: DevicePlace, b: DevicePlace) -> Bool {
    if a.place != b.place { return a.place < b.place }
    if a.key.app != b.key.app { return a.key.app < b.key.app }
    if a.key.device.high != b.key.device.high { return a.key.device.high < b.key.device.high }
    return a.key.device.low < b.key.device.low
  }
}

/// A window in a bucket: `app: 8 | high: 8 | low: 8 | bytes: 2 | window`, little-endian.
struct DeviceEntry {
  static let headBytes = 26

  let place: DevicePlace
  /// Of the encoded window within the bucket.
  let window: Range<Int>

  static func append(_ key: DeviceKey, _ window: [UInt8], to bucket: inout [UInt8]) {
    append(key.app, to: &bucket)
    append(key.device.high, to: &bucket)
    append(key.device.low, to: &bucket)
    append(UInt16(window.count), to: &bucket)
    bucket.append(contentsOf: window)
  }

  private static func append<T: FixedWidthInteger>(_ value: T, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// - Returns: nil where no entry begins there.
  static func read(_ bytes: UnsafeRawBufferPointer, at position: Int) -> DeviceEntry? {
    guard bytes.count - position >= headBytes else { return nil }
    let word = { UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position + $0, as: UInt64.self)) }
    let count = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: position + 24, as: UInt16.self)))
    let start = position + headBytes
    guard count >= DeviceWindow.encodedBytesMin, bytes.count - start >= count else { return nil }
    let key = DeviceKey(app: Int64(bitPattern: word(0)), device: Hash128(high: word(8), low: word(16)))
    return DeviceEntry(place: DevicePlace(key), window: start..<start + count)
  }
}

/// Windows of devices that were written together, in the order of `DevicePlace`: 2^bits buckets, each a row. In memory is
/// which bucket has which fingerprints, 2 bytes for each window and 4 for each bucket: where a run does not have a device, no
/// row of it is read, but for one of 65,536 comparisons.
final class DeviceRun {
  static let bucketBitsMax = 24
  /// Buckets whose fingerprints are one row of the directory.
  static let groupBuckets = 64
  /// Beyond these a stored run is damaged: so many are never written.
  static let numberMax: Int64 = 1 << 38
  static let bytesMax = 1 << 48
  private static let reservedMax = 1 << 26

  let number: Int64
  /// Of two runs that have a device, the one with the higher order knows more.
  let order: Int64
  /// 0: written out of memory; 1: merged from other runs. Each kind has a table, so that rows are only ever appended.
  let level: Int
  /// The lowest order of the runs that it is merged from; its own where it is not.
  let mergedFrom: Int64
  let bucketBits: Int
  /// Of all buckets.
  var bytes = 0
  /// Where the fingerprints of each bucket that is written begin, and the end.
  private(set) var starts: [UInt32] = [0]
  private(set) var fingerprints: [UInt16] = []

  init(number: Int64, order: Int64, level: Int, mergedFrom: Int64, bucketBits: Int) {
    self.number = number
    self.order = order
    self.level = level
    self.mergedFrom = mergedFrom
    self.bucketBits = bucketBits
  }

  var count: Int { fingerprints.count }
  var buckets: Int { 1 << bucketBits }
  var bucketsWritten: Int { starts.count - 1 }

  /// For so many windows at most.
  func reserve(_ count: Int) {
    starts.reserveCapacity(buckets + 1)
    fingerprints.reserveCapacity(min(count, Self.reservedMax))
  }

  func append(_ fingerprint: UInt16) { fingerprints.append(fingerprint) }
  func closeBucket() { starts.append(UInt32(fingerprints.count)) }

  /// The lowest place that lies in a bucket.
  func firstPlace(_ bucket: Int) -> UInt64 { bucketBits == 0 ? 0 : UInt64(bucket) << UInt64(64 - bucketBits) }

  /// Windows in a bucket.
  func count(_ bucket: Int) -> Int { Int(starts[bucket + 1] - starts[bucket]) }

  func row(_ bucket: Int) -> Int64 { number << Int64(Self.bucketBitsMax) + Int64(bucket) }
  /// Beyond the last bucket that a run can have.
  var rowEnd: Int64 { (number + 1) << Int64(Self.bucketBitsMax) }

  /// The bucket in which a device may lie; nil: the run does not have it.
  func mayHold(_ place: DevicePlace) -> Int? {
    let bucket = place.bucket(bits: bucketBits)
    guard bucket < bucketsWritten else { return nil }
    let fingerprint = place.fingerprint
    return fingerprints.withUnsafeBufferPointer { all in
      for index in Int(starts[bucket])..<Int(starts[bucket + 1]) where all[index] == fingerprint {
        return bucket
      }
      return nil
    }
  }

  /// - Returns: false where the run does not have the device after all.
  func find(
    _ place: DevicePlace, in bucket: Int, _ window: DeviceWindow, _ connection: StoreConnection
  ) throws -> Bool {
    let statement = try connection.statement("SELECT entries FROM device_bucket_\(level) WHERE number = ?")
    defer { statement.reset() }
    try statement.bind(1, row(bucket))
    guard try statement.step() else { throw damaged }
    let bytes = statement.blob(0)
    var (position, seen) = (0, 0)
    while position < bytes.count {
      guard let entry = DeviceEntry.read(bytes, at: position), entry.place.bucket(bits: bucketBits) == bucket
      else { throw damaged }
      if entry.place.key == place.key {
        guard window.decode(UnsafeRawBufferPointer(rebasing: bytes[entry.window])) else { throw damaged }
        return true
      }
      position = entry.window.upperBound
      seen += 1
    }
    guard seen == count(bucket) else { throw damaged }
    return false
  }

  var damaged: StoreError { StoreError(.corrupt, "run \(number) of the devices' windows is damaged") }

  /// All that is needed to delete it.
  var withoutDirectory: DeviceRun {
    DeviceRun(number: number, order: order, level: level, mergedFrom: mergedFrom, bucketBits: bucketBits)
  }

  // MARK: Directory

  /// The fingerprints of a group of buckets: of each how many, 4 bytes, and then these.
  func encodeGroup(upTo end: Int, into bytes: inout [UInt8]) -> Int64 {
    let first = (end - 1) / Self.groupBuckets * Self.groupBuckets
    bytes.removeAll(keepingCapacity: true)
    for bucket in first..<end {
      let own = Int(starts[bucket])..<Int(starts[bucket + 1])
      Self.append(UInt32(own.count), to: &bytes)
      for index in own { Self.append(fingerprints[index], to: &bytes) }
    }
    return row(first)
  }

  private static func append<T: FixedWidthInteger>(_ value: T, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// Reads the directory of a run that is whole, or as far as one that is being written has come.
  func load(count: Int, isWhole: Bool, _ connection: StoreConnection) throws {
    reserve(count)
    let statement = try connection.statement(
      "SELECT entries FROM device_directory WHERE number >= ? AND number < ? ORDER BY number")
    defer { statement.reset() }
    try statement.bind(1, row(0))
    try statement.bind(2, rowEnd)
    while try statement.step() { try decodeGroup(statement.blob(0), countMax: count) }
    guard self.count == count, isWhole ? bucketsWritten == buckets : bucketsWritten < buckets else { throw damaged }
  }

  private func decodeGroup(_ bytes: UnsafeRawBufferPointer, countMax: Int) throws {
    var position = 0
    while position < bytes.count {
      guard bytes.count - position >= 4 else { throw damaged }
      let own = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
      position += 4
      guard (bytes.count - position) / 2 >= own, count + own <= countMax else { throw damaged }
      for index in 0..<own {
        let value = bytes.loadUnaligned(fromByteOffset: position + index * 2, as: UInt16.self)
        append(UInt16(littleEndian: value))
      }
      closeBucket()
      position += own * 2
    }
  }
}
