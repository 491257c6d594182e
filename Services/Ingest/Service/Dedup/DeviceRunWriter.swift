import Store

/// Writes a run, window by window in the order of their places, over as many transactions as it takes.
struct DeviceRunWriter {
  /// So large are buckets on the average at most; half of it at least.
  private static let bucketBytes = 1_536

  let run: DeviceRun
  private var bucket: [UInt8] = []
  private var scratch: [UInt8] = []

  /// - Parameters:
  ///   - countMax: windows that it will hold at most.
  ///   - bytes: of its buckets together, about.
  init(
    number: Int64, order: Int64, level: Int, countMax: Int, bytes: Int, _ connection: StoreConnection
  ) throws {
    var bits = 0
    while bytes >> bits > Self.bucketBytes, bits < DeviceRun.bucketBitsMax { bits += 1 }
    run = DeviceRun(number: number, order: order, level: level, bucketBits: bits)
    run.reserve(countMax)
    // A start that finds it like this deletes it.
    try connection.execute(
      "INSERT INTO device_run VALUES (?, ?, ?, ?, 0, 0, ?)",
      [
        .integer(number), .integer(order), .integer(Int64(level)), .integer(Int64(bits)),
        .integer(DeviceRuns.State.unfinished.rawValue),
      ])
  }

  mutating func append(_ place: DevicePlace, _ window: [UInt8], _ connection: StoreConnection) throws {
    try close(upTo: place.bucket(bits: run.bucketBits), connection)
    DeviceEntry.append(place.key, window, to: &bucket)
    run.append(place.fingerprint)
  }

  /// Writes the buckets below one.
  mutating func close(upTo end: Int, _ connection: StoreConnection) throws {
    precondition(end >= run.bucketsWritten, "windows come in the order of their places")
    while run.bucketsWritten < end {
      try writeBucket(connection)
      run.closeBucket()
      let written = run.bucketsWritten
      guard written % DeviceRun.groupBuckets == 0 || written == run.buckets else { continue }
      let row = run.encodeGroup(upTo: written, into: &scratch)
      try Self.insert("device_directory", row, scratch, connection)
    }
  }

  private mutating func writeBucket(_ connection: StoreConnection) throws {
    guard !bucket.isEmpty else { return }
    try Self.insert("device_bucket_\(run.level)", run.row(run.bucketsWritten), bucket, connection)
    run.bytes += bucket.count
    bucket.removeAll(keepingCapacity: true)
  }

  private static func insert(
    _ table: String, _ row: Int64, _ bytes: [UInt8], _ connection: StoreConnection
  ) throws {
    let insert = try connection.statement("INSERT INTO \(table) VALUES (?, ?)")
    try insert.bind(1, row)
    try bytes.withUnsafeBytes { bytes in
      try insert.bind(2, blob: bytes)
      try insert.run()
    }
  }

  /// Writes what is left: the run is whole.
  mutating func finish(_ connection: StoreConnection) throws {
    try close(upTo: run.buckets, connection)
    try connection.execute(
      "UPDATE device_run SET count = ?, bytes = ?, state = ? WHERE number = ?",
      [
        .integer(Int64(run.count)), .integer(Int64(run.bytes)),
        .integer(DeviceRuns.State.whole.rawValue), .integer(run.number),
      ])
  }
}
