import Events

/// A record as subscribers get it, in place: valid as long as its row.
struct LogRecord {
  let firstOffset: UInt64
  let count: UInt64
  /// Never `batches`: each of these is a `batch`.
  let kind: RecordKind
  let receivedMilliseconds: Int64
  let clockOffsetMilliseconds: Int64
  let isImport: Bool
  /// Of a batch whose user was erased: none.
  let payload: UnsafeRawBufferPointer
  /// The payload's CRC-32C.
  let checksum: UInt32
  /// What lies in the file, and its CRC-32C where it is as it was written; nil: the row's checksum has vouched for it.
  private let stored: (bytes: UnsafeRawBufferPointer, checksum: UInt32)?

  /// Follows the record's last offset.
  var end: UInt64 { firstOffset &+ count }

  /// Whether the payload is as it was written.
  func isIntact() -> Bool {
    guard let stored else { return true }
    return CRC32C.checksum(stored.bytes) == stored.checksum
  }

  /// - Parameter checksum: of the payload, which is as it was written.
  fileprivate init(_ header: LogRowHeader, _ kind: RecordKind, _ payload: UnsafeRawBufferPointer, checksum: UInt32) {
    firstOffset = header.firstOffset
    count = UInt64(header.count)
    self.kind = kind
    receivedMilliseconds = header.receivedMilliseconds
    clockOffsetMilliseconds = header.clockOffsetMilliseconds
    isImport = header.importFlag != 0
    self.payload = payload
    self.checksum = checksum
    stored = nil
  }

  fileprivate init(_ entry: PackedBatches.Entry, at offset: UInt64, _ bytes: UnsafeRawBufferPointer) {
    firstOffset = offset
    count = UInt64(entry.events)
    kind = .batch
    receivedMilliseconds = entry.receivedMilliseconds
    clockOffsetMilliseconds = entry.clockOffsetMilliseconds
    isImport = entry.isImport
    payload = entry.isErased ? UnsafeRawBufferPointer(start: nil, count: 0) : bytes
    checksum = entry.isErased ? 0 : entry.checksum
    stored = (bytes, entry.checksum)
  }
}

extension LogRow {
  /// The row's records, in their order; nil where the row is not as it was written. Of a row of batches the index is, and
  /// each record tells of itself.
  func records() -> [LogRecord]? {
    guard isPlausible, hasPayload, let kind else { return nil }
    let payload = payload
    guard kind == .batches else {
      let checksum = CRC32C.checksum(payload)
      return matches(checksum) ? [LogRecord(header, kind, payload, checksum: checksum)] : nil
    }
    guard let index = PackedBatches.index(of: payload), matches(CRC32C.checksum(index)) else { return nil }
    var records: [LogRecord] = []
    var offset = header.firstOffset
    var start = index.count
    for entry in PackedBatches.entries(index) {
      guard (1...UInt32(EventLimits.eventsPerBatchMax)).contains(entry.events) else { return nil }
      let end = start + Int(entry.bytes)
      records.append(LogRecord(entry, at: offset, UnsafeRawBufferPointer(rebasing: payload[start..<end])))
      offset &+= UInt64(entry.events)
      start = end
    }
    return offset == self.end ? records : nil
  }
}
