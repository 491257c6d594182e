import Events
import Store

/// A day as the bytes of its columns, made without the file.
struct PackedDay: Sendable {
  let day: Int32
  let beginMilliseconds: Int64
  let rows: Int
  let lastMilliseconds: Int64
  let fields: [UInt32]
  let contexts: Int
  let contextPositions: Set<Int>
  let exclusion: SceneExclusion?
  let facts: DayFacts
  /// Of columns, by the number of the first one.
  let blocks: [ColumnBlock.Column]

  /// - Parameters:
  ///   - day: with all its columns.
  ///   - threads: on up to so many.
  init(_ day: DayColumns, threads: Int = 1) {
    precondition(day.has == .all, "a day is written as a whole")
    self.day = day.day
    beginMilliseconds = day.beginMilliseconds
    rows = day.count
    lastMilliseconds = day.beginMilliseconds + Int64(day.time.max() ?? 0)
    fields = day.fields.keys.sorted()
    contexts = day.contexts.count
    contextPositions = Set(day.contexts.presentColumns)
    exclusion = day.exclusion
    let facts = DayFacts(day)
    self.facts = facts
    let active = Self.activeClasses(facts).map {
      (
        SegmentColumn.active($0),
        facts.active[$0] == day.users
          ? [ColumnCodec.Tag.ofUsers] : ColumnPacker.packAscending(facts.active[$0])
      )
    }
    blocks = ColumnBlock.cut(
      (Self.columns(day, threads: threads) + active).map { (number: $0.0.number, bytes: $0.1) })
  }

  var activeClasses: [Int] { Self.activeClasses(facts) }

  private static func activeClasses(_ facts: DayFacts) -> [Int] {
    facts.active.indices.filter { !facts.active[$0].isEmpty }
  }

  private typealias Column = (SegmentColumn, [UInt8])

  private static func columns(_ day: DayColumns, threads: Int) -> [Column] {
    let ends = day.userEnds
    // Those that take longest first.
    var parts: [@Sendable () -> [Column]] = [
      { ContextPacker.pack(day.contexts).map { (.context($0.position), $0.bytes) } },
      { [(.time, ColumnPacker.packAscending(day.time, ends: ends))] },
      { [(.sequence, ColumnPacker.packStepping(day.allSequences, ends: ends))] },
      { [(.page, ColumnPacker.packChanging(day.page))] },
      { [(.event, ColumnPacker.pack(day.event))] },
      { [(.rowContext, ColumnPacker.packRuns(day.context, ends: ends))] },
      { [(.flags, ColumnPacker.pack(day.flags))] },
      {
        let counts = day.users.indices.map { UInt32(day.rows(ofUserAt: $0).count) }
        return [
          (.users, ColumnPacker.packAscending(day.users)), (.userCounts, ColumnPacker.pack(counts)),
        ]
      },
    ]
    let ofEvents = FieldRows.counts(day.event)
    for (field, column) in day.fields.sorted(by: { $0.key < $1.key }) {
      parts.append {
        [
          (.fieldRows(field), FieldRows.encode(column.rows, of: day, counts: ofEvents)),
          (.fieldValues(field), ColumnPacker.pack(column.values)),
        ]
      }
    }
    return Blocks.map(parts.count, threads: threads) { [parts] in parts[$0]() }.flatMap { $0 }
  }
}

/// Sealed days in the file: docs/formats/query.md, "Segment".
enum SegmentTable {
  static let version: Int64 = 3
  private static let versions: ClosedRange<Int64> = 1...3
  /// Before it, each column had a row of its own.
  static let firstVersionOfBlocks: Int64 = 3

  /// Begins a new segment that is not yet in force: its columns come next.
  static func insert(
    _ day: PackedDay, app: Int64, into connection: StoreConnection
  ) throws -> Segment {
    let mask = day.contextPositions.reduce(Int64(0)) { $0 | 1 << Int64($1) }
    try connection.execute(
      """
      INSERT INTO segment(
        app, day, begin_ms, version, row_count, context_columns, last_ms, fields, in_force,
        contexts, context_mask, exclusion, flag_counts, active_mask)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)
      """,
      [
        .integer(app), .integer(Int64(day.day)), .integer(day.beginMilliseconds),
        .integer(version), .integer(day.rows), .integer(ContextColumns.count),
        .integer(day.lastMilliseconds), .blob(ColumnCodec.encode(day.fields)),
        .integer(day.contexts), .integer(mask), day.exclusion.map { .blob($0.bytes) } ?? .null,
        .blob(ColumnCodec.encode(day.facts.flagCounts.map { UInt32($0) })),
        .integer(day.activeClasses.reduce(Int64(0)) { $0 | 1 << Int64($1) }),
      ])
    return Segment(
      id: connection.lastInsertRowID, day: day.day, beginMilliseconds: day.beginMilliseconds, rows: day.rows,
      lastMilliseconds: day.lastMilliseconds, fields: day.fields, version: version,
      contextColumns: ContextColumns.count, contexts: day.contexts,
      contextPositions: day.contextPositions, exclusion: day.exclusion,
      flagCounts: day.facts.flagCounts, activeClasses: Set(day.activeClasses))
  }

  static func insert(
    _ blocks: ArraySlice<ColumnBlock.Column>, of segment: Int64,
    into connection: StoreConnection
  ) throws {
    for (number, bytes) in blocks {
      try connection.execute(
        "INSERT INTO segment_column(segment, number, checksum, data) VALUES (?, ?, ?, ?)",
        [
          .integer(segment), .integer(number), .integer(Int64(CRC32C.checksum(bytes))),
          .blob(bytes),
        ])
    }
  }

  /// A block of columns as it is stored, before version 3 a column, its checksum compared; nil: there is none.
  static func bytes(
    _ number: Int64, of segment: Segment, from connection: StoreConnection
  ) throws -> [UInt8]? {
    try connection.first(
      "SELECT checksum, data FROM segment_column WHERE segment = ? AND number = ?",
      [.integer(segment.id), .integer(number)]
    ) { row in
      guard Int64(CRC32C.checksum(row.blob(1))) == row.int64(0) else {
        throw FormatError("segment \(segment.id) column \(number): wrong checksum")
      }
      return row.bytes(1)
    }
  }

  /// Puts the same columns, written in another way, in a block's place.
  static func replace(
    _ number: Int64, of segment: Segment, by bytes: [UInt8], in connection: StoreConnection
  ) throws {
    try connection.execute(
      "UPDATE segment_column SET checksum = ?, data = ? WHERE segment = ? AND number = ?",
      [
        .integer(Int64(CRC32C.checksum(bytes))), .blob(bytes), .integer(segment.id),
        .integer(number),
      ])
  }

  static func setCompressed(_ segment: Segment, in connection: StoreConnection) throws {
    try connection.execute(
      "UPDATE segment SET is_compressed = 1 WHERE id = ?", [.integer(segment.id)])
  }

  /// The segments of an app that are in force.
  static func load(app: Int64, from connection: StoreConnection) throws -> [Segment] {
    try connection.query(
      """
      SELECT id, day, begin_ms, version, row_count, last_ms, fields, context_columns, contexts,
        context_mask, exclusion, flag_counts, active_mask,
        is_compressed
      FROM segment WHERE app = ? AND in_force = 1
      """,
      [.integer(app)]
    ) { row in
      guard versions.contains(row.int64(3)) else {
        throw FormatError("segment \(row.int64(0)) of version \(row.int64(3))")
      }
      return Segment(
        id: row.int64(0), day: Int32(truncatingIfNeeded: row.int64(1)),
        beginMilliseconds: row.int64(2), rows: row.int(4), lastMilliseconds: row.int64(5),
        fields: try ColumnCodec.decode(UInt32.self, row.blob(6)), version: row.int64(3),
        contextColumns: row.int(7), contexts: row.int(8),
        contextPositions: mask(row.int64(9)),
        exclusion: row.isNull(10) ? nil : SceneExclusion(bytes: row.bytes(10)),
        flagCounts: try counts(row), activeClasses: row.isNull(12) ? nil : mask(row.int64(12)),
        isCompressed: row.int64(13) != 0)
    }
  }

  private static func mask(_ bits: Int64) -> Set<Int> {
    Set((0..<64).filter { bits >> Int64($0) & 1 != 0 })
  }

  private static func counts(_ row: StoreStatement) throws -> [Int] {
    if row.isNull(11) { return [] }
    let counts = try ColumnCodec.decode(UInt32.self, row.blob(11), most: 256)
    guard counts.count == 256, counts.reduce(0, { $0 + Int($1) }) == row.int(4) else {
      throw FormatError("segment \(row.int64(0)): its rows are not those that were counted")
    }
    return counts.map { Int($0) }
  }

  /// What was stored of a day beside its events. Precondition: it was.
  static func facts(of segment: Segment, from connection: StoreConnection) throws -> DayFacts {
    let reader = SegmentReader(segment, from: connection)
    var active = [[UInt32]](repeating: [], count: TrafficClass.count)
    for traffic in segment.activeClasses ?? [] where traffic < active.count {
      active[traffic] = try reader.activeUsers(traffic)
    }
    return DayFacts(flagCounts: segment.flagCounts, active: active)
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

  /// Takes segments out of force without others in their place.
  static func withdraw(_ segments: [Segment], in connection: StoreConnection) throws {
    for segment in segments {
      try connection.execute("UPDATE segment SET in_force = 0 WHERE id = ?", [.integer(segment.id)])
    }
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
}
