import Store

/// The windows of all devices on disk, in runs: what is written together lies together, where a table by device would have
/// each on a page of its own to be read and written. Runs of like sizes are made one, a bit with each transaction, so that
/// there are few: each window is written again about once for every fourfold of devices.
///
/// Used by the writer only.
final class DeviceRuns {
  /// Stored in `device_run`: never change one.
  enum State: Int64 {
    /// Being written. After a crash it is deleted: what it was to hold is in the journal, or in the runs that it was merged of.
    case unfinished = 0
    case whole = 1
    /// Replaced by a merge. Its rows are deleted, a few with each transaction.
    case spent = 2
  }

  /// So many runs of like sizes are made one.
  private static let mergedAtLeast = 4
  private static let mergedAtMost = 16
  /// Bytes of merging for each byte that is written out of memory.
  private static let mergeFactor = 8
  private static let mergeBytesMin = 2_048
  /// Buckets that a transaction deletes at least.
  private static let deletedAtLeast = 16

  /// Whole ones, the newest first.
  private var runs: [DeviceRun] = []
  private var writer: DeviceRunWriter?
  private var merge: DeviceMerge?
  private var spent: [DeviceRun] = []
  /// Buckets of the first spent run that are deleted.
  private var deleted = 0
  private var next: Int64 = 1
  /// Bytes of a window on disk, about: of the run that was written last.
  private var windowBytes = 128
  /// Bytes written out of memory that no merge has followed yet.
  private var owed = 0
  /// Whether the table of an earlier release holds windows.
  private var hasOldTable = false

  /// Rows that were read to look for devices.
  private(set) var bucketReads = 0

  /// Windows on disk; one that several runs have counts as often.
  var count: Int { runs.reduce(0) { $0 + $1.count } }
  var runCount: Int { runs.count }

  // MARK: Reading

  /// Fills a window with what is known of its device.
  ///
  /// - Parameter window: all zero.
  func find(_ key: DeviceKey, _ window: DeviceWindow, _ connection: StoreConnection) throws {
    let place = DevicePlace(key)
    if let writer, try find(place, in: writer.run, window, connection) { return }
    for run in runs where try find(place, in: run, window, connection) { return }
    if hasOldTable { try findOld(key, window, connection) }
  }

  private func find(
    _ place: DevicePlace, in run: DeviceRun, _ window: DeviceWindow, _ connection: StoreConnection
  ) throws -> Bool {
    guard let bucket = run.mayHold(place) else { return false }
    bucketReads += 1
    return try run.find(place, in: bucket, window, connection)
  }

  private func findOld(_ key: DeviceKey, _ window: DeviceWindow, _ connection: StoreConnection) throws {
    let statement = try connection.statement(
      "SELECT state FROM device WHERE app = ? AND high = ? AND low = ?")
    defer { statement.reset() }
    try statement.bind(1, key.app)
    try statement.bind(2, Int64(bitPattern: key.device.high))
    try statement.bind(3, Int64(bitPattern: key.device.low))
    guard try statement.step() else { return }
    guard window.decode(statement.blob(0)) else {
      throw StoreError(.corrupt, "the state of a device in the table `device` is damaged")
    }
  }

  // MARK: Writing

  /// Begins a run of so many windows. Their buckets are `bucket(bits:)` of what it returns.
  func begin(count: Int, _ connection: StoreConnection) throws -> Int {
    precondition(writer == nil, "one run is written at a time")
    let made = try DeviceRunWriter(
      number: next, order: next, level: 0, countMax: count, bytes: count * windowBytes, connection)
    next += 1
    writer = made
    return made.run.bucketBits
  }

  /// The next window of the run, in the order of places. It can be found once its bucket is closed.
  func append(_ place: DevicePlace, _ window: [UInt8], _ connection: StoreConnection) throws {
    try writer!.append(place, window, connection)
    owed += window.count + DeviceEntry.headBytes
  }

  /// All windows of the buckets below one have come.
  func close(upTo bucket: Int, _ connection: StoreConnection) throws {
    try writer!.close(upTo: bucket, connection)
  }

  /// All windows of the run have come.
  func finish(_ connection: StoreConnection) throws {
    try writer!.finish(connection)
    let run = writer!.run
    writer = nil
    runs.insert(run, at: 0)
    if run.count > 0 { windowBytes = max(run.bytes / run.count, 1) }
  }

  /// A share of merging and deleting, with each transaction.
  func work(_ connection: StoreConnection) throws {
    let bytes = owed * Self.mergeFactor + Self.mergeBytesMin
    owed = 0
    if merge == nil, let inputs = alike() {
      merge = try DeviceMerge(inputs, number: next, connection)
      next += 1
    }
    if let run = try merge?.work(bytes: bytes, connection) { try replace(merge!.inputs, by: run, connection) }
    try deleteSpent(buckets: max(Self.deletedAtLeast, bytes / 512), connection)
  }

  /// The newest runs that follow one another and are each at most a quarter larger than the newer ones of them together.
  private func alike() -> [DeviceRun]? {
    for first in runs.indices {
      var bytes = runs[first].bytes
      var end = first + 1
      while end < runs.count, end - first < Self.mergedAtMost, runs[end].bytes <= bytes + bytes / 4 {
        bytes += runs[end].bytes
        end += 1
      }
      if end - first >= Self.mergedAtLeast { return Array(runs[first..<end]) }
    }
    return nil
  }

  private func replace(
    _ inputs: [DeviceRun], by run: DeviceRun, _ connection: StoreConnection
  ) throws {
    merge = nil
    let first = runs.firstIndex { $0 === inputs[0] }!
    runs.replaceSubrange(first..<first + inputs.count, with: [run])
    for input in inputs {
      try connection.execute(
        "UPDATE device_run SET state = ? WHERE number = ?",
        [.integer(State.spent.rawValue), .integer(input.number)])
    }
    // Of what they knew only the numbers of their rows are needed.
    spent += inputs.map { DeviceRun(number: $0.number, order: 0, level: $0.level, bucketBits: $0.bucketBits) }
  }

  private func deleteSpent(buckets: Int, _ connection: StoreConnection) throws {
    guard let run = spent.first else { return }
    let end = min(deleted + buckets, run.buckets)
    for table in ["device_bucket_\(run.level)", "device_directory"] {
      try connection.execute(
        "DELETE FROM \(table) WHERE number >= ? AND number < ?",
        [.integer(run.row(deleted)), .integer(run.row(end))])
    }
    deleted = end
    guard end == run.buckets else { return }
    try connection.execute("DELETE FROM device_run WHERE number = ?", [.integer(run.number)])
    spent.removeFirst()
    deleted = 0
  }

  // MARK: Start

  /// Reads which runs there are, and what they hold. Nothing is written: a full disk does not keep the log from starting.
  func load(_ connection: StoreConnection) throws {
    struct Stored {
      let run: DeviceRun
      let count: Int
      let state: Int64
    }
    let stored = try connection.query(
      "SELECT number, run_order, level, bucket_bits, count, bytes, state FROM device_run ORDER BY run_order DESC"
    ) { row in
      guard 0...1 ~= row.int(2), 0...DeviceRun.bucketBitsMax ~= row.int(3), 0...Int(UInt32.max) ~= row.int(4) else {
        throw StoreError(.corrupt, "the table `device_run` is damaged")
      }
      let run = DeviceRun(
        number: row.int64(0), order: row.int64(1), level: row.int(2), bucketBits: row.int(3))
      run.bytes = row.int(5)
      return Stored(run: run, count: row.int(4), state: row.int64(6))
    }
    for each in stored {
      next = max(next, each.run.number + 1, each.run.order + 1)
      guard each.state == State.whole.rawValue else {
        spent.append(each.run)
        continue
      }
      try each.run.load(count: each.count, connection)
      runs.append(each.run)
    }
    if let newest = runs.first, newest.count > 0 { windowBytes = max(newest.bytes / newest.count, 1) }
    hasOldTable = try connection.first("SELECT 1 FROM device LIMIT 1") { _ in true } ?? false
  }
}
