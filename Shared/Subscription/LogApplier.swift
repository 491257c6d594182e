internal import Dispatch
internal import Events
internal import Foundation
internal import Messages
internal import Sources
internal import Store
internal import SwiftProtobuf

/// Applies messages of the log: each call is one transaction of records, the consumer's data and the position. Runs on a
/// queue of its own, whose thread may block on the disk.
final class LogApplier: Sendable {
  private let store: Store
  private let directory: Directory
  private let consumer: any LogConsumer
  private let queue: DispatchQueue

  /// What one transaction works with. Confined to the applier's queue.
  private struct Transaction {
    let connection: StoreConnection
    let reader: BatchReader
    var position: LogPosition
  }

  init(store: Store, directory: Directory, consumer: any LogConsumer, name: String) {
    self.store = store
    self.directory = directory
    self.consumer = consumer
    queue = DispatchQueue(label: "footfall.follow.\(name)")
  }

  /// - Returns: the position after the messages, which is committed.
  /// - Throws: `LogFault`, `StoreError`, or what the consumer threw; nothing of the messages is kept then.
  func apply(_ messages: [ProtoSubscribeResponse], from position: LogPosition) async throws
    -> LogPosition
  {
    try await withCheckedThrowingContinuation { continuation in
      queue.async {
        continuation.resume(with: Result { try self.applyNow(messages, from: position) })
      }
    }
  }

  private func applyNow(_ messages: [ProtoSubscribeResponse], from position: LogPosition) throws
    -> LogPosition
  {
    let next: LogPosition
    do {
      next = try store.write(checkpoint: false) { connection in
        var transaction = Transaction(
          connection: connection, reader: BatchReader(), position: position)
        for message in messages {
          for record in message.records { try apply(record, in: &transaction) }
        }
        try consumer.willCommit(transaction.position, in: connection)
        try Directory.store(transaction.position, in: connection)
        return transaction.position
      }
    } catch {
      directory.didRollBack()
      consumer.didRollBack()
      throw error
    }
    // The directory first: a consumer that shows new data can name its app.
    directory.didCommit()
    consumer.didCommit(next)
    store.checkpointIfDue()
    return next
  }

  private func apply(_ record: ProtoLogRecord, in transaction: inout Transaction) throws {
    let offset = record.firstOffset
    guard offset == transaction.position.nextOffset else {
      throw LogFault.gap(expected: transaction.position.nextOffset, found: offset)
    }
    guard record.count > 0, let body = record.body else {
      throw LogFault.badRecord(offset: offset, reason: "it has no body, or covers no offset")
    }
    switch body {
    // Its events were erased: only their offsets are left.
    case .batch(let bytes) where bytes.isEmpty: break
    case .batch(let bytes): try apply(batch: bytes, record, in: &transaction)
    case .app(let bytes): try apply(app: bytes, record, transaction.connection)
    case .token(let bytes): try apply(token: bytes, record, transaction.connection)
    case .source(let bytes): try apply(source: bytes, record, transaction.connection)
    // Nothing here is counted by consent yet: looked at, so that a damaged record is found out, and passed by.
    case .consent(let bytes): _ = try Self.decoded(bytes, record) as ProtoConsentRecord
    // Nobody needs the plan yet; a damaged record is a fault all the same.
    case .plan(let bytes): _ = try Self.decoded(bytes, record) as ProtoPlanRecord
    case .erasure(let bytes): try apply(erasure: bytes, record, transaction.connection)
    }
    transaction.position.nextOffset = offset + UInt64(record.count)
    transaction.position.lastReceivedMilliseconds = record.receivedMs
  }

  private func apply(
    batch: Data, _ record: ProtoLogRecord, in transaction: inout Transaction
  ) throws {
    let offset = record.firstOffset
    guard let app = directory.appInTransaction(record.appID) else {
      throw LogFault.unknownApp(offset: offset, appID: record.appID)
    }
    let reader = transaction.reader
    try batch.withUnsafeBytes { (message: UnsafeRawBufferPointer) in
      try Self.verify(message, record)
      do {
        try reader.read(message)
      } catch {
        throw LogFault.badRecord(offset: offset, reason: "\(error)")
      }
      guard reader.events.count == Int(record.count) else {
        throw LogFault.badRecord(
          offset: offset, reason: "\(reader.events.count) events where it says \(record.count)")
      }
      let clock = EventClock(
        received: record.receivedMs, offset: record.clockOffsetMs, isImport: record.import)
      try consumer.apply(
        LogBatch(
          app: app, firstOffset: offset, reader: reader, message: message, clock: clock),
        in: transaction.connection)
    }
  }

  private func apply(
    app bytes: Data, _ record: ProtoLogRecord, _ connection: StoreConnection
  ) throws {
    let definition: ProtoApp = try Self.decoded(bytes, record)
    let known = directory.appInTransaction(definition.appID)
    let app = try DirectoryApp(definition, sources: known?.sourceRecord ?? ProtoAppSources())
    try directory.put(app, in: connection)
    try consumer.define(app, in: connection)
  }

  /// An app whose scenes or channels changed is defined anew: what the consumer does with it holds for what follows.
  private func apply(
    source bytes: Data, _ record: ProtoLogRecord, _ connection: StoreConnection
  ) throws {
    let change: ProtoSourceRecord = try Self.decoded(bytes, record)
    guard let known = directory.appInTransaction(record.appID) else {
      throw LogFault.unknownApp(offset: record.firstOffset, appID: record.appID)
    }
    var sources = known.sourceRecord
    guard sources.apply(change) else { return }
    let app = try DirectoryApp(known.definition, sources: sources)
    try directory.putSources(app, in: connection)
    try consumer.define(app, in: connection)
  }

  private func apply(
    erasure bytes: Data, _ record: ProtoLogRecord, _ connection: StoreConnection
  ) throws {
    guard let app = directory.appInTransaction(record.appID) else {
      throw LogFault.unknownApp(offset: record.firstOffset, appID: record.appID)
    }
    try consumer.erase(ErasedUser(Self.decoded(bytes, record), app: app), in: connection)
  }

  /// Messages cut into those of one transaction each: an erasure comes alone.
  static func transactions(_ messages: [ProtoSubscribeResponse]) -> [[ProtoSubscribeResponse]] {
    func isErasure(_ record: ProtoLogRecord) -> Bool {
      if case .erasure = record.body { true } else { false }
    }
    guard messages.contains(where: { $0.records.contains(where: isErasure) }) else {
      return [messages]
    }
    var parts: [[ProtoLogRecord]] = [[]]
    for record in messages.lazy.flatMap(\.records) {
      if isErasure(record) {
        parts += [[record], []]
      } else {
        parts[parts.count - 1].append(record)
      }
    }
    return parts.filter { !$0.isEmpty }.map { records in
      var message = ProtoSubscribeResponse()
      message.records = records
      return [message]
    }
  }

  private func apply(
    token bytes: Data, _ record: ProtoLogRecord, _ connection: StoreConnection
  ) throws {
    try directory.put(try Self.decoded(bytes, record) as ProtoTokenRecord, in: connection)
  }

  private static func decoded<Body: Message>(
    _ bytes: Data, _ record: ProtoLogRecord
  ) throws -> Body {
    try bytes.withUnsafeBytes { (raw: UnsafeRawBufferPointer) in try verify(raw, record) }
    guard record.count == 1 else {
      throw LogFault.badRecord(
        offset: record.firstOffset, reason: "\(record.count) offsets where it is one")
    }
    do {
      return try Body(serializedBytes: bytes)
    } catch {
      throw LogFault.badRecord(offset: record.firstOffset, reason: "\(error)")
    }
  }

  private static func verify(_ bytes: UnsafeRawBufferPointer, _ record: ProtoLogRecord) throws {
    let computed = CRC32C.checksum(bytes)
    guard computed == record.checksum else {
      throw LogFault.badChecksum(
        offset: record.firstOffset, stored: record.checksum, computed: computed)
    }
  }
}
