import Store

/// The windows of all devices on disk, in runs: what is written together lies together, where a table by device would have
/// each on a page of its own to be read and written. Runs of like sizes are made one, a bit with each transaction: each window is
/// written again about once for every fourfold of devices, and there are about a dozen runs, more while a large merge takes long.
///
/// Used by the writer only.
final class DeviceRuns {
  /// Stored in `device_run`: never change one.
  enum State: Int64 {
    /// Being written. After a crash a merge goes on where it was; what was written out of memory is deleted, for the journal has it.
    case unfinished = 0
    case whole = 1
    /// Replaced by a merge. Its rows are deleted, a few with each transaction.
    case spent = 2
  }

  /// So many runs of like sizes are made one.
  private static let mergedAtLeast = 4
  private static let mergedAtMost = 16
  /// Bytes of merging for each byte that is written out of memory; twice as many with twice as many runs as these.
  private static let mergeFactor = 8
  private static let usualRuns = 8
  /// Bytes of merging in a transaction: everybody waits for it.
  private static let mergeBytesMin = 2_048
  private static let mergeBytesMax = 512 << 10
  /// Rows that a transaction deletes at least. A merge reads rows of 256 bytes at least, but for small runs.
  private static let deletedAtLeast = 16
  private static let rowBytes = 256

  /// Whole ones, the newest first.
  private var runs: [DeviceRun] = []
  private var writer: DeviceRunWriter?
  private var merge: DeviceMerge?
  /// A merge that another process has begun.
  private var begun: DeviceRun?
  /// Their rows are to be deleted.
  private var spent: [DeviceRun] = []
  private var next: Int64 = 1
  /// Bytes of a window on disk, about: of the run that was written last.
  private var windowBytes = 128
  /// Bytes written out of memory in this transaction, and bytes of merging that are due.
  private var written = 0
  private var due = 0
  /// Whether the table of an earlier release holds windows.
  private var hasOldTable = false

  /// Rows that were read to look for devices.
  private(set) var bucketReads = 0

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
      number: next, order: next, mergedFrom: nil, countMax: count, bytes: count * windowBytes, connection)
    next += 1
    writer = made
    return made.run.bucketBits
  }

  /// The next window of the run, in the order of places. It can be found once its bucket is closed.
  func append(_ place: DevicePlace, _ window: [UInt8], _ connection: StoreConnection) throws {
    try writer!.append(place, window, connection)
    written += window.count + DeviceEntry.headBytes
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
    due += written * Self.mergeFactor * max(runs.count / Self.usualRuns, 1) + Self.mergeBytesMin
    written = 0
    var bytes = min(due, Self.mergeBytesMax)
    due -= bytes
    try deleteSpent(rows: max(Self.deletedAtLeast, bytes / Self.rowBytes), connection)
    while bytes > 0 {
      if merge == nil { merge = try nextMerge(connection) }
      guard merge != nil else {
        due = 0
        return
      }
      guard let run = try merge!.work(&bytes, connection) else { return }
      try replace(merge!.inputs, by: run, connection)
    }
  }

  private func nextMerge(_ connection: StoreConnection) throws -> DeviceMerge? {
    if let run = begun {
      begun = nil
      let inputs = runs.filter { run.mergedFrom...run.order ~= $0.order }
      guard inputs.count > 1 else { throw run.damaged }
      return try DeviceMerge(inputs, resuming: run, connection)
    }
    guard let inputs = alike() else { return nil }
    next += 1
    return try DeviceMerge(inputs, number: next - 1, connection)
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
    spent += inputs.map { $0.withoutDirectory }
  }

  private func deleteSpent(rows: Int, _ connection: StoreConnection) throws {
    var left = rows
    while left > 0, let run = spent.first {
      left -= try delete("device_bucket_\(run.level)", of: run, rows: left, connection)
      if left > 0 { left -= try delete("device_directory", of: run, rows: left, connection) }
      guard left > 0 else { return }
      try connection.execute("DELETE FROM device_run WHERE number = ?", [.integer(run.number)])
      spent.removeFirst()
      left -= 1
    }
  }

  /// The first rows of those that are there.
  private func delete(
    _ table: String, of run: DeviceRun, rows: Int, _ connection: StoreConnection
  ) throws -> Int {
    let last = try connection.first(
      "SELECT number FROM \(table) WHERE number >= ? AND number < ? ORDER BY number LIMIT 1 OFFSET ?",
      [.integer(run.row(0)), .integer(run.rowEnd), .integer(Int64(rows - 1))]
    ) { $0.int64(0) }
    try connection.execute(
      "DELETE FROM \(table) WHERE number >= ? AND number < ?",
      [.integer(run.row(0)), .integer(last.map { $0 + 1 } ?? run.rowEnd)])
    return connection.changes
  }

  // MARK: Start

  private struct Stored {
    let run: DeviceRun
    let count: Int
    let state: State

    init(_ row: StoreStatement) throws {
      let damaged = StoreError(.corrupt, "the table `device_run` is damaged")
      guard 1..<DeviceRun.numberMax ~= row.int64(0), 1..<DeviceRun.numberMax ~= row.int64(1), 0...1 ~= row.int(2),
        0...DeviceRun.bucketBitsMax ~= row.int(4), 0...Int(UInt32.max) ~= row.int(5),
        0..<DeviceRun.bytesMax ~= row.int(6), let state = State(rawValue: row.int64(7))
      else { throw damaged }
      run = DeviceRun(
        number: row.int64(0), order: row.int64(1), level: row.int(2), mergedFrom: row.int64(3),
        bucketBits: row.int(4))
      run.bytes = row.int(6)
      count = row.int(5)
      self.state = state
    }
  }

  /// Reads which runs there are, and what they hold. Nothing is written: a full disk does not keep the log from starting.
  func load(_ connection: StoreConnection) throws {
    let stored = try connection.query(
      """
      SELECT number, run_order, level, merged_from, bucket_bits, count, bytes, state FROM device_run
      ORDER BY run_order DESC
      """) { try Stored($0) }
    for each in stored {
      let run = each.run
      next = max(next, run.number + 1, run.order + 1)
      switch each.state {
      case .whole:
        try run.load(count: each.count, isWhole: true, connection)
        runs.append(run)
      case .unfinished where run.level == 1 && begun == nil:
        try run.load(count: each.count, isWhole: false, connection)
        begun = run
      case .unfinished, .spent: spent.append(run)
      }
    }
    if let newest = runs.first, newest.count > 0 { windowBytes = max(newest.bytes / newest.count, 1) }
    hasOldTable = try connection.first("SELECT 1 FROM device LIMIT 1") { _ in true } ?? false
  }
}
