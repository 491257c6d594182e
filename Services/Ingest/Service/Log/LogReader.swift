import Events
import RPC
import Store

/// Reads the log for subscribers, into encoded `SubscribeResponse` messages.
struct LogReader: Sendable {
  private let store: Store

  init(store: Store) { self.store = store }

  /// A message, and the offset that follows its records.
  struct Chunk: Sendable, Equatable {
    let message: [UInt8]
    let next: UInt64
    var records: Int
  }

  /// About 1 MiB of records from the one that holds `offset` on.
  ///
  /// - Parameter head: told to the subscriber as the log's end.
  /// - Throws: DATA_LOSS where a record does not match its checksum: it is never served.
  func chunk(from offset: UInt64, head: UInt64) async throws -> Chunk {
    try await store.readDetached { try Self.read($0, from: offset, head: head) }
  }

  private static func read(
    _ connection: StoreConnection, from offset: UInt64, head: UInt64
  ) throws -> Chunk {
    let statement = try connection.statement(
      """
      SELECT first_offset, app_id, kind, count, received_ms, clock_offset_ms, import, checksum, payload
      FROM log
      WHERE first_offset >= (SELECT max(first_offset) FROM log WHERE first_offset <= ?)
      ORDER BY first_offset
      """)
    defer { statement.reset() }
    try statement.bind(1, Int64(bitPattern: offset))
    var message = ProtoBytes(capacity: 4_096)
    var next = offset
    var records = 0
    while records < Limits.chunkRecordsMax, message.bytes.count < Limits.chunkBytes,
      try statement.step()
    {
      let first = UInt64(bitPattern: statement.int64(0))
      let end = first + UInt64(bitPattern: statement.int64(3))
      // The record that ends where the subscriber begins.
      if end <= offset { continue }
      // What is not yet announced as durable is left to the next message.
      if end > head { break }
      try append(statement, first, to: &message)
      next = end
      records += 1
    }
    message.varint(field: 2, head)
    return Chunk(message: message.bytes, next: next, records: records)
  }

  private static func append(
    _ row: StoreStatement, _ first: UInt64, to message: inout ProtoBytes
  ) throws {
    let payload = row.blob(8)
    let checksum = UInt32(truncatingIfNeeded: row.int64(7))
    guard CRC32C.checksum(payload) == checksum, let kind = RecordKind(rawValue: row.int64(2)) else {
      throw IngestErrors.damaged(first)
    }
    var record = ProtoBytes(capacity: 96)
    record.varint(field: 1, first)
    record.varint(field: 2, UInt64(bitPattern: row.int64(3)))
    row.withText(1) { app in if app.count > 0 { record.bytes(field: 3, app) } }
    record.varint(field: 4, UInt64(bitPattern: row.int64(4)))
    record.varint(field: 5, UInt64(bitPattern: row.int64(5)))
    record.varint(field: 6, UInt64(bitPattern: row.int64(6)))
    record.varint(field: 7, UInt64(checksum))
    message.message(field: 1, record, kind.bodyField, payload)
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
}
