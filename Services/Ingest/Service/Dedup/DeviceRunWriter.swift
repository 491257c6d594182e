import Store

/// Writes a run, window by window in the order of their places, over as many transactions as it takes.
struct DeviceRunWriter {
  /// So large are buckets at most, on the average, where the run is as large as it was said to be.
  private static let bucketBytes = 1_536

  let run: DeviceRun
  private var bucket: [UInt8] = []
  private var scratch: [UInt8] = []

  /// - Parameters:
  ///   - mergedFrom: the lowest order of the runs that it is merged from; nil: it is written out of memory.
  ///   - countMax: windows that it will hold at most.
  ///   - bytes: of its buckets together, about.
  init(
    number: Int64, order: Int64, mergedFrom: Int64?, countMax: Int, bytes: Int, _ connection: StoreConnection
  ) throws {
    var bits = 0
    while bytes >> bits > Self.bucketBytes, bits < DeviceRun.bucketBitsMax { bits += 1 }
    run = DeviceRun(
      number: number, order: order, level: mergedFrom == nil ? 0 : 1, mergedFrom: mergedFrom ?? order,
      bucketBits: bits)
    run.reserve(countMax)
    try connection.execute(
      "INSERT INTO device_run VALUES (?, ?, ?, ?, ?, 0, 0, ?)",
      [
        .integer(number), .integer(order), .integer(Int64(run.level)), .integer(run.mergedFrom),
        .integer(Int64(bits)), .integer(DeviceRuns.State.unfinished.rawValue),
      ])
  }

  /// Goes on with a run that another process, or a transaction that was rolled back, has begun: behind the buckets that its directory
  /// tells of.
  init(resuming run: DeviceRun, _ connection: StoreConnection) throws {
    self.run = run
    try connection.execute(
      "DELETE FROM device_bucket_\(run.level) WHERE number >= ? AND number < ?",
      [.integer(run.row(run.bucketsWritten)), .integer(run.rowEnd)])
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
      try save(.unfinished, connection)
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
    try save(.whole, connection)
  }

  private func save(_ state: DeviceRuns.State, _ connection: StoreConnection) throws {
    try connection.execute(
      "UPDATE device_run SET count = ?, bytes = ?, state = ? WHERE number = ?",
      [.integer(Int64(run.count)), .integer(Int64(run.bytes)), .integer(state.rawValue), .integer(run.number)])
  }
}
