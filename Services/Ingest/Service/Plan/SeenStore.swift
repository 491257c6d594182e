import Events
import RPC
import Store

/// The table of what was seen. Counts are written down about once a second; what a crash takes is counted again from the log,
/// so that they are exact all the same.
enum SeenStore {
  /// In the place of a shape's fields: they were not looked at.
  private static let anyFields = "*"
  /// The offset up to which the log is counted in the table.
  private static let offsetName = "plan_seen_offset"

  /// At the start: what the table holds, and what the log holds beyond it. Reads only, for a full disk must not keep the service
  /// from starting.
  ///
  /// - Returns: the apps whose counts are to be written down.
  static func restore(_ apps: [AppEntry], _ connection: StoreConnection) throws -> [AppEntry] {
    let byNumber = Dictionary(uniqueKeysWithValues: apps.map { ($0.number, $0) })
    _ = try connection.query(
      """
      SELECT app, name, fields, events, quarantined, first_seen_ms, last_seen_ms FROM plan_seen
      ORDER BY app, last_seen_ms DESC
      """
    ) { row in
      let fields = row.string(2)
      byNumber[row.int64(0)]?.tracking.withCurrent {
        $0.seen.restore(
          row.string(1), fields == anyFields ? nil : fields.split(separator: " ").map(String.init),
          (UInt64(row.int64(3)), UInt64(row.int64(4))), (row.int64(5), row.int64(6)))
      }
    }
    if let counted = try offset(connection) { try recount(apps, from: counted, connection) }
    return apps.filter { app in app.tracking.withCurrent { $0.seen.hasUnsaved } }
  }

  /// The offset up to which the table counts the log; nil: in a log that is older than the table.
  static func offset(_ connection: StoreConnection) throws -> UInt64? {
    try connection.first("SELECT value FROM setting WHERE name = ?", [.text(offsetName)]) {
      let bytes = $0.blob(0)
      guard bytes.count == 8 else { throw StoreError(.corrupt, "\(offsetName) has not 8 bytes") }
      return UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    }
  }

  private static func recount(
    _ apps: [AppEntry], from offset: UInt64, _ connection: StoreConnection
  ) throws {
    let byID = Dictionary(uniqueKeysWithValues: apps.map { ($0.appID, $0) })
    let reader = BatchReader()
    _ = try connection.query(
      "SELECT \(LogRow.columns), payload FROM log WHERE first_offset >= ? AND kind IN \(RecordKind.withBatches)",
      [.integer(Int64(bitPattern: offset))]
    ) { statement in
      let row = LogRow(statement)
      guard let app = byID[row.withAppID { String(decoding: $0, as: UTF8.self) }] else { return }
      // A damaged record is found and told by whoever is to be sent it; here it counts nothing.
      for record in row.records() ?? [] where record.isIntact() { count(record, of: app, reader) }
    }
  }

  private static func count(_ record: LogRecord, of app: AppEntry, _ reader: BatchReader) {
    let message = record.payload
    guard (try? reader.read(message)) != nil, isSound(reader, message) else { return }
    app.tracking.withCurrent { current in
      for event in reader.events {
        let shape = current.seen.shape(
          event.name.bytes(in: message), reader.fields(of: event), in: message)
        current.seen.countAccepted(shape, received: record.receivedMilliseconds)
      }
      current.seen.commit()
    }
  }

  private static func isSound(_ reader: BatchReader, _ message: UnsafeRawBufferPointer) -> Bool {
    reader.events.allSatisfy { event in
      EventName.isValid(event.name.bytes(in: message))
        && reader.fields(of: event).allSatisfy {
          EventName.isCustomName($0.name.bytes(in: message))
        }
    }
  }

  /// Writes down the counts that changed; `confirmSaved` once the transaction is on disk.
  static func save(_ app: AppEntry, _ connection: StoreConnection) throws {
    for (name, shape) in app.tracking.withCurrent({ $0.seen.unsavedShapes }) {
      try connection.execute(
        """
        INSERT INTO plan_seen VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
          events = excluded.events, quarantined = excluded.quarantined,
          first_seen_ms = excluded.first_seen_ms, last_seen_ms = excluded.last_seen_ms
        """,
        [
          .integer(app.number), .text(name), .text(text(shape.fields)),
          .integer(Int64(shape.accepted)), .integer(Int64(shape.quarantined)),
          .integer(shape.firstSeen), .integer(shape.lastSeen),
        ])
    }
  }

  /// Adds what the transaction that runs keeps aside.
  static func addQuarantined(_ app: AppEntry, _ connection: StoreConnection) throws {
    let (shapes, received) = app.tracking.withCurrent { $0.seen.pendingQuarantined }
    for (name, shape) in shapes {
      try connection.execute(
        """
        INSERT INTO plan_seen VALUES (?1, ?2, ?3, 0, ?4, ?5, ?5) ON CONFLICT DO UPDATE SET
          quarantined = quarantined + excluded.quarantined,
          last_seen_ms = max(last_seen_ms, excluded.last_seen_ms)
        """,
        [
          .integer(app.number), .text(name), .text(text(shape.fields)),
          .integer(Int64(shape.pendingQuarantined)), .integer(received),
        ])
    }
  }

  private static func text(_ fields: [String]?) -> String {
    fields.map { $0.joined(separator: " ") } ?? anyFields
  }

  static func saveOffset(_ head: UInt64, _ connection: StoreConnection) throws {
    let bytes = withUnsafeBytes(of: head.littleEndian) { Array($0) }
    try connection.execute(
      "INSERT INTO setting VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
      [.text(offsetName), .blob(bytes)])
  }
}

/// Counts what the writer's transactions keep, and writes it down now and then. Used by the writer only.
final class SeenCounter {
  /// Apps that the transaction which runs counts.
  private var touched: [AppEntry] = []
  /// Apps with counts that are on disk in the log and not in the table.
  private var unsaved: [ObjectIdentifier: AppEntry] = [:]
  /// The transaction that runs writes down what is unsaved.
  private var hasSaved = false
  private var savedAt = MonotonicClock.now / 1_000_000

  init() {}

  /// Takes over what was counted at the start.
  func adopt(_ apps: [AppEntry]) { for app in apps { unsaved[ObjectIdentifier(app)] = app } }

  /// Counts with one lock for a batch.
  ///
  /// - Parameter body: counts events of the app.
  func count(_ app: AppEntry, _ body: (inout SeenShapes) -> Void) {
    app.tracking.withCurrent { body(&$0.seen) }
    if touched.last !== app, !touched.contains(where: { $0 === app }) { touched.append(app) }
  }

  /// At the end of a transaction, inside it.
  ///
  /// - Parameter head: the log's end before the transaction: what it adds is counted once it is on disk.
  func save(head: UInt64, _ connection: StoreConnection) throws {
    let now = MonotonicClock.now / 1_000_000
    if !unsaved.isEmpty, now - savedAt >= Limits.Plan.seenSavedMilliseconds {
      for app in unsaved.values { try SeenStore.save(app, connection) }
      try SeenStore.saveOffset(head, connection)
      hasSaved = true
      savedAt = now
    }
    // The log does not hold these: they could not be counted again.
    for app in touched { try SeenStore.addQuarantined(app, connection) }
  }

  /// The transaction is on disk.
  func commit() {
    if hasSaved {
      for app in unsaved.values { app.tracking.withCurrent { $0.seen.confirmSaved() } }
      unsaved.removeAll(keepingCapacity: true)
    }
    for app in touched {
      app.tracking.withCurrent { $0.seen.commit() }
      unsaved[ObjectIdentifier(app)] = app
    }
    end()
  }

  /// The transaction was taken back, and with it what it wrote down.
  func rollBack() {
    for app in touched { app.tracking.withCurrent { $0.seen.rollBack() } }
    end()
  }

  private func end() {
    touched.removeAll(keepingCapacity: true)
    hasSaved = false
  }
}
