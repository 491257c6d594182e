import Events
import Store

/// An event that came with a `qr_id`, by its place in the batch. The bytes lie in the batch's message.
struct QRMark: BitwiseCopyable, Sendable {
  let event: Int32
  let qrID: ByteSlice

  /// No list is made where no event has a `qr_id`.
  static func marks(_ reader: BatchReader) -> [QRMark] {
    let shared = reader.context.text(.qrID)
    var marks: [QRMark] = []
    for (index, event) in reader.events.enumerated() where !shared.isEmpty || event.hasOwnContext {
      let qrID = event.hasOwnContext ? reader.context(of: event).text(.qrID) : shared
      if !qrID.isEmpty { marks.append(QRMark(event: Int32(index), qrID: qrID)) }
    }
    return marks
  }
}

/// Counts the events that are kept with a `qr_id` that nobody has registered, in the writer's transactions. What one transaction
/// brought is in memory until it ends; how many ids an app has is remembered, so that the bound costs no look-up.
///
/// Memory: an entry per id and transaction, and 16 bytes per app. Disk: a row per id, at most
/// `Limits.unregisteredQRCodesMax` of an app, and one for the rest.
final class QRSightings {
  private struct Key: Hashable {
    let app: Int64
    let qrID: String
  }

  private struct Sighting {
    var events: Int64 = 0
    var first = Int64.max
    var last = Int64.min

    mutating func add(_ count: Int64, _ received: Int64) {
      events += count
      first = min(first, received)
      last = max(last, received)
    }
  }

  private var sightings: [Key: Sighting] = [:]
  /// By app: how many ids the table has.
  private var idCounts: [Int64: Int] = [:]

  /// - Parameter isKept: by an event's place in the batch.
  func note(_ batch: PreparedBatch, isKept: (Int) -> Bool) {
    guard !batch.qrMarks.isEmpty else { return }
    let received = batch.clock.receivedMilliseconds
    batch.message.withUnsafeBytes { message in
      // Mostly all events of a batch have one id: it is looked up once.
      var run = (qrID: ByteSlice.empty, events: Int64(0))
      for mark in batch.qrMarks where isKept(Int(mark.event)) {
        if mark.qrID.offset == run.qrID.offset, mark.qrID.length == run.qrID.length {
          run.events += 1
        } else {
          note(run.qrID, run.events, batch.app.number, received, message)
          run = (mark.qrID, 1)
        }
      }
      note(run.qrID, run.events, batch.app.number, received, message)
    }
  }

  private func note(
    _ qrID: ByteSlice, _ events: Int64, _ app: Int64, _ received: Int64,
    _ message: UnsafeRawBufferPointer
  ) {
    guard events > 0 else { return }
    let key = Key(app: app, qrID: qrID.text(in: message))
    sightings[key, default: Sighting()].add(events, received)
  }

  /// Writes what the transaction brought.
  func save(_ connection: StoreConnection) throws {
    guard !sightings.isEmpty else { return }
    defer { sightings.removeAll(keepingCapacity: true) }
    for (key, sighting) in sightings where try !isRegistered(key, connection) {
      if try add(sighting, to: key, connection) { continue }
      let count = try idCounts[key.app] ?? storedCount(key.app, connection)
      idCounts[key.app] = count
      guard count < Limits.unregisteredQRCodesMax else {
        let rest = Key(app: key.app, qrID: "")
        if try !add(sighting, to: rest, connection) { try insert(sighting, as: rest, connection) }
        continue
      }
      try insert(sighting, as: key, connection)
      idCounts[key.app] = count + 1
    }
  }

  /// Forgets what the transaction brought, and what it made of the table.
  func rollBack() {
    sightings.removeAll(keepingCapacity: true)
    idCounts.removeAll()
  }

  private func isRegistered(_ key: Key, _ connection: StoreConnection) throws -> Bool {
    try connection.first(
      "SELECT 1 FROM qr_code WHERE app = ? AND qr_id = ?", [.integer(key.app), .text(key.qrID)]
    ) { _ in true } ?? false
  }

  /// - Returns: false where the table has no such row.
  private func add(
    _ sighting: Sighting, to key: Key, _ connection: StoreConnection
  ) throws -> Bool {
    try connection.execute(
      """
      UPDATE qr_seen SET events = events + ?3, first_ms = min(first_ms, ?4), last_ms = max(last_ms, ?5)
      WHERE app = ?1 AND qr_id = ?2
      """, values(sighting, key))
    return connection.changes > 0
  }

  private func insert(_ sighting: Sighting, as key: Key, _ connection: StoreConnection) throws {
    try connection.execute(
      "INSERT INTO qr_seen(app, qr_id, events, first_ms, last_ms) VALUES (?, ?, ?, ?, ?)",
      values(sighting, key))
  }

  private func values(_ sighting: Sighting, _ key: Key) -> [StoreValue] {
    [
      .integer(key.app), .text(key.qrID), .integer(sighting.events), .integer(sighting.first),
      .integer(sighting.last),
    ]
  }

  private func storedCount(_ app: Int64, _ connection: StoreConnection) throws -> Int {
    try connection.first(
      "SELECT count(*) FROM qr_seen WHERE app = ? AND qr_id <> ''", [.integer(app)]
    ) { $0.int(0) } ?? 0
  }
}
