import Messages
import Store
import SwiftProtobuf

/// The tables of one app's plan, within a transaction. Described in docs/formats.md.
struct PlanRows {
  private let connection: StoreConnection
  private let app: Int64

  /// - Parameter app: its number in the store.
  init(_ connection: StoreConnection, app: Int64) {
    self.connection = connection
    self.app = app
  }

  // MARK: Mode, pages, versions

  /// An app without a row has an open plan without pages.
  func plan() throws -> ProtoAppPlan {
    let stored = try connection.first("SELECT body FROM plan WHERE app = ?", [.integer(app)]) {
      try ProtoAppPlan(serializedBytes: $0.bytes(0))
    }
    guard let stored else { return ProtoAppPlan.with { $0.mode = .open } }
    return stored
  }

  /// Mode, pages and version; the numbers of events are not stored.
  func put(_ plan: ProtoAppPlan) throws {
    var plan = plan
    (plan.events, plan.publishedEvents) = (0, 0)
    try connection.execute(
      "INSERT INTO plan(app, body) VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
      [.integer(app), .blob(try plan.serializedBytes())])
  }

  // MARK: Events

  func event(_ name: String) throws -> ProtoPlannedEvent? {
    try connection.first(
      "SELECT body FROM plan_event WHERE app = ? AND name = ?", [.integer(app), .text(name)],
      Self.event)
  }

  private static func event(_ row: StoreStatement) throws -> ProtoPlannedEvent {
    try ProtoPlannedEvent(serializedBytes: row.bytes(0))
  }

  /// All events, archived ones included, by name.
  func events() throws -> [ProtoPlannedEvent] {
    try connection.query(
      "SELECT body FROM plan_event WHERE app = ? ORDER BY name", [.integer(app)], Self.event)
  }

  func eventCount() throws -> Int {
    try connection.first("SELECT count(*) FROM plan_event WHERE app = ?", [.integer(app)]) {
      $0.int(0)
    } ?? 0
  }

  /// The name of the event that has the Chinese name.
  func owner(ofChineseName name: String) throws -> String? {
    try connection.first(
      "SELECT name FROM plan_event WHERE app = ? AND chinese_name = ?",
      [.integer(app), .text(name)]
    ) { $0.string(0) }
  }

  func put(_ event: ProtoPlannedEvent) throws {
    try connection.execute(
      """
      INSERT INTO plan_event(app, name, chinese_name, body) VALUES (?, ?, ?, ?)
      ON CONFLICT(app, name) DO UPDATE SET body = excluded.body
      """,
      [
        .integer(app), .text(event.definition.name), .text(event.definition.chineseName),
        .blob(try event.serializedBytes()),
      ])
  }

  // MARK: History

  /// Keeps a change, and lets go of the oldest beyond the bound.
  func put(_ change: ProtoEventChange) throws {
    let name = change.event.definition.name
    let revision = Int64(change.event.revision)
    try connection.execute(
      "INSERT INTO plan_change(app, name, revision, body) VALUES (?, ?, ?, ?)",
      [.integer(app), .text(name), .integer(revision), .blob(try change.serializedBytes())])
    try connection.execute(
      "DELETE FROM plan_change WHERE app = ? AND name = ? AND revision <= ?",
      [.integer(app), .text(name), .integer(revision - Int64(Limits.Plan.historyMax))])
  }

  /// The newest first, before a revision.
  func changes(of name: String, before revision: UInt32, limit: Int) throws -> [ProtoEventChange] {
    try connection.query(
      """
      SELECT body FROM plan_change WHERE app = ? AND name = ? AND revision < ?
      ORDER BY revision DESC LIMIT ?
      """,
      [
        .integer(app), .text(name), .integer(revision == 0 ? .max : Int64(revision)),
        .integer(Int64(limit)),
      ]
    ) { try ProtoEventChange(serializedBytes: $0.bytes(0)) }
  }

  // MARK: What was checked

  /// The fingerprint of the content that was checked last under the name.
  func checked(_ name: String) throws -> [UInt8]? {
    try connection.first(
      "SELECT fingerprint FROM plan_check WHERE app = ? AND name = ?",
      [.integer(app), .text(name)]
    ) { $0.bytes(0) }
  }

  /// Keeps as many as there can be events; the oldest gives way.
  func putChecked(_ name: String, _ fingerprint: [UInt8], now: Int64) throws {
    try connection.execute(
      """
      INSERT INTO plan_check(app, name, fingerprint, checked_ms) VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, checked_ms = excluded.checked_ms
      """,
      [.integer(app), .text(name), .blob(fingerprint), .integer(now)])
    try connection.execute(
      """
      DELETE FROM plan_check WHERE app = ?1 AND name IN (
        SELECT name FROM plan_check WHERE app = ?1 ORDER BY checked_ms DESC, name LIMIT -1 OFFSET ?2)
      """,
      [.integer(app), .integer(Int64(Limits.Plan.eventsMax))])
  }

  // MARK: Who

  /// A token as the history names it. Tokens of the open authorizer of tests have no row.
  func actor(_ tokenID: String) throws -> ProtoPlanActor {
    var actor = ProtoPlanActor()
    actor.tokenID = tokenID
    let body = try connection.first(
      "SELECT body FROM token WHERE token_id = ?", [.text(tokenID)]
    ) { $0.bytes(0) }
    if let body { actor.label = try ProtoTokenRecord(serializedBytes: body).token.label }
    return actor
  }
}
