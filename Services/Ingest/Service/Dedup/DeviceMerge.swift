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
    self.inputs = inputs
    cursors = inputs.map { DeviceRunCursor(run: $0) }
    let sum = { (figure: (DeviceRun) -> Int) in inputs.reduce(0) { $0 + figure($1) } }
    writer = try DeviceRunWriter(
      number: number, order: inputs[0].order, level: 1, countMax: sum { $0.count }, bytes: sum { $0.bytes },
      connection)
    for index in cursors.indices { try cursors[index].advance(connection) }
  }

  /// Goes on until so many bytes were read, or all.
  ///
  /// - Returns: the run once it is whole.
  mutating func work(bytes: Int, _ connection: StoreConnection) throws -> DeviceRun? {
    var done = 0
    while done < bytes {
      guard let newest = lowest() else {
        try writer.finish(connection)
        return writer.run
      }
      let place = cursors[newest].place!
      window.removeAll(keepingCapacity: true)
      cursors[newest].appendWindow(to: &window)
      try writer.append(place, window, connection)
      for index in newest..<cursors.count where cursors[index].place?.key == place.key {
        done += DeviceEntry.headBytes + cursors[index].windowBytes
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
  private var bucket = 0
  private var bytes: [UInt8] = []
  private var position = 0
  private var window = 0..<0
  /// nil before the first window and after the last.
  private(set) var place: DevicePlace?

  init(run: DeviceRun) { self.run = run }

  var windowBytes: Int { window.count }

  func appendWindow(to bytes: inout [UInt8]) { bytes.append(contentsOf: self.bytes[window]) }

  mutating func advance(_ connection: StoreConnection) throws {
    while position == bytes.count {
      guard try readBucket(connection) else {
        place = nil
        return
      }
    }
    let entry = bytes.withUnsafeBytes { DeviceEntry.read($0, at: position) }
    guard let entry, place.map({ $0 < entry.place }) ?? true else { throw run.damaged }
    (place, window, position) = (entry.place, entry.window, entry.window.upperBound)
  }

  private mutating func readBucket(_ connection: StoreConnection) throws -> Bool {
    while bucket < run.buckets, run.isEmpty(bucket) { bucket += 1 }
    guard bucket < run.buckets else { return false }
    let found = try connection.first(
      "SELECT entries FROM device_bucket_\(run.level) WHERE number = ?", [.integer(run.row(bucket))]
    ) { $0.bytes(0) }
    guard let found else { throw run.damaged }
    (bytes, position) = (found, 0)
    bucket += 1
    return true
  }
}
