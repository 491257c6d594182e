import Events
import Messages
import RPC
import Synchronization

/// The first half of the way of a batch: decode, authorise, limits, names and types, clock, lateness. Runs on the event
/// loop, touches no disk and allocates nothing per event.
final class Collector: Sendable {
  private let apps: AppRegistry
  private let hash: KeyedHash
  private let readers = Mutex<[ReaderBox]>([])

  init(apps: AppRegistry, hash: KeyedHash) {
    self.apps = apps
    self.hash = hash
  }

  /// - Parameter received: the server's clock, ms since 1970.
  /// - Throws: INVALID_ARGUMENT, PERMISSION_DENIED, NOT_FOUND: what refuses the batch as a whole.
  func prepare(
    _ message: UnsafeRawBufferPointer, principal: Principal, received: Int64
  ) throws(RPCError) -> PreparedBatch {
    let box = readers.withLock { $0.popLast() } ?? ReaderBox()
    defer { readers.withLock { $0.append(box) } }
    let reader = box.reader
    do throws(WireError) {
      try reader.read(message)
    } catch {
      throw IngestErrors.malformed(error)
    }
    let rules = BatchRules(reader, message: message)
    if let violation = rules.violationOfBatch() { throw IngestErrors.refused(violation) }
    let app = try app(of: reader, in: message, principal)
    if reader.isImport, !principal.holds("ingest:import") { throw IngestErrors.importScope }
    return batch(reader, rules, message, app, received)
  }

  private func app(
    of reader: BatchReader, in message: UnsafeRawBufferPointer, _ principal: Principal
  ) throws(RPCError) -> AppEntry {
    let appID: String
    if let own = principal.appID {
      if !reader.appID.isEmpty, !reader.appID.bytes(in: message).elementsEqual(own.utf8) {
        throw IngestErrors.otherApp(reader.appID.text(in: message))
      }
      appID = own
    } else {
      guard !reader.appID.isEmpty else { throw IngestErrors.appRequired }
      appID = reader.appID.text(in: message)
    }
    guard let app = apps[appID] else { throw IngestErrors.unknownApp(appID) }
    return app
  }

  private func batch(
    _ reader: BatchReader, _ rules: BatchRules, _ message: UnsafeRawBufferPointer, _ app: AppEntry,
    _ received: Int64
  ) -> PreparedBatch {
    let clock = EventClock(
      received: received, sent: reader.sentMilliseconds, isImport: reader.isImport)
    let user = hash.user(reader.context.text(.openID).bytes(in: message))
    var rejected: [ProtoRejectedEvent] = []
    var candidates = 0
    let events = app.types.withLock { types in
      let source = reader.events
      let events = [PreparedEvent](unsafeUninitializedCapacity: source.count) { buffer, count in
        for (index, event) in source.enumerated() {
          var disposition = PreparedEvent.Disposition.candidate
          if let violation = rules.violation(of: event) {
            disposition = .rejected
            rejected.append(CollectAnswer.rejected(index, violation))
          } else if clock.isLate(event.timeMilliseconds) {
            disposition = .late
          } else if event.fieldCount > 0,
            let field = types.admit(reader.fields(of: event), in: message)
          {
            disposition = .rejected
            rejected.append(CollectAnswer.rejected(index, field))
          } else {
            candidates &+= 1
          }
          buffer.initializeElement(at: index, to: prepared(event, message, user, disposition))
        }
        count = source.count
      }
      if types.hasUnsaved { app.hasUnsavedTypes.store(true, ordering: .releasing) }
      return events
    }
    return PreparedBatch(
      app: app, message: Array(message), checksum: CRC32C.checksum(message), events: events,
      device: reader.deviceID.isEmpty ? .zero : hash.id(reader.deviceID.bytes(in: message)),
      clock: clock, number: reader.batch, rejected: rejected, candidates: candidates)
  }

  @inline(__always)
  private func prepared(
    _ event: BatchEvent, _ message: UnsafeRawBufferPointer, _ user: UInt64,
    _ disposition: PreparedEvent.Disposition
  ) -> PreparedEvent {
    let usesID = event.sequence == 0 && !event.eventID.isEmpty
    return PreparedEvent(
      encoded: event.encoded, sequence: event.sequence,
      id: usesID ? hash.id(event.eventID.bytes(in: message)) : .zero,
      content: hash.content(event.encoded.bytes(in: message), of: user),
      disposition: disposition)
  }
}

/// A reader between two batches.
// Sendable because whoever took it out of the pool is alone with it.
private final class ReaderBox: @unchecked Sendable {
  let reader = BatchReader()
}
