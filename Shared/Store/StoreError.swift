import GRDBSQLite

/// What went wrong with a store.
package struct StoreError: Error, Sendable, Equatable, CustomStringConvertible {
  package enum Code: Sendable, Equatable {
    /// Another process has the file open.
    case locked
    /// The file was written by a later release.
    case newerVersion
    /// An earlier write or sync failed: nothing is written or read any more.
    case poisoned
    /// `close()` was called.
    case closed
    /// The disk, or the size that the options allow, is used up. Nothing of the transaction is kept, and the store goes on:
    /// the next write may find space.
    case diskFull
    /// The file is damaged, or no database at all.
    case corrupt
    /// The disk failed, or memory ran out in the middle of a write.
    case io
    /// The file could not be opened or made.
    case cannotOpen
    /// The file or its folder cannot be written to.
    case readOnly
    /// Too many callers wait for a reader.
    case busy
    /// A row would break a constraint of its table.
    case constraint
    /// The statement is wrong: a fault of ours.
    case statement
  }

  package let code: Code
  package let message: String
  /// SQLite's extended result code, 0 where the error is not SQLite's.
  package let sqliteCode: Int32

  package init(_ code: Code, _ message: String, sqliteCode: Int32 = 0) {
    self.code = code
    self.message = message
    self.sqliteCode = sqliteCode
  }

  init(sqliteCode: Int32, message: String) {
    let isMismatch = sqliteCode == Self.pageMismatch
    self.init(
      Self.code(of: sqliteCode), isMismatch ? "a page does not match its checksum" : message,
      sqliteCode: sqliteCode)
  }

  /// After such an error it is not known what is on disk: the store must not go on.
  var isFatal: Bool {
    switch code {
    case .corrupt, .io, .readOnly, .cannotOpen: true
    default: false
    }
  }

  package var description: String {
    sqliteCode == 0 ? "store \(code): \(message)" : "store \(code): \(message) (SQLite \(sqliteCode))"
  }

  /// SQLITE_IOERR_SHMSIZE: the index of the write-ahead log, which holds nothing durable, cannot grow.
  private static let sharedMemorySize = SQLITE_IOERR | 19 << 8

  /// SQLITE_IOERR_DATA: a page does not match its checksum.
  private static let pageMismatch = SQLITE_IOERR | 32 << 8

  private static func code(of sqliteCode: Int32) -> Code {
    if sqliteCode == sharedMemorySize { return .diskFull }
    if sqliteCode == pageMismatch { return .corrupt }
    return switch sqliteCode & 0xff {
    case SQLITE_FULL: .diskFull
    case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt
    case SQLITE_IOERR, SQLITE_NOMEM, SQLITE_PROTOCOL: .io
    case SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH: .cannotOpen
    case SQLITE_READONLY: .readOnly
    case SQLITE_BUSY, SQLITE_LOCKED: .busy
    case SQLITE_CONSTRAINT: .constraint
    default: .statement
    }
  }
}
