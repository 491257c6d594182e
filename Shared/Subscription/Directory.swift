internal import Messages
package import ServiceKit
package import Store
internal import SwiftProtobuf
internal import Synchronization

/// The apps and tokens that the log has named so far, kept in the consumer's own store and in memory. Safe from any
/// thread: readers see what is committed.
package final class Directory: Sendable {
  /// The tables of this module. Migrations of a store are numbered without gaps: a consumer's own begin at
  /// `firstFreeMigration`.
  ///
  /// ```
  /// log_position      (id = 1)    -> next offset to apply, receipt time of the last record applied
  /// directory_app     (app_id)    -> encoded App
  /// directory_token   (token_id)  -> encoded TokenRecord: the secret's hash, never the secret
  /// directory_source  (app_id)    -> encoded AppSources
  /// ```
  package static let migrations = [
    Migration(
      1,
      """
      CREATE TABLE log_position (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        next_offset INTEGER NOT NULL,
        received_ms INTEGER NOT NULL
      );
      INSERT INTO log_position VALUES (1, 0, 0);
      CREATE TABLE directory_app (
        app_id TEXT PRIMARY KEY,
        definition BLOB NOT NULL
      ) WITHOUT ROWID;
      CREATE TABLE directory_token (
        token_id TEXT PRIMARY KEY,
        record BLOB NOT NULL
      ) WITHOUT ROWID;
      """)
  ]
  package static let firstFreeMigration = 2

  /// What was added since: behind the consumer's own, numbered from `first` on.
  package static func laterMigrations(from first: Int) -> [Migration] {
    [
      Migration(
        first,
        """
        CREATE TABLE directory_source (
          app_id TEXT PRIMARY KEY,
          record BLOB NOT NULL
        ) WITHOUT ROWID;
        """)
    ]
  }

  private struct State {
    var apps: [String: DirectoryApp] = [:]
    /// Of the transaction that runs; seen by the follower only.
    var newApps: [String: DirectoryApp] = [:]
    var newTokens: [ProtoTokenRecord] = []
  }

  private let tokens: TokenTable
  private let state: Mutex<State>

  /// Reads what an earlier run left and fills the table of tokens.
  ///
  /// - Parameter store: opened with `migrations` and `laterMigrations`.
  package init(store: Store, tokens: TokenTable) throws {
    self.tokens = tokens
    let (apps, records) = try store.read { connection in
      let apps = try connection.query(
        "SELECT definition, record FROM directory_app LEFT JOIN directory_source USING (app_id)"
      ) { row in
        // Where an app has no row of sources, the bytes are empty: an empty message.
        try DirectoryApp(
          ProtoApp(serializedBytes: row.bytes(0)),
          sources: ProtoAppSources(serializedBytes: row.bytes(1)))
      }
      let records = try connection.query("SELECT record FROM directory_token") { row in
        try ProtoTokenRecord(serializedBytes: row.bytes(0))
      }
      return (apps, records)
    }
    state = Mutex(State(apps: Dictionary(uniqueKeysWithValues: apps.map { ($0.appID, $0) })))
    for record in records { tokens.apply(record) }
  }

  /// nil: no app of this id is known here as of the applied position.
  package func app(_ appID: String) -> DirectoryApp? { state.withLock { $0.apps[appID] } }

  /// In the order of their ids.
  package var apps: [DirectoryApp] {
    state.withLock { $0.apps.values.sorted { $0.appID < $1.appID } }
  }

  /// How far this store has come, as of the connection's snapshot.
  package static func position(in connection: StoreConnection) throws -> LogPosition {
    let stored = try connection.first("SELECT next_offset, received_ms FROM log_position") { row in
      LogPosition(
        nextOffset: UInt64(bitPattern: row.int64(0)), lastReceivedMilliseconds: row.int64(1))
    }
    return stored ?? LogPosition()
  }

  // MARK: - The follower's transaction

  func appInTransaction(_ appID: String) -> DirectoryApp? {
    state.withLock { $0.newApps[appID] ?? $0.apps[appID] }
  }

  func put(_ app: DirectoryApp, in connection: StoreConnection) throws {
    let statement = try connection.statement("INSERT OR REPLACE INTO directory_app VALUES (?, ?)")
    try statement.bind(1, app.appID)
    try statement.bind(2, blob: app.definition.serializedBytes() as [UInt8])
    try statement.run()
    state.withLock { $0.newApps[app.appID] = app }
  }

  /// Takes an app's changed sources.
  func putSources(_ app: DirectoryApp, in connection: StoreConnection) throws {
    let statement = try connection.statement(
      "INSERT OR REPLACE INTO directory_source VALUES (?, ?)")
    try statement.bind(1, app.appID)
    try statement.bind(2, blob: app.sourceRecord.serializedBytes() as [UInt8])
    try statement.run()
    state.withLock { $0.newApps[app.appID] = app }
  }

  func put(_ record: ProtoTokenRecord, in connection: StoreConnection) throws {
    let statement = try connection.statement("INSERT OR REPLACE INTO directory_token VALUES (?, ?)")
    try statement.bind(1, record.token.tokenID)
    try statement.bind(2, blob: record.serializedBytes() as [UInt8])
    try statement.run()
    state.withLock { $0.newTokens.append(record) }
  }

  static func store(_ position: LogPosition, in connection: StoreConnection) throws {
    let statement = try connection.statement(
      "UPDATE log_position SET next_offset = ?, received_ms = ? WHERE id = 1")
    try statement.bind(1, Int64(bitPattern: position.nextOffset))
    try statement.bind(2, position.lastReceivedMilliseconds)
    try statement.run()
    precondition(connection.changes == 1, "a store has exactly one position")
  }

  /// Shows everybody what the transaction brought.
  func didCommit() {
    let records = state.withLock { state in
      state.apps.merge(state.newApps) { _, new in new }
      state.newApps = [:]
      defer { state.newTokens = [] }
      return state.newTokens
    }
    for record in records { tokens.apply(record) }
  }

  func didRollBack() {
    state.withLock { state in
      state.newApps = [:]
      state.newTokens = []
    }
  }
}
