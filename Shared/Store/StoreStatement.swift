import GRDBSQLite

/// A prepared statement. Belongs to its connection: use it inside the closure of `read` or `write` only.
///
/// Bind, `step` until false (or `run`), `reset`. Indexes of parameters begin at 1, of columns at 0, as in SQLite.
package final class StoreStatement {
  private let handle: OpaquePointer
  private unowned let connection: StoreConnection

  init(_ sql: String, connection: StoreConnection) throws(StoreError) {
    var handle: OpaquePointer?
    let code = sqlite3_prepare_v3(
      connection.database, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
    guard code == SQLITE_OK else { throw connection.failure(code) }
    guard let handle else { throw StoreError(.statement, "empty statement") }
    self.handle = handle
    self.connection = connection
  }

  deinit { sqlite3_finalize(handle) }

  // MARK: Binding

  package func bind(_ index: Int, _ value: Int64) throws(StoreError) {
    try check(sqlite3_bind_int64(handle, Int32(index), value))
  }

  package func bind(_ index: Int, _ value: Int) throws(StoreError) {
    try bind(index, Int64(value))
  }

  package func bind(_ index: Int, _ value: Double) throws(StoreError) {
    try check(sqlite3_bind_double(handle, Int32(index), value))
  }

  package func bind(_ index: Int, _ value: String) throws(StoreError) {
    var value = value
    let code = value.withUTF8 { text in
      text.withMemoryRebound(to: CChar.self) {
        sqlite3_bind_text64(
          handle, Int32(index), $0.baseAddress ?? emptyText, UInt64($0.count), transient,
          UInt8(SQLITE_UTF8))
      }
    }
    try check(code)
  }

  /// Binds bytes by copying them.
  package func bind(_ index: Int, blob: [UInt8]) throws(StoreError) {
    let code = blob.withUnsafeBytes { bindBlob(index, $0, transient) }
    try check(code)
  }

  /// Binds bytes in place: they must stay where they are until the next `reset` or `run`.
  package func bind(_ index: Int, blob: UnsafeRawBufferPointer) throws(StoreError) {
    try check(bindBlob(index, blob, nil))
  }

  package func bindNull(_ index: Int) throws(StoreError) {
    try check(sqlite3_bind_null(handle, Int32(index)))
  }

  package func bind(_ index: Int, _ value: StoreValue) throws(StoreError) {
    switch value {
    case .null: try bindNull(index)
    case .integer(let value): try bind(index, value)
    case .double(let value): try bind(index, value)
    case .text(let value): try bind(index, value)
    case .blob(let value): try bind(index, blob: value)
    }
  }

  package func bind(_ values: [StoreValue]) throws(StoreError) {
    for (index, value) in values.enumerated() { try bind(index + 1, value) }
  }

  private func bindBlob(
    _ index: Int, _ bytes: UnsafeRawBufferPointer, _ destructor: sqlite3_destructor_type?
  ) -> Int32 {
    // A null pointer would bind NULL, not an empty blob.
    guard let base = bytes.baseAddress, bytes.count > 0 else {
      return sqlite3_bind_zeroblob(handle, Int32(index), 0)
    }
    return sqlite3_bind_blob64(handle, Int32(index), base, UInt64(bytes.count), destructor)
  }

  // MARK: Running

  /// Moves to the next row; false at the end.
  package func step() throws(StoreError) -> Bool {
    switch sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    case let code: throw connection.failure(code)
    }
  }

  /// Runs a statement that answers no rows, then resets it and lets go of what was bound.
  package func run() throws(StoreError) {
    defer { reset() }
    while try step() {}
  }

  /// Makes the statement ready for another run and lets go of what was bound.
  package func reset() {
    // The code repeats the failure of the last step, which has been thrown already.
    sqlite3_reset(handle)
    sqlite3_clear_bindings(handle)
  }

  // MARK: The row

  package func isNull(_ column: Int) -> Bool {
    sqlite3_column_type(handle, Int32(column)) == SQLITE_NULL
  }

  package func int64(_ column: Int) -> Int64 { sqlite3_column_int64(handle, Int32(column)) }

  package func int(_ column: Int) -> Int { Int(int64(column)) }

  package func double(_ column: Int) -> Double { sqlite3_column_double(handle, Int32(column)) }

  package func string(_ column: Int) -> String {
    guard let text = sqlite3_column_text(handle, Int32(column)) else { return "" }
    let count = Int(sqlite3_column_bytes(handle, Int32(column)))
    return String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self)
  }

  /// The bytes of a text in place: valid inside the closure.
  package func withText<T>(
    _ column: Int, _ body: (UnsafeRawBufferPointer) throws -> T
  ) rethrows -> T {
    let text = sqlite3_column_text(handle, Int32(column))
    let count = text == nil ? 0 : Int(sqlite3_column_bytes(handle, Int32(column)))
    return try body(UnsafeRawBufferPointer(start: text, count: count))
  }

  /// A blob in place: valid until the next `step` or `reset`.
  package func blob(_ column: Int) -> UnsafeRawBufferPointer {
    guard let base = sqlite3_column_blob(handle, Int32(column)) else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return UnsafeRawBufferPointer(
      start: base, count: Int(sqlite3_column_bytes(handle, Int32(column))))
  }

  /// A copy of a blob.
  package func bytes(_ column: Int) -> [UInt8] { Array(blob(column)) }

  private func check(_ code: Int32) throws(StoreError) {
    if code != SQLITE_OK { throw connection.failure(code) }
  }
}

/// SQLITE_TRANSIENT, which C spells as a cast that Swift does not import: SQLite copies what is bound.
private var transient: sqlite3_destructor_type {
  unsafeBitCast(-1, to: sqlite3_destructor_type.self)
}

/// Stands for the text of no bytes, whose pointer may be null and would bind NULL.
// Written by nobody and never freed, so any thread may read it.
private nonisolated(unsafe) let emptyText: UnsafePointer<CChar> = {
  let text = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
  text.pointee = 0
  return UnsafePointer(text)
}()
