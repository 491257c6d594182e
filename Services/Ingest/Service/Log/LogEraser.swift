import Crypto
import Events
import Foundation
import Logging
import Messages
import RPC
import Store
import SwiftProtobuf
import Synchronization

/// Removes users' events from the log, one user after another, in small transactions. What is to be done stands in the table
/// `erasure`, so that a restart goes on with it. A batch is one user's (the rules see to it): it goes as a whole, and its row
/// stays with a payload of no bytes, so that offsets keep their meaning.
final class LogEraser: Sendable {
  /// A row of `erasure`.
  struct Order: Sendable {
    /// Of the erasure record.
    let offset: UInt64
    let appID: String
    let user: UserHash
    var next: UInt64
    var events: Int
    var quarantined: Int
  }

  /// Stands for an open_id without telling it.
  struct UserHash: Sendable, Equatable {
    let salt: [UInt8]
    let hash: [UInt8]

    init(salt: [UInt8], hash: [UInt8]) {
      self.salt = salt
      self.hash = hash
    }

    init(openID: String) {
      salt = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
      hash = Self.hash(salt, Array(openID.utf8))
    }

    func matches(_ openID: UnsafeRawBufferPointer) -> Bool {
      var function = SHA256()
      function.update(data: salt)
      function.update(bufferPointer: openID)
      return Array(function.finalize()) == hash
    }

    private static func hash(_ salt: [UInt8], _ openID: [UInt8]) -> [UInt8] {
      Array(SHA256.hash(data: salt + openID))
    }
  }

  private typealias Outcome = Result<ProtoEraseUserResponse, any Error>

  /// The answer of an erasure and who waits for it: either may come first.
  private enum Answer {
    case expected
    case awaited(CheckedContinuation<ProtoEraseUserResponse, any Error>)
    case known(Outcome)
  }

  let writer: LogWriter
  let store: Store
  private let damage: LogDamage
  private let logger: Logger
  private let wake: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let answers = Mutex<[UInt64: Answer]>([:])

  init(writer: LogWriter, store: Store, damage: LogDamage, logger: Logger) {
    self.writer = writer
    self.store = store
    self.damage = damage
    self.logger = logger
    (wake, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  // MARK: Orders

  /// Appends the erasure record and waits until all is done, by `run`.
  func erase(appID: String, openID: String, now: Int64) async throws -> ProtoEraseUserResponse {
    let user = UserHash(openID: openID)
    var record = ProtoErasureRecord()
    record.salt = Data(user.salt)
    record.userHash = Data(user.hash)
    let body: [UInt8] = try record.serializedBytes()
    let offset = try await writer.change { [self] appender, connection -> UInt64? in
      let pending = try connection.first("SELECT count(*) FROM erasure WHERE done_ms = 0") { $0.int(0) }
      guard (pending ?? 0) < Limits.erasuresMax else { return nil }
      let offset = try appender.append(.erasure, app: appID, received: now, body, connection)
      answers.withLock { $0[offset] = .expected }
      try connection.execute(
        "INSERT INTO erasure VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
        [
          .integer(Int64(bitPattern: offset)), .text(appID), .blob(user.salt), .blob(user.hash),
        ])
      return offset
    }
    guard let offset else { throw IngestErrors.full("erasures that wait", max: Limits.erasuresMax) }
    return try await withCheckedThrowingContinuation { continuation in
      let known = answers.withLock { answers -> Outcome? in
        if case .known(let outcome) = answers[offset] {
          answers[offset] = nil
          return outcome
        }
        answers[offset] = .awaited(continuation)
        return nil
      }
      if let known { continuation.resume(with: known) }
      signal.yield()
    }
  }

  /// Does what is ordered, until it is cancelled.
  func run() async throws {
    defer { failAll(IngestErrors.shuttingDown) }
    signal.yield()
    for await _ in wake {
      // One that failed is tried again at the next order or start.
      for order in try await pending() { await finish(order) }
    }
    try Task.checkCancellation()
  }

  private func pending() async throws -> [Order] {
    try await store.readDetached { connection in
      try connection.query(
        """
        SELECT first_offset, app_id, salt, user_hash, next_offset, events, quarantined FROM erasure
        WHERE done_ms = 0 ORDER BY first_offset
        """
      ) { row in
        Order(
          offset: UInt64(bitPattern: row.int64(0)), appID: row.string(1),
          user: UserHash(salt: row.bytes(2), hash: row.bytes(3)),
          next: UInt64(bitPattern: row.int64(4)), events: row.int(5), quarantined: row.int(6))
      }
    }
  }

  private func finish(_ order: Order) async {
    do {
      let order = try await carryOut(order)
      var answer = ProtoEraseUserResponse()
      answer.offset = order.offset
      answer.erasedEvents = UInt64(order.events)
      answer.erasedQuarantined = UInt64(order.quarantined)
      logger.notice(
        "a user is erased",
        metadata: ["offset": "\(order.offset)", "app": "\(order.appID)", "events": "\(order.events)"])
      complete(order.offset, .success(answer))
    } catch {
      if !(error is CancellationError) {
        logger.error(
          "a user could not be erased yet",
          metadata: ["offset": "\(order.offset)", "error": "\(error)"])
      }
      complete(order.offset, .failure(error))
    }
  }

  private func complete(_ offset: UInt64, _ outcome: Outcome) {
    let waiter = answers.withLock { answers -> CheckedContinuation<ProtoEraseUserResponse, any Error>? in
      switch answers[offset] {
      // An erasure of an earlier start: nobody asks.
      case nil: return nil
      case .expected, .known:
        answers[offset] = .known(outcome)
        return nil
      case .awaited(let continuation):
        answers[offset] = nil
        return continuation
      }
    }
    waiter?.resume(with: outcome)
  }

  /// Those who wait hear that it goes on at the next start.
  func close() { failAll(IngestErrors.shuttingDown) }

  private func failAll(_ error: RPCError) {
    for offset in answers.withLock({ Array($0.keys) }) { complete(offset, .failure(error)) }
  }

  // MARK: Work

  private func carryOut(_ order: Order) async throws -> Order {
    var order = order
    while order.next < order.offset {
      try Task.checkCancellation()
      let found = try await search(order)
      order.events += try await rewrite(found, order)
      order.next = found.next
    }
    var after: Int64 = 0
    while let found = try await searchQuarantine(order, after) {
      try Task.checkCancellation()
      order.quarantined += try await removeQuarantined(found.rows, order)
      after = found.last
    }
    try await emptyWriteAheadLog()
    let done = order.offset
    try await writer.change { _, connection in
      try connection.execute(
        "UPDATE erasure SET done_ms = ? WHERE first_offset = ?",
        [.integer(WallClock.nowMilliseconds), .integer(Int64(bitPattern: done))])
    }
    return order
  }

  /// A row with batches of the user.
  private struct FoundRow: Sendable {
    let offset: UInt64
    /// Which of the row's records.
    let numbers: [Int]
  }

  /// Rows of the user, and the offset before which there are no others.
  private struct Found: Sendable {
    var rows: [FoundRow] = []
    var next: UInt64
  }

  private func search(_ order: Order) async throws -> Found {
    do {
      return try await store.readDetached { connection in
        let reader = BatchReader()
        var found = Found(next: order.next)
        var rows = 0
        var bytes = 0
        let statement = try connection.statement(
          """
          SELECT \(LogRow.columns), CASE WHEN app_id = ?2 AND kind IN \(RecordKind.withBatches) THEN payload END FROM log
          WHERE first_offset >= ?1 ORDER BY first_offset
          """)
        defer { statement.reset() }
        try statement.bind(1, Int64(bitPattern: order.next))
        try statement.bind(2, order.appID)
        while try statement.step() {
          let row = LogRow(statement)
          guard row.header.firstOffset < order.offset else { break }
          guard row.hasPayload || row.verifiesHeader() else {
            throw DamagedRecord.mismatch(row.header.firstOffset)
          }
          if row.hasPayload, let ofUser = try Self.records(of: order.user, in: row, reader) {
            found.rows.append(ofUser)
          }
          found.next = row.end
          rows += 1
          bytes += row.payload.count
          if found.rows.count >= Limits.erasedRowsMax || rows >= Limits.verifiedRowsMax
            || bytes >= Limits.verifiedBytes
          {
            return found
          }
        }
        found.next = order.offset
        return found
      }
    } catch let error as DamagedRecord {
      // Whose it is cannot be told: the erasure is not done.
      damage.add(error)
      throw IngestErrors.damaged(error)
    }
  }

  private static func records(
    of user: UserHash, in row: LogRow, _ reader: BatchReader
  ) throws -> FoundRow? {
    guard let records = row.records() else { throw DamagedRecord.mismatch(row.header.firstOffset) }
    let numbers = try records.indices.filter { try isOf(user, records[$0], reader) }
    return numbers.isEmpty ? nil : FoundRow(offset: row.header.firstOffset, numbers: numbers)
  }

  private static func isOf(
    _ user: UserHash, _ record: LogRecord, _ reader: BatchReader
  ) throws -> Bool {
    guard record.isIntact() else { throw DamagedRecord.mismatch(record.firstOffset) }
    let payload = record.payload
    guard payload.count > 0 else { return false }
    do {
      try reader.read(payload)
    } catch {
      throw DamagedRecord.mismatch(record.firstOffset)
    }
    return user.matches(reader.context.text(.openID).bytes(in: payload))
  }

  /// - Returns: the events that the rows held.
  private func rewrite(_ found: Found, _ order: Order) async throws -> Int {
    try await writer.change { _, connection in
      var events = 0
      for row in found.rows { events += try Self.empty(row, connection) }
      try connection.execute(
        "UPDATE erasure SET next_offset = ?, events = events + ? WHERE first_offset = ?",
        [
          .integer(Int64(bitPattern: found.next)), .integer(events),
          .integer(Int64(bitPattern: order.offset)),
        ])
      return events
    }
  }

  /// - Returns: the events that were erased.
  private static func empty(_ found: FoundRow, _ connection: StoreConnection) throws -> Int {
    let emptied = try connection.first(
      "SELECT \(LogRow.columns), CASE WHEN kind = \(RecordKind.batches.rawValue) THEN payload END FROM log WHERE first_offset = ?",
      [.integer(Int64(bitPattern: found.offset))]
    ) { statement in
      let row = LogRow(statement)
      var header = row.header
      guard row.kind == .batches else {
        header.payloadBytes = 0
        let checksum = row.withAppID { RowChecksum.stored(header, appID: $0, payload: 0) }
        return (payload: [UInt8](), checksum: checksum, events: Int(header.count))
      }
      // As many bytes as before: SQLite then writes only the pages that change.
      var payload = Array(row.payload)
      let events = PackedBatches.erase(found.numbers, from: &payload)
      let checksum = payload.withUnsafeBytes { bytes in
        let index = CRC32C.checksum(PackedBatches.index(of: bytes) ?? bytes)
        return row.withAppID { RowChecksum.stored(header, appID: $0, payload: index) }
      }
      return (payload: payload, checksum: checksum, events: events)
    }
    // Retention may have removed it since.
    guard let emptied else { return 0 }
    try connection.execute(
      "UPDATE log SET payload = ?, checksum = ? WHERE first_offset = ?",
      [
        .blob(emptied.payload), .integer(emptied.checksum),
        .integer(Int64(bitPattern: found.offset)),
      ])
    return emptied.events
  }

  /// What the write-ahead log holds of earlier states must go too: it is copied into the file and cut to nothing.
  private func emptyWriteAheadLog() async throws {
    let end = MonotonicClock.now + Int64(Limits.erasureCheckpointSeconds) * 1_000_000_000
    while await !store.checkpointDetached() {
      if let poison = store.poison { throw IngestErrors.failed(poison) }
      guard MonotonicClock.now < end else {
        throw RPCError(.unavailable, "the write-ahead log is in use; the erasure goes on later")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
  }
}
