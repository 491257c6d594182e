package import Store
import Events
import Synchronization

/// The store of reports: applies the log, keeps columns, answers what `Reports` ask. Knows no RPC.
///
/// One thread applies (`apply`, `willCommit`, `didCommit`), one merges (`mergeIfDue`); any number ask.
package final class QueryEngine: Sendable {
  let store: Store
  let cache: DayCache
  let trendTotals = TrendTotals()
  private let state: Mutex<State>
  private let queries = Atomic<Int>(0)
  /// Changes of history that are no record of the log.
  let historyVersion = Atomic<Int>(0)
  /// Held while rows become visible, so that a snapshot has all rows before its offset and no others.
  private let position: Mutex<AppliedPosition>
  let retired = Mutex<[RetiredSegment]>([])
  /// Erased users whose rows are gone but may still lie in the file's free space.
  let scrubs = Mutex(ScrubState())
  /// One merge at a time.
  let merging = Mutex(())

  private struct State {
    var apps: [String: AppState] = [:]
    /// Defined in the transaction that is being made.
    var newApps: [String] = []
  }

  /// A replaced segment whose columns may still be read.
  struct RetiredSegment: Sendable {
    let id: Int64
    weak var segment: Segment?
  }

  /// Reads what an earlier run left.
  ///
  /// - Throws: `FormatError` where the file holds something damaged or of an unknown version.
  package init(store: Store, cacheBytesMax: Int? = nil) throws {
    Limits.assertRelations()
    self.store = store
    cache = DayCache(bytesMax: cacheBytesMax ?? Limits.cacheBytesDefault)
    try store.write { try SegmentTable.deleteIdle(in: $0) }
    let apps = try EngineFile.loadApps(store)
    state = Mutex(State(apps: Dictionary(uniqueKeysWithValues: apps.map { ($0.appID, $0) })))
    position = Mutex(try store.read { try EngineFile.loadPosition($0) })
    // Nothing is answered of users who are to be erased.
    if waitingErasures > 0 { try mergeIfDue(rows: .max) }
  }

  /// The tables of the engine, numbered from `first` on.
  package static func migrations(from first: Int) -> [Migration] { Schema.migrations(from: first) }

  /// Those that are numbered behind `Directory.laterMigrations`.
  package static func laterMigrations(from first: Int) -> [Migration] {
    Schema.laterMigrations(from: first)
  }

  /// How many numbers `migrations` take.
  package static let migrationCount = Schema.migrationCount

  // MARK: Apps

  func app(_ appID: String) -> AppState? { state.withLock { $0.apps[appID] } }

  var apps: [AppState] { state.withLock { Array($0.apps.values) } }

  /// Takes an app, or its changed definition, inside the transaction that applies the log.
  ///
  /// - Throws: `FormatError` for a time zone that this machine does not know.
  package func define(_ definition: AppDefinition, in connection: StoreConnection) throws {
    guard let calendar = AppCalendar(definition.timeZone) else {
      throw FormatError("app \(definition.appID): unknown time zone \(definition.timeZone)")
    }
    if let known = app(definition.appID) {
      try EngineFile.update(known.id, definition, in: connection)
      return try redefine(known, definition, in: connection)
    }
    let id = try EngineFile.insert(definition, in: connection)
    let app = AppState(id: id, definition: definition, calendar: calendar)
    state.withLock { state in
      state.apps[definition.appID] = app
      state.newApps.append(definition.appID)
    }
  }

  /// Where other scenes are left out than before, users may have been active first at other times: they are found anew from
  /// all of the app's events, now, so that the next question sees the change in all history at once. Rare, and linear in
  /// the events; what comes after it waits.
  private func redefine(
    _ app: AppState, _ definition: AppDefinition, in connection: StoreConnection
  ) throws {
    let exclusion = SceneExclusion(definition.sources)
    let history = app.tables.withLock { tables -> EventHistory? in
      // Days are cut at receipt: a zone, once given, stays.
      precondition(
        tables.definition.timeZone == definition.timeZone, "an app's time zone is fixed")
      return exclusion == tables.exclusionInTransaction ? nil : EventHistory(tables)
    }
    let times = try history?.firstActiveTimes(exclusion, from: connection)
    app.tables.withLock { $0.define(definition, times: times) }
  }

  /// Takes the erasure of a user inside the transaction that applies the log. From its commit on the user's open_id is not known
  /// any more; rows and what only they used go with the next merge. Cost: looks at every user of the app.
  ///
  /// - Parameter matches: whether an open_id is the user's.
  package func erase(
    _ appID: String, in connection: StoreConnection,
    where matches: (UnsafeRawBufferPointer) -> Bool
  ) throws {
    guard let app = app(appID) else { return }
    app.unpack(.users)
    // Only this thread changes dictionaries' look-ups: the copy shares their memory.
    let users = app.tables.withLock { tables in
      tables.codeUsers()
      return tables[.users]
    }
    let codes = users.codes(where: matches)
    guard !codes.isEmpty else { return }
    let left = try app.tables.withLock { tables in
      try EngineFile.storeNewEntries(app.id, &tables, in: connection)
      tables.pendingErasures += codes
      var left = tables[.users]
      left.hide(codes)
      return left
    }
    try EngineFile.rewriteEntries(app.id, .users, codes, of: left, in: connection)
    try EngineFile.insertErasures(app.id, codes, in: connection)
    CrashPoint.reached("erase.written")
  }

  // MARK: Snapshots

  /// What a query sees from now on.
  ///
  /// - Throws: NOT_FOUND where the log has named no such app.
  func snapshot(_ appID: String) throws -> AppSnapshot {
    queries.wrappingAdd(1, ordering: .relaxed)
    return try position.withLock { position in
      guard let app = app(appID) else {
        throw QueryError(.notFound, "app_id: no app \"\(appID.prefix(64))\" is known here")
      }
      return AppSnapshot(app, position: position)
    }
  }

  /// Queries begun since the start.
  package var queryCount: Int { queries.load(ordering: .relaxed) }

  package var unsealedRows: Int {
    apps.reduce(0) { $0 + $1.tables.withLock { $0.unsealedRows } }
  }

  package var currentPosition: AppliedPosition { position.withLock { $0 } }

  // MARK: Applying the log

  /// Writes what the transaction added: new dictionary entries, one row block per app, the position.
  package func willCommit(_ next: AppliedPosition, in connection: StoreConnection) throws {
    for app in apps { try app.tables.withLock { try EngineFile.storePending(app.id, &$0, in: connection) } }
    try EngineFile.storePosition(next, in: connection)
    CrashPoint.reached("apply.written")
  }

  /// Makes the transaction's rows visible. Call it once the transaction is committed.
  package func didCommit(_ next: AppliedPosition) {
    CrashPoint.reached("apply.committed")
    state.withLock { $0.newApps = [] }
    position.withLock { position in
      for app in apps { app.tables.withLock { $0.commitPending() } }
      position = next
    }
  }

  /// Forgets the transaction's rows. New dictionary entries stay: they are written with the next commit.
  package func didRollBack() {
    state.withLock { state in
      for appID in state.newApps { state.apps[appID] = nil }
      state.newApps = []
    }
    for app in apps { app.tables.withLock { $0.discardPending() } }
  }
}
