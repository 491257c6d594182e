import Events
import RPC
import Store

/// Reads the log for subscribers, into encoded `SubscribeResponse` messages.
struct LogReader: Sendable {
  private let store: Store
  private let damage: LogDamage

  init(store: Store, damage: LogDamage) {
    self.store = store
    self.damage = damage
  }

  /// What a subscriber asks for.
  struct Question: Sendable {
    /// Only records of this app; empty: all.
    var appID = ""
    /// Told to the subscriber.
    var epoch: UInt64 = 0
  }

  /// A message, and the offset that follows what it covers.
  struct Chunk: Sendable, Equatable {
    let message: [UInt8]
    let next: UInt64
    let records: Int
    /// More may be there already.
    let isFull: Bool
  }

  /// About 1 MiB of records from the one that holds `offset` on.
  ///
  /// - Parameter head: told to the subscriber as the log's end; beyond `offset`.
  /// - Throws: DATA_LOSS where the record at `offset` is damaged: it is never served. Records before a damaged one are.
  func chunk(
    from offset: UInt64, head: UInt64, _ question: Question = Question()
  ) async throws -> Chunk {
    do {
      return try await store.readDetached { connection in
        var reading = Reading(offset: offset, head: head, question: question)
        try reading.run(connection)
        return reading.chunk
      }
    } catch let found as DamagedRecord {
      damage.add(found)
      throw IngestErrors.damaged(found)
    }
  }

  /// Encoded `SubscribeResponse` without records: a sign of life.
  static func signOfLife(next: UInt64, head: UInt64, epoch: UInt64) -> [UInt8] {
    var message = ProtoBytes(capacity: 32)
    message.end(next: next, head: head, epoch: epoch)
    return message.bytes
  }
}

/// One message as it is read.
private struct Reading {
  private let offset: UInt64
  private let head: UInt64
  private let question: LogReader.Question
  private var message = ProtoBytes(capacity: 4_096)
  private var record = ProtoBytes(capacity: 96)
  private var next: UInt64
  private var records = 0
  private var rows = 0
  private var isFull = false

  init(offset: UInt64, head: UInt64, question: LogReader.Question) {
    self.offset = offset
    self.head = head
    self.question = question
    next = offset
    if question.appID.isEmpty { message.reserve(Limits.chunkBytes + Limits.chunkBytes / 4) }
  }

  var chunk: LogReader.Chunk {
    var message = message
    message.end(next: next, head: head, epoch: question.epoch)
    return LogReader.Chunk(message: message.bytes, next: next, records: records, isFull: isFull)
  }

  mutating func run(_ connection: StoreConnection) throws {
    do {
      try readRows(connection)
      guard next > offset else { throw DamagedRecord.missing(offset, count: head - offset) }
    } catch let found as DamagedRecord {
      // What comes before it is good: the next message begins with it.
      guard next > offset else { throw found }
    } catch let error as StoreError where error.code == .corrupt || error.code == .io {
      guard next > offset else { throw DamagedRecord.unreadable(next, error) }
    }
  }

  private mutating func readRows(_ connection: StoreConnection) throws {
    // The payload of another app's row is not even read.
    let statement = try connection.statement(
      """
      SELECT \(LogRow.columns), CASE WHEN ?2 = '' OR app_id = ?2 THEN payload END FROM log
      WHERE first_offset >= (SELECT max(first_offset) FROM log WHERE first_offset <= ?1)
      ORDER BY first_offset
      """)
    defer { statement.reset() }
    try statement.bind(1, Int64(bitPattern: offset))
    try statement.bind(2, question.appID)
    while try !isFull && statement.step() {
      let row = LogRow(statement)
      guard row.header.firstOffset < head else { return }
      try take(row)
      rows += 1
      if rows >= Limits.chunkRowsMax { isFull = true }
    }
  }

  /// Offsets have no gaps: a row that is not there is found by the one that follows.
  private mutating func take(_ row: LogRow) throws {
    let first = row.header.firstOffset
    guard first <= next else { throw DamagedRecord.missing(next, count: first - next) }
    guard rows == 0 || first == next else { throw DamagedRecord.mismatch(first) }
    guard row.hasPayload else {
      guard row.verifiesHeader() else { throw DamagedRecord.mismatch(first) }
      return try pass(row)
    }
    guard let found = row.records() else { throw DamagedRecord.mismatch(first) }
    guard row.end > next else { return try pass(row) }
    for record in found where record.end > next {
      guard record.isIntact() else { throw DamagedRecord.mismatch(record.firstOffset) }
      append(record, of: row)
      records += 1
      next = record.end
      isFull = records >= Limits.chunkRecordsMax || message.bytes.count >= Limits.chunkBytes
      if isFull { return }
    }
  }

  private mutating func pass(_ row: LogRow) throws {
    // The first row is the last one that begins at or before the offset.
    guard row.end > next else { throw DamagedRecord.missing(next, count: 1) }
    next = row.end
  }

  private mutating func append(_ found: LogRecord, of row: LogRow) {
    record.removeAll()
    record.varint(field: 1, found.firstOffset)
    record.varint(field: 2, found.count)
    row.withAppID { app in if app.count > 0 { record.bytes(field: 3, app) } }
    record.varint(field: 4, UInt64(bitPattern: found.receivedMilliseconds))
    record.varint(field: 5, UInt64(bitPattern: found.clockOffsetMilliseconds))
    record.varint(field: 6, found.isImport ? 1 : 0)
    record.varint(field: 7, UInt64(found.checksum))
    message.message(field: 1, record, found.kind.bodyField, found.payload)
  }
}

extension ProtoBytes {
  /// A nested message: what is given, then one more field of bytes, without copying these twice.
  fileprivate mutating func message(
    field: Int, _ head: ProtoBytes, _ bodyField: Int, _ body: UnsafeRawBufferPointer
  ) {
    let bodyHead =
      ProtoBytes.count(UInt64(bodyField) << 3 | 2) + ProtoBytes.count(UInt64(body.count))
    varint(UInt64(field) << 3 | 2)
    varint(UInt64(head.bytes.count + bodyHead + body.count))
    append(head)
    bytes(field: bodyField, body)
  }

  /// What follows the records in every `SubscribeResponse`.
  fileprivate mutating func end(next: UInt64, head: UInt64, epoch: UInt64) {
    varint(field: 2, head)
    varint(field: 3, next)
    varint(field: 4, epoch)
  }
}
