import Events
import Store

/// Reads columns of a segment that the caller holds, of any version. For one load on one thread: it keeps what several
/// columns need.
final class SegmentReader {
  let segment: Segment
  private let connection: StoreConnection
  /// The last block that holds several columns.
  private var block: [UInt8] = []
  private var events: [UInt32]?
  /// Columns of contexts that others follow from: by position, which one of its values each context has.
  private var parents: [Int: [UInt32]] = [:]

  init(_ segment: Segment, from connection: StoreConnection) {
    self.segment = segment
    self.connection = connection
  }

  func fail(_ what: String) -> FormatError { FormatError("segment \(segment.id): \(what)") }

  /// - Parameters:
  ///   - most: numbers that the column may have.
  ///   - ends: the rows' groups, where it is one of rows by user.
  /// - Throws: `FormatError` where it is missing or damaged, naming it.
  func column<T: ColumnNumber>(
    _ column: SegmentColumn, _ type: T.Type, most: Int? = nil, ends: [UInt32] = []
  ) throws -> [T] {
    try withBytes(of: column) {
      try ColumnCodec.decode(type, $0, most: most ?? segment.rows, ends: ends)
    }
  }

  /// The contexts of the rows, run by run.
  ///
  /// - Parameter ends: of the rows' users.
  func contextRuns(ends: [UInt32]) throws -> ContextRuns {
    try withBytes(of: .rowContext) { try ContextRuns(packed: $0, most: segment.rows, ends: ends) }
  }

  /// Users of a class of traffic: those of the day, where they are all.
  func activeUsers(_ traffic: Int) throws -> [UInt32] {
    let listed = try withBytes(of: .active(traffic)) { bytes -> [UInt32]? in
      if bytes.count == 1, bytes[0] == ColumnCodec.Tag.ofUsers { return nil }
      return try ColumnCodec.decode(UInt32.self, bytes, most: segment.rows)
    }
    return try listed ?? column(.users, UInt32.self)
  }

  // MARK: Columns that follow from others

  /// A column of the contexts, which may follow from another one.
  func contextColumn(_ position: Int) throws -> [UInt32] {
    let (values, follower) = try withBytes(of: .context(position)) { bytes in
      let follower = try ContextFollower(bytes, most: segment.contexts)
      let values = try follower == nil ? ColumnCodec.decode(UInt32.self, bytes, most: segment.rows) : []
      return (values, follower)
    }
    guard let follower else { return values }
    return try follower.values(of: try parent(follower.parent))
  }

  private func parent(_ position: Int) throws -> [UInt32] {
    if let known = parents[position] { return known }
    let numbers = try withBytes(of: .context(position)) { bytes in
      try ColumnCodec.withPlain(bytes, most: segment.contexts) {
        try ColumnCodec.decodeNumbers($0, most: segment.contexts)
      }
    }
    guard numbers.count == segment.contexts else {
      throw fail("column \(position) of its contexts does not fit the others")
    }
    parents[position] = numbers
    return numbers
  }

  /// The rows that have a field, ascending: all of some events, where it is those.
  ///
  /// - Parameter known: events of the rows, where they have been read.
  func fieldRows(_ field: UInt32, count: Int, events known: [UInt32]?) throws -> [UInt32] {
    let (rows, byEvents) = try withBytes(of: .fieldRows(field)) { bytes in
      try ColumnCodec.withPlain(bytes, most: segment.rows) { bytes -> ([UInt32], FieldRows?) in
        let byEvents = try FieldRows(bytes)
        let rows = try byEvents == nil ? ColumnCodec.decode(UInt32.self, bytes, most: segment.rows) : []
        return (rows, byEvents)
      }
    }
    guard let byEvents else { return rows }
    guard let found = byEvents.rows(among: try known ?? readEvents(), count: count) else {
      throw fail("field \(field) does not fit the rows")
    }
    return found
  }

  private func readEvents() throws -> [UInt32] {
    if let events { return events }
    let events = try column(.event, UInt32.self)
    self.events = events
    return events
  }

  // MARK: Bytes

  /// Calls the closure with a column as it is stored, its checksum compared. Not for reading another one meanwhile.
  private func withBytes<Result>(
    of column: SegmentColumn, _ body: (UnsafeRawBufferPointer) throws -> Result
  ) throws -> Result {
    let number = column.number
    if let kept = try block.withUnsafeBytes({ try Self.find(number, in: $0).map(body) }) { return kept }
    let isInBlock = segment.version >= SegmentTable.firstVersionOfBlocks
    let sql =
      isInBlock
      ? """
      SELECT checksum, data FROM segment_column WHERE segment = ? AND number <= ?
      ORDER BY number DESC LIMIT 1
      """ : "SELECT checksum, data FROM segment_column WHERE segment = ? AND number = ?"
    let result = try connection.first(sql, [.integer(segment.id), .integer(number)]) {
      row -> Result? in
      let bytes = row.blob(1)
      guard Int64(CRC32C.checksum(bytes)) == row.int64(0) else {
        throw fail("column \(number): wrong checksum")
      }
      guard isInBlock else { return try body(bytes) }
      let columns = try ColumnBlock.columns(bytes)
      if columns.count > 1 { block = Array(bytes) }
      return try columns.first { $0.number == number }.map { try body($0.bytes) }
    }
    guard let row = result, let found = row else { throw fail("column \(number): missing") }
    return found
  }

  private static func find(
    _ number: Int64, in block: UnsafeRawBufferPointer
  ) throws(FormatError) -> UnsafeRawBufferPointer? {
    if block.isEmpty { return nil }
    return try ColumnBlock.columns(block).first { $0.number == number }?.bytes
  }
}
