import Events
import Store

/// Appends to the log. Batches of one app that come within a transaction share a row: of a row for each, of which two fit a page,
/// a third of what is written was empty. Used by the writer only.
final class LogRowWriter {
  private(set) var head: UInt64
  /// That the log has ever taken.
  private(set) var payloadBytes: Int64
  /// One per app, until it is written.
  private var open: [OpenRow] = []
  private var packed: [UInt8] = []
  private var before: (head: UInt64, payloadBytes: Int64)

  private struct OpenRow {
    let app: AppEntry
    var payloads: [[UInt8]] = []
    var entries: [PackedBatches.Entry] = []
    var bytes = PackedBatches.indexBytes(0)

    mutating func add(_ payload: [UInt8], _ entry: PackedBatches.Entry) {
      payloads.append(payload)
      entries.append(entry)
      bytes += PackedBatches.entryBytes + payload.count
    }
  }

  init(_ connection: StoreConnection) throws {
    let last = try connection.first(
      """
      SELECT first_offset + count, bytes_before + length(payload) FROM log
      ORDER BY first_offset DESC LIMIT 1
      """
    ) { (UInt64(bitPattern: $0.int64(0)), $0.int64(1)) }
    head = last?.0 ?? 0
    payloadBytes = last?.1 ?? 0
    before = (head, payloadBytes)
  }

  /// Before a transaction's first append.
  func begin() {
    precondition(open.isEmpty, "a transaction writes all that it took")
    before = (head, payloadBytes)
  }

  /// The log's end before the transaction.
  var headBefore: UInt64 { before.head }

  func rollBack() {
    (head, payloadBytes) = before
    open.removeAll()
  }

  /// Takes a batch; `flush` writes it. Batches of one app keep their order.
  ///
  /// - Parameter checksum: CRC-32C of the payload.
  func add(
    _ payload: [UInt8], checksum: UInt32, events: Int, clock: EventClock, of app: AppEntry,
    _ connection: StoreConnection
  ) throws {
    let entry = PackedBatches.Entry(clock, events: events, payload: payload, checksum: checksum)
    guard let place = open.lastIndex(where: { $0.app === app }) else {
      open.append(OpenRow(app: app))
      return open[open.count - 1].add(payload, entry)
    }
    if open[place].bytes + PackedBatches.entryBytes + payload.count > Limits.rowBytesMax {
      try write(open[place], connection)
      open[place] = OpenRow(app: app)
    }
    open[place].add(payload, entry)
  }

  /// Appends a change: one record of one offset, behind all batches so far.
  ///
  /// - Returns: its offset.
  @discardableResult
  func append(
    _ kind: RecordKind, app: String, received: Int64, _ body: [UInt8], _ connection: StoreConnection
  ) throws -> UInt64 {
    try flush(connection)
    let offset = head
    let header = header(kind, count: 1, received: received, payloadBytes: body.count)
    try body.withUnsafeBytes { try insert(header, app: app, $0, checksum: CRC32C.checksum($0), connection) }
    return offset
  }

  /// Writes what was taken.
  func flush(_ connection: StoreConnection) throws {
    guard !open.isEmpty else { return }
    for row in open { try write(row, connection) }
    open.removeAll(keepingCapacity: true)
  }

  private func write(_ row: OpenRow, _ connection: StoreConnection) throws {
    guard row.entries.count > 1 else { return try write(row.payloads[0], row.entries[0], row.app, connection) }
    packed.removeAll(keepingCapacity: true)
    packed.reserveCapacity(row.bytes)
    PackedBatches.appendIndex(row.entries, to: &packed)
    let indexBytes = packed.count
    for payload in row.payloads { packed.append(contentsOf: payload) }
    let header = header(
      .batches, count: row.entries.reduce(0) { $0 + Int64($1.events) },
      received: row.entries.reduce(.min) { max($0, $1.receivedMilliseconds) }, payloadBytes: packed.count)
    try packed.withUnsafeBytes { bytes in
      let checksum = CRC32C.checksum(.init(rebasing: bytes[..<indexBytes]))
      try insert(header, app: row.app.appID, bytes, checksum: checksum, connection)
    }
  }

  private func write(
    _ payload: [UInt8], _ entry: PackedBatches.Entry, _ app: AppEntry, _ connection: StoreConnection
  ) throws {
    var header = header(
      .batch, count: Int64(entry.events), received: entry.receivedMilliseconds, payloadBytes: payload.count)
    header.clockOffsetMilliseconds = entry.clockOffsetMilliseconds
    header.importFlag = entry.isImport ? 1 : 0
    try payload.withUnsafeBytes { try insert(header, app: app.appID, $0, checksum: entry.checksum, connection) }
  }

  private func header(
    _ kind: RecordKind, count: Int64, received: Int64, payloadBytes bytes: Int
  ) -> LogRowHeader {
    LogRowHeader(
      firstOffset: head, count: count, receivedMilliseconds: received, clockOffsetMilliseconds: 0,
      bytesBefore: payloadBytes, kind: kind.rawValue, importFlag: 0, payloadBytes: Int64(bytes))
  }

  private func insert(
    _ header: LogRowHeader, app: String, _ payload: UnsafeRawBufferPointer, checksum: UInt32,
    _ connection: StoreConnection
  ) throws {
    let insert = try connection.statement("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    try insert.bind(1, Int64(bitPattern: header.firstOffset))
    try insert.bind(2, app)
    try insert.bind(3, header.kind)
    try insert.bind(4, header.count)
    try insert.bind(5, header.receivedMilliseconds)
    try insert.bind(6, header.clockOffsetMilliseconds)
    try insert.bind(7, header.importFlag)
    try insert.bind(8, RowChecksum.stored(header, appID: app, payload: checksum))
    try insert.bind(9, header.bytesBefore)
    try insert.bind(10, blob: payload)
    try insert.run()
    head += UInt64(header.count)
    payloadBytes += header.payloadBytes
  }
}
