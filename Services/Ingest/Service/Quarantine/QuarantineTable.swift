import Events
import Store

/// Events that are kept aside, in the table `quarantine`, bounded per app. Used by the writer only, inside its transaction.
///
/// A row that leaves stays behind without its event: by it a later delivery is known, however far the device has gone on.
final class QuarantineTable {
  /// What becomes of a row. Stored: never change a number.
  enum State: Int64, Sendable {
    case kept = 0
    /// The event is in the log.
    case replayed = 1
    case discarded = 2
  }

  /// What is known of an event that was kept aside before.
  struct Known {
    let id: Int64
    let state: State
    let reason: EventReason
    let text: EventProblem.Text
  }

  /// Rows of one app.
  private struct Usage {
    var kept = 0
    var bytes = 0
    /// Rows that have left.
    var settled = 0
  }

  let bounds: QuarantineBounds
  /// Of all apps.
  private(set) var keptCount = 0
  /// Since the start of the process.
  private(set) var droppedCount = 0
  private var usage: [Int64: Usage] = [:]
  private var isStale = false
  private var identities = IdentityFilter()

  init(_ connection: StoreConnection, bounds: QuarantineBounds) throws {
    self.bounds = bounds
    try QuarantineUpgrade.run(connection)
    try loadUsage(connection)
    try loadIdentities(connection)
  }

  /// The transaction was taken back: what is counted here is counted anew by the next one that needs it. The filter of
  /// identities may know too many, which does no harm.
  func rollBack() { isStale = true }

  private func refresh(_ connection: StoreConnection) throws {
    guard isStale else { return }
    isStale = false
    try loadUsage(connection)
  }

  private func loadUsage(_ connection: StoreConnection) throws {
    usage = [:]
    keptCount = 0
    _ = try connection.query(
      "SELECT app, state, count(*), sum(bytes) FROM quarantine GROUP BY app, state"
    ) { row in
      let count = row.int(2)
      if row.int64(1) == State.kept.rawValue {
        usage[row.int64(0), default: Usage()].kept = count
        usage[row.int64(0), default: Usage()].bytes = row.int(3)
        keptCount += count
      } else {
        usage[row.int64(0), default: Usage()].settled += count
      }
    }
  }

  private func loadIdentities(_ connection: StoreConnection) throws {
    identities = IdentityFilter()
    _ = try connection.query("SELECT app, identity FROM quarantine") { row in
      guard let identity = EventIdentity(bytes: row.blob(1)) else {
        throw StoreError(.corrupt, "an identity in the table `quarantine` is damaged")
      }
      identities.insert(identity.hash(app: row.int64(0)))
    }
  }

  // MARK: Looking up

  /// Whether any event may be one that was kept aside before. No look at the disk.
  var mayHoldAny: Bool { identities.count > 0 }

  /// The same of one event.
  func mayHold(_ event: PreparedEvent, of batch: PreparedBatch) -> Bool {
    mayHoldAny && identities.mayHold(EventIdentity(event, in: batch).hash(app: batch.app.number))
  }

  /// This very event.
  func find(
    _ event: PreparedEvent, of batch: PreparedBatch, _ connection: StoreConnection
  ) throws -> Known? {
    try connection.first(
      """
      SELECT id, state, reason, field, message FROM quarantine
      WHERE app = ? AND identity = ? AND content = ?
      """,
      [
        .integer(batch.app.number), .blob(EventIdentity(event, in: batch).bytes),
        .integer(Int64(bitPattern: event.content)),
      ]
    ) { row in
      Known(
        id: row.int64(0), state: try Self.state(row.int64(1)), reason: try Self.reason(row.int64(2)),
        text: .init(field: row.string(3), message: row.string(4)))
    }
  }

  /// Whether an event under the same number or id, of whatever content, entered the log from here.
  func hasReplayed(
    _ event: PreparedEvent, of batch: PreparedBatch, _ connection: StoreConnection
  ) throws -> Bool {
    try connection.first(
      "SELECT 1 FROM quarantine WHERE app = ? AND identity = ? AND state = 1",
      [.integer(batch.app.number), .blob(EventIdentity(event, in: batch).bytes)]
    ) { _ in true } ?? false
  }

  static func state(_ stored: Int64) throws -> State {
    guard let state = State(rawValue: stored) else {
      throw StoreError(.corrupt, "table quarantine: there is no state \(stored)")
    }
    return state
  }

  static func reason(_ stored: Int64) throws -> EventReason {
    guard let reason = UInt8(exactly: stored).flatMap(EventReason.init) else {
      throw StoreError(.corrupt, "table quarantine: there is no reason \(stored)")
    }
    return reason
  }

  // MARK: Keeping

  /// Keeps an event, unless it is kept already.
  ///
  /// - Parameter request: the batch with this event only.
  /// - Returns: what the answer says of it: as it was told when it came first; and whether that is now.
  func keep(
    _ problem: EventProblem, of batch: PreparedBatch, request: () -> [UInt8],
    _ connection: StoreConnection
  ) throws -> (problem: EventProblem, isNew: Bool) {
    let event = batch.events[problem.index]
    if mayHold(event, of: batch), let known = try find(event, of: batch, connection) {
      let told = EventProblem(
        index: problem.index, fate: .quarantined(known.reason), text: known.text,
        quarantineID: known.id)
      return (told, false)
    }
    var told = problem
    told.quarantineID = try insert(problem, event, batch, request(), connection)
    return (told, true)
  }

  private func insert(
    _ problem: EventProblem, _ event: PreparedEvent, _ batch: PreparedBatch, _ request: [UInt8],
    _ connection: StoreConnection
  ) throws -> Int64 {
    try refresh(connection)
    let app = batch.app.number
    let identity = EventIdentity(event, in: batch)
    let (name, sdkVersion) = batch.message.withUnsafeBytes {
      (event.name.text(in: $0), batch.sdkVersion.text(in: $0))
    }
    try connection.execute(
      """
      INSERT INTO quarantine(app, state, reason, identity, content, received_ms, bytes, name, field, message,
        sdk_version, note, request) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?)
      """,
      [
        .integer(app), .integer(Int64(problem.fate.reason?.rawValue ?? 0)), .blob(identity.bytes),
        .integer(Int64(bitPattern: event.content)), .integer(batch.clock.receivedMilliseconds),
        .integer(Int64(request.count)), .text(name), .text(problem.text.field),
        .text(problem.text.message), .text(sdkVersion), .blob(request),
      ])
    let id = connection.lastInsertRowID
    keptCount += 1
    usage[app, default: Usage()].kept += 1
    usage[app, default: Usage()].bytes += request.count
    identities.insert(identity.hash(app: app))
    try makeRoom(app, connection)
    // Identities that were dropped leave their bits: begin anew before most looks are in vain.
    let rows = usage.values.reduce(0) { $0 + $1.kept + $1.settled }
    if identities.count > IdentityFilter.identitiesMax, identities.count > 2 * rows {
      try loadIdentities(connection)
    }
    return id
  }

  /// Drops the oldest events of an app until it keeps within the bounds; the newest one stays in any case.
  private func makeRoom(_ app: Int64, _ connection: StoreConnection) throws {
    while let used = usage[app], used.kept > 1,
      used.kept > bounds.eventsMax || used.bytes > bounds.bytesMax
    {
      let oldest = try connection.first(
        "SELECT id, reason, bytes FROM quarantine WHERE app = ? AND state = 0 ORDER BY id LIMIT 1",
        [.integer(app)]
      ) { (id: $0.int64(0), reason: try Self.reason($0.int64(1)), bytes: $0.int(2)) }
      guard let oldest else { throw StoreError(.corrupt, "table quarantine: rows are missing") }
      try connection.execute("DELETE FROM quarantine WHERE id = ?", [.integer(oldest.id)])
      try count(.dropped, oldest.reason, app, connection)
      droppedCount += 1
      left(app, bytes: oldest.bytes)
    }
  }

  private func left(_ app: Int64, bytes: Int) {
    keptCount -= 1
    usage[app]?.kept -= 1
    usage[app]?.bytes -= bytes
  }

  // MARK: Leaving

  /// How a row left. Stored in `quarantine_total`: never change a number.
  enum Leave: Int64, Sendable, CaseIterable {
    case replayed = 1
    case discarded = 2
    case dropped = 3
  }

  /// A row that is kept: its event goes, what identifies it stays.
  func settle(
    _ row: QuarantinedRow, as state: State, note: String = "", _ connection: StoreConnection
  ) throws {
    precondition(state != .kept, "a row that leaves is not kept")
    try refresh(connection)
    try connection.execute(
      "UPDATE quarantine SET state = ?, note = ?, bytes = 0, request = x'' WHERE id = ? AND state = 0",
      [.integer(state.rawValue), .text(note), .integer(row.id)])
    precondition(connection.changes == 1, "a row leaves once")
    try count(state == .replayed ? .replayed : .discarded, row.reason, row.app, connection)
    left(row.app, bytes: row.request.count)
    usage[row.app]?.settled += 1
    try forgetOldest(row.app, connection)
  }

  /// Takes a row out whose user is erased, without a trace.
  ///
  /// - Returns: false where it is kept no more.
  func erase(_ id: Int64, _ connection: StoreConnection) throws -> Bool {
    try refresh(connection)
    let row = try connection.first(
      "SELECT app, bytes FROM quarantine WHERE id = ? AND state = 0", [.integer(id)]
    ) { (app: $0.int64(0), bytes: $0.int(1)) }
    guard let row else { return false }
    try connection.execute("DELETE FROM quarantine WHERE id = ?", [.integer(id)])
    left(row.app, bytes: row.bytes)
    return true
  }

  /// Of an app no more rows that have left are remembered than may be kept.
  private func forgetOldest(_ app: Int64, _ connection: StoreConnection) throws {
    guard let used = usage[app], used.settled > bounds.eventsMax else { return }
    try connection.execute(
      """
      DELETE FROM quarantine WHERE id IN (
        SELECT id FROM quarantine WHERE app = ? AND state > 0 ORDER BY id LIMIT ?)
      """, [.integer(app), .integer(Int64(used.settled - bounds.eventsMax))])
    usage[app]?.settled -= connection.changes
  }

  /// A row that stays, for another reason perhaps.
  func update(
    _ row: QuarantinedRow, _ reason: EventReason, _ text: EventProblem.Text,
    _ connection: StoreConnection
  ) throws {
    try connection.execute(
      "UPDATE quarantine SET reason = ?, field = ?, message = ? WHERE id = ?",
      [.integer(Int64(reason.rawValue)), .text(text.field), .text(text.message), .integer(row.id)])
  }

  private func count(
    _ leave: Leave, _ reason: EventReason, _ app: Int64, _ connection: StoreConnection
  ) throws {
    try connection.execute(
      """
      INSERT INTO quarantine_total(app, leave, reason, count) VALUES (?, ?, ?, 1)
      ON CONFLICT DO UPDATE SET count = count + 1
      """, [.integer(app), .integer(leave.rawValue), .integer(Int64(reason.rawValue))])
  }
}

/// How much of one app may be kept aside.
struct QuarantineBounds: Sendable {
  var eventsMax = Limits.quarantineEventsMax
  var bytesMax = Limits.quarantineBytesMax
}

/// A row that is kept, with its event.
struct QuarantinedRow: Sendable {
  let id: Int64
  let app: Int64
  let reason: EventReason
  let field: String
  let message: String
  let receivedMilliseconds: Int64
  /// Hash of the user and the event as it came.
  let content: UInt64
  let request: [UInt8]

  var text: EventProblem.Text { .init(field: field, message: message) }

  /// - Returns: nil where the app has no row of this id, `.right` where it has left.
  static func find(_ id: Int64, app: Int64, _ connection: StoreConnection) throws -> Found {
    let found = try connection.first(
      """
      SELECT state, reason, field, message, received_ms, content, request FROM quarantine
      WHERE id = ? AND app = ?
      """, [.integer(id), .integer(app)]
    ) { row -> Found in
      guard try QuarantineTable.state(row.int64(0)) == .kept else { return .settled }
      return .kept(
        QuarantinedRow(
          id: id, app: app, reason: try QuarantineTable.reason(row.int64(1)), field: row.string(2),
          message: row.string(3), receivedMilliseconds: row.int64(4), content: UInt64(bitPattern: row.int64(5)),
          request: row.bytes(6)))
    }
    return found ?? .none
  }

  enum Found: Sendable {
    case none
    case settled
    case kept(QuarantinedRow)
  }
}
