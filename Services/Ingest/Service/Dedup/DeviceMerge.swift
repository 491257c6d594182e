import Store

/// Makes one run of several that follow one another in order, over as many transactions as it takes: of a device that more
/// than one has, the newest window stays.
struct DeviceMerge {
  /// The runs that it makes one of, the newest first.
  let inputs: [DeviceRun]
  private var cursors: [DeviceRunCursor]
  private var writer: DeviceRunWriter
  private var window: [UInt8] = []

  init(_ inputs: [DeviceRun], number: Int64, _ connection: StoreConnection) throws {
    let bytes = inputs.map(\.bytes)
    let writer = try DeviceRunWriter(
      number: number, order: inputs[0].order, mergedFrom: inputs.last!.order,
      countMax: inputs.reduce(0) { $0 + $1.count },
      // Between the largest, where they have the same devices, and the sum, where they have none in common.
      bytes: max(bytes.max()!, bytes.reduce(0, +) / 2), connection)
    try self.init(inputs, writer, connection)
  }

  /// Goes on with a merge that has begun: see `DeviceRunWriter`.
  init(_ inputs: [DeviceRun], resuming run: DeviceRun, _ connection: StoreConnection) throws {
    try self.init(inputs, DeviceRunWriter(resuming: run, connection), connection)
  }

  private init(_ inputs: [DeviceRun], _ writer: DeviceRunWriter, _ connection: StoreConnection) throws {
    self.inputs = inputs
    self.writer = writer
    let start = writer.run.firstPlace(writer.run.bucketsWritten)
    cursors = inputs.map { DeviceRunCursor(run: $0, from: start) }
    for index in cursors.indices { try cursors[index].advance(connection) }
  }

  /// Goes on until so many bytes were read, or all.
  ///
  /// - Parameter bytes: what was read is taken off.
  /// - Returns: the run once it is whole.
  mutating func work(_ bytes: inout Int, _ connection: StoreConnection) throws -> DeviceRun? {
    while bytes > 0 {
      guard let newest = lowest() else {
        try writer.finish(connection)
        return writer.run
      }
      let place = cursors[newest].place!
      window.removeAll(keepingCapacity: true)
      cursors[newest].appendWindow(to: &window)
      try writer.append(place, window, connection)
      for index in newest..<cursors.count where cursors[index].place?.key == place.key {
        bytes -= DeviceEntry.headBytes + cursors[index].windowBytes
        try cursors[index].advance(connection)
      }
    }
    return nil
  }

  /// The cursor at the lowest place, the newest of those that stand there.
  private func lowest() -> Int? {
    var best: Int?
    for index in cursors.indices {
      guard let place = cursors[index].place else { continue }
      if let known = best, !(place < cursors[known].place!) { continue }
      best = index
    }
    return best
  }
}

/// Walks over the windows of a run in the order of their places.
private struct DeviceRunCursor {
  private let run: DeviceRun
  private let start: UInt64
  private var bucket: Int
  private var bytes: [UInt8] = []
  private var position = 0
  /// Windows of the bucket that have not been come to.
  private var left = 0
  private var window = 0..<0
  /// nil before the first window and after the last.
  private(set) var place: DevicePlace?

  /// - Parameter start: windows at lower places are passed over.
  init(run: DeviceRun, from start: UInt64) {
    self.run = run
    self.start = start
    bucket = DevicePlace.bucket(of: start, bits: run.bucketBits)
  }

  var windowBytes: Int { window.count }

  func appendWindow(to bytes: inout [UInt8]) { bytes.append(contentsOf: self.bytes[window]) }

  mutating func advance(_ connection: StoreConnection) throws {
    repeat {
      while position == bytes.count {
        guard left == 0 else { throw run.damaged }
        guard try readBucket(connection) else {
          place = nil
          return
        }
      }
      let entry = bytes.withUnsafeBytes { DeviceEntry.read($0, at: position) }
      guard let entry, left > 0, place.map({ $0 < entry.place }) ?? true else { throw run.damaged }
      (place, window, position, left) = (entry.place, entry.window, entry.window.upperBound, left - 1)
    } while place!.place < start
  }

  private mutating func readBucket(_ connection: StoreConnection) throws -> Bool {
    while bucket < run.buckets, run.count(bucket) == 0 { bucket += 1 }
    guard bucket < run.buckets else { return false }
    let found = try connection.first(
      "SELECT entries FROM device_bucket_\(run.level) WHERE number = ?", [.integer(run.row(bucket))]
    ) { $0.bytes(0) }
    guard let found else { throw run.damaged }
    (bytes, position, left) = (found, 0, run.count(bucket))
    bucket += 1
    return true
  }
}
