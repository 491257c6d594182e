import Events
import Store

/// A sealed day on disk. While anybody holds it, its columns stay readable, even after a newer one took its place.
final class Segment: Sendable {
  let id: Int64
  let day: Int32
  let beginMilliseconds: Int64
  let rows: Int
  /// Time of the latest event, ms since 1970.
  let lastMilliseconds: Int64
  /// Fields that events of the day have.
  let fields: [UInt32]

  init(
    id: Int64, day: Int32, beginMilliseconds: Int64, rows: Int, lastMilliseconds: Int64,
    fields: [UInt32]
  ) {
    self.id = id
    self.day = day
    self.beginMilliseconds = beginMilliseconds
    self.rows = rows
    self.lastMilliseconds = lastMilliseconds
    self.fields = fields
  }
}

/// Which column of a segment. The numbers are part of the format on disk.
enum SegmentColumn: Hashable, Sendable {
  case users, userCounts, time, sequence, event, page, context, flags, contextWords
  case fieldRows(UInt32)
  case fieldValues(UInt32)

  var number: Int64 {
    switch self {
    case .users: 1
    case .userCounts: 2
    case .time: 3
    case .sequence: 4
    case .event: 5
    case .page: 6
    case .context: 7
    case .flags: 8
    case .contextWords: 9
    case .fieldRows(let field): 1_000 + Int64(field) * 2
    case .fieldValues(let field): 1_001 + Int64(field) * 2
    }
  }
}

/// Sealed days in the file: docs/formats/query.md, "Segment".
enum SegmentTable {
  static let version: Int64 = 1

  /// Writes a day as a new segment that is not yet in force.
  static func insert(
    _ day: DayColumns, app: Int64, into connection: StoreConnection
  ) throws -> Segment {
    let fields = day.fields.keys.sorted()
    let last = day.beginMilliseconds + Int64(day.time.max() ?? 0)
    try connection.execute(
      """
      INSERT INTO segment(
        app, day, begin_ms, version, row_count, context_columns, last_ms, fields, in_force)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)
      """,
      [
        .integer(app), .integer(Int64(day.day)), .integer(day.beginMilliseconds),
        .integer(version), .integer(day.count), .integer(ContextColumns.count),
        .integer(last), .blob(ColumnCodec.encode(fields)),
      ])
    let id = connection.lastInsertRowID
    for (column, bytes) in encodedColumns(day, fields) {
      try connection.execute(
        "INSERT INTO segment_column(segment, number, checksum, data) VALUES (?, ?, ?, ?)",
        [
          .integer(id), .integer(column.number), .integer(Int64(CRC32C.checksum(bytes))),
          .blob(bytes),
        ])
    }
    return Segment(
      id: id, day: day.day, beginMilliseconds: day.beginMilliseconds, rows: day.count,
      lastMilliseconds: last, fields: fields)
  }

  private static func encodedColumns(
    _ day: DayColumns, _ fields: [UInt32]
  ) -> [(SegmentColumn, [UInt8])] {
    let counts = day.users.indices.map { UInt32(day.rows(ofUserAt: $0).count) }
    var columns: [(SegmentColumn, [UInt8])] = [
      (.users, ColumnCodec.encode(day.users)),
      (.userCounts, ColumnCodec.encode(counts)),
      (.time, ColumnCodec.encode(day.time)),
      (.sequence, ColumnCodec.encode(day.sequence)),
      (.event, ColumnCodec.encode(day.event)),
      (.page, ColumnCodec.encode(day.page)),
      (.context, ColumnCodec.encode(day.context)),
      (.flags, ColumnCodec.encode(day.flags)),
      (.contextWords, ColumnCodec.encode(day.contextWords)),
    ]
    for field in fields {
      guard let column = day.fields[field] else { continue }
      columns.append((.fieldRows(field), ColumnCodec.encode(column.rows)))
      columns.append((.fieldValues(field), ColumnCodec.encode(column.values)))
    }
    return columns
  }

  /// The segments of an app that are in force.
  static func load(app: Int64, from connection: StoreConnection) throws -> [Segment] {
    try connection.query(
      """
      SELECT id, day, begin_ms, version, row_count, last_ms, fields FROM segment
      WHERE app = ? AND in_force = 1
      """,
      [.integer(app)]
    ) { row in
      guard row.int64(3) == version else {
        throw FormatError("segment \(row.int64(0)) of version \(row.int64(3))")
      }
      return Segment(
        id: row.int64(0), day: Int32(truncatingIfNeeded: row.int64(1)),
        beginMilliseconds: row.int64(2), rows: row.int(4),
        lastMilliseconds: row.int64(5),
        fields: try ColumnCodec.decode(UInt32.self, row.blob(6)))
    }
  }

  /// Puts a segment in the place of an older one, whose columns stay until `delete`.
  static func enforce(
    _ segment: Segment, replacing old: Segment?, in connection: StoreConnection
  ) throws {
    if let old {
      try connection.execute("UPDATE segment SET in_force = 0 WHERE id = ?", [.integer(old.id)])
    }
    try connection.execute("UPDATE segment SET in_force = 1 WHERE id = ?", [.integer(segment.id)])
  }

  static func delete(_ id: Int64, in connection: StoreConnection) throws {
    try connection.execute("DELETE FROM segment_column WHERE segment = ?", [.integer(id)])
    try connection.execute("DELETE FROM segment WHERE id = ?", [.integer(id)])
  }

  /// Deletes what a crash left behind: segments written but never put in force, or replaced but not yet deleted.
  static func deleteIdle(in connection: StoreConnection) throws {
    let ids = try connection.query("SELECT id FROM segment WHERE in_force = 0") { $0.int64(0) }
    for id in ids { try delete(id, in: connection) }
  }

  /// Reads columns of a segment that the caller holds.
  ///
  /// - Throws: `FormatError` where one is missing or damaged, naming it.
  static func read<T: FixedWidthInteger>(
    _ column: SegmentColumn, of segment: Segment, as type: T.Type,
    from connection: StoreConnection
  ) throws -> [T] {
    let values = try connection.first(
      "SELECT checksum, data FROM segment_column WHERE segment = ? AND number = ?",
      [.integer(segment.id), .integer(column.number)]
    ) { row in
      let block = row.blob(1)
      guard Int64(CRC32C.checksum(block)) == row.int64(0) else {
        throw FormatError("segment \(segment.id) column \(column.number): wrong checksum")
      }
      return try ColumnCodec.decode(type, block)
    }
    guard let values else {
      throw FormatError("segment \(segment.id) column \(column.number): missing")
    }
    return values
  }

  /// How many context columns the segment was written with.
  static func contextColumns(
    of segment: Segment, from connection: StoreConnection
  ) throws -> Int {
    try connection.first(
      "SELECT context_columns FROM segment WHERE id = ?", [.integer(segment.id)]
    ) { $0.int(0) } ?? 0
  }
}
