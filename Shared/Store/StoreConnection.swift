import GRDBSQLite

/// One connection, inside the closure of `read` or `write`.
package final class StoreConnection {
  let database: OpaquePointer
  private var statements: [String: StoreStatement] = [:]
  /// The first error after which the store must not go on, kept here in case the closure swallows it.
  private(set) var fatalError: StoreError?
  /// The full disk that the current transaction met, kept for the same reason: SQLite may have rolled back by itself.
  private(set) var fullDisk: StoreError?
  /// Pages in the write-ahead log after the last commit, counted by SQLite.
  private let walPages: UnsafeMutablePointer<Int>

  init(_ database: OpaquePointer) {
    self.database = database
    walPages = .allocate(capacity: 1)
    walPages.initialize(to: 0)
  }

  deinit { walPages.deallocate() }

  /// Counts the pages of the write-ahead log from now on. Replaces the hook of SQLite's own automatic checkpoints.
  func watchLog() {
    sqlite3_wal_hook(
      database,
      { context, _, _, pages in
        context?.assumingMemoryBound(to: Int.self).pointee = Int(pages)
        return SQLITE_OK
      }, walPages)
  }

  /// Begins a transaction that writes.
  func begin() throws(StoreError) {
    fullDisk = nil
    try execute("BEGIN IMMEDIATE")
  }

  /// Before the connection is closed: nothing of it may be called afterwards.
  func invalidate() {
    sqlite3_wal_hook(database, nil, nil)
    statements.removeAll()
  }

  /// A prepared statement, kept for the next time. A statement serves one use at a time: it is reset here.
  package func statement(_ sql: String) throws(StoreError) -> StoreStatement {
    if let statement = statements[sql] {
      statement.reset()
      return statement
    }
    if statements.count >= Limits.cachedStatementsMax { statements.removeAll() }
    let statement = try StoreStatement(sql, connection: self)
    statements[sql] = statement
    return statement
  }

  /// Runs one statement that answers no rows.
  package func execute(_ sql: String, _ values: [StoreValue] = []) throws(StoreError) {
    let statement = try statement(sql)
    try statement.bind(values)
    try statement.run()
  }

  /// Runs several statements, without values.
  package func executeScript(_ sql: String) throws(StoreError) {
    let code = sqlite3_exec(database, sql, nil, nil, nil)
    if code != SQLITE_OK { throw failure(code) }
  }

  /// All rows of a query.
  package func query<T>(
    _ sql: String, _ values: [StoreValue] = [], _ row: (StoreStatement) throws -> T
  ) throws -> [T] {
    let statement = try statement(sql)
    defer { statement.reset() }
    try statement.bind(values)
    var rows: [T] = []
    while try statement.step() { rows.append(try row(statement)) }
    return rows
  }

  /// The first row of a query, nil where there is none.
  package func first<T>(
    _ sql: String, _ values: [StoreValue] = [], _ row: (StoreStatement) throws -> T
  ) throws -> T? {
    let statement = try statement(sql)
    defer { statement.reset() }
    try statement.bind(values)
    return try statement.step() ? try row(statement) : nil
  }

  /// Rows that the last INSERT, UPDATE or DELETE changed.
  package var changes: Int { Int(sqlite3_changes(database)) }

  package var lastInsertRowID: Int64 { sqlite3_last_insert_rowid(database) }

  var isInTransaction: Bool { sqlite3_get_autocommit(database) == 0 }

  /// Pages of the write-ahead log at the last commit of this connection.
  var walPageCount: Int { walPages.pointee }

  /// Copies what it can from the write-ahead log into the file. Returns whether all of it was copied, and cut where that was asked.
  ///
  /// - Parameter waits: whether cutting waits for readers of an older state, `Limits.busyTimeoutMilliseconds` at most.
  func checkpoint(truncate: Bool, waits: Bool = true) throws(StoreError) -> Bool {
    if !waits { sqlite3_busy_timeout(database, 0) }
    defer { if !waits { sqlite3_busy_timeout(database, Int32(Limits.busyTimeoutMilliseconds)) } }
    var pages: Int32 = 0
    var copied: Int32 = 0
    let mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE
    let code = sqlite3_wal_checkpoint_v2(database, nil, mode, &pages, &copied)
    // A reader still stands on an older state: the rest is copied another time.
    if code & 0xff == SQLITE_BUSY { return false }
    guard code == SQLITE_OK else { throw failure(code) }
    if truncate { walPages.pointee = 0 }
    return pages == copied
  }

  /// The error of the last call, remembered where it is fatal.
  func failure(_ code: Int32) -> StoreError {
    let extended = sqlite3_extended_errcode(database)
    let error = StoreError(
      sqliteCode: extended & 0xff == code & 0xff ? extended : code,
      message: String(cString: sqlite3_errmsg(database)))
    if error.isFatal, fatalError == nil { fatalError = error }
    if error.code == .diskFull, fullDisk == nil { fullDisk = error }
    return error
  }
}
