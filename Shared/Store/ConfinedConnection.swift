import CPageChecks
import Dispatch
import GRDB
import GRDBSQLite

/// A connection on its own serial queue. The only file that knows GRDB's types.
// Sendable because `connection` is touched on the queue of `database` only.
final class ConfinedConnection: @unchecked Sendable {
  private let database: DatabaseQueue
  private let connection: StoreConnection

  enum Role { case writer, reader }

  init(path: String, role: Role, options: StoreOptions) throws(StoreError) {
    do {
      let database = try DatabaseQueue(
        path: path, configuration: Self.configuration(role, options))
      self.database = database
      self.connection = try database.writeWithoutTransaction { database in
        guard let handle = database.sqliteConnection else {
          throw StoreError(.cannotOpen, "\(path): no connection")
        }
        return StoreConnection(handle)
      }
      try sync { connection in try Self.tune(connection, role, options) }
    } catch let error as StoreError {
      throw error
    } catch let error as DatabaseError {
      throw StoreError(
        sqliteCode: error.extendedResultCode.rawValue,
        message: "\(path): \(error.message ?? "cannot be opened")")
    } catch {
      throw StoreError(.cannotOpen, "\(path): \(error)")
    }
  }

  private static func configuration(_ role: Role, _ options: StoreOptions) -> Configuration {
    var configuration = Configuration()
    configuration.readonly = role == .reader
    configuration.foreignKeysEnabled = false
    configuration.busyMode = .timeout(Double(Limits.busyTimeoutMilliseconds) / 1_000)
    if role == .writer {
      configuration.journalMode = .wal
      let pageBytes = options.pageBytes
      let givesSpaceBack = options.givesSpaceBack
      let reservedBytes = options.checksPages ? FOOTFALL_PAGE_CHECK_BYTES : 0
      // Has to come before the first page is written, so before the journal mode.
      configuration.prepareDatabase { database in
        var reserved = reservedBytes
        // A file that exists keeps what it was made with.
        _ = sqlite3_file_control(
          database.sqliteConnection, nil, SQLITE_FCNTL_RESERVE_BYTES, &reserved)
        try database.execute(sql: "PRAGMA page_size = \(pageBytes)")
        if givesSpaceBack { try database.execute(sql: "PRAGMA auto_vacuum = INCREMENTAL") }
      }
    }
    return configuration
  }

  private static func tune(
    _ connection: StoreConnection, _ role: Role, _ options: StoreOptions
  ) throws(StoreError) {
    // No memory map: it turns a failing disk into a signal.
    try connection.executeScript("PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 0;")
    switch role {
    case .reader:
      try connection.executeScript("PRAGMA cache_size = -\(options.readerCacheKiB)")
    case .writer:
      let synchronous = options.durability == .full ? "FULL" : "NORMAL"
      try connection.executeScript(
        """
        PRAGMA cache_size = -\(options.writerCacheKiB);
        PRAGMA synchronous = \(synchronous);
        PRAGMA secure_delete = \(options.overwritesDeleted ? "ON" : "OFF");
        PRAGMA journal_size_limit = \(options.checkpointBytes * 4);
        """)
      if options.fileBytesMax > 0 {
        let pages = max(options.fileBytesMax / options.pageBytes, 1)
        try connection.executeScript("PRAGMA max_page_count = \(pages)")
      }
    }
    connection.watchLog()
  }

  /// Runs on the connection's queue, after what is queued there. Not reentrant.
  func sync<T>(_ body: (StoreConnection) throws -> T) rethrows -> T {
    try database.writeWithoutTransaction { _ in try body(connection) }
  }

  /// The same without blocking the caller's thread.
  func async(_ body: @escaping @Sendable (StoreConnection) -> Void) {
    database.asyncWriteWithoutTransaction { [self] _ in body(connection) }
  }

  func close() throws(StoreError) {
    sync { $0.invalidate() }
    do {
      try database.close()
    } catch {
      throw StoreError(.io, "close: \(error)")
    }
  }
}
