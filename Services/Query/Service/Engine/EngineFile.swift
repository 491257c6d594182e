import Events
import Sources
import Store
import Synchronization

/// The engine's plain tables: apps, position, dictionaries, row blocks, first active times.
enum EngineFile {
  // MARK: Apps

  static func insert(_ app: AppDefinition, in connection: StoreConnection) throws -> Int64 {
    try connection.execute(
      """
      INSERT INTO app(app_id, platform, time_zone, merge_under_ms, timeout_ms, sources)
      VALUES (?, ?, ?, ?, ?, ?)
      """, [.text(app.appID)] + (try values(app)))
    return connection.lastInsertRowID
  }

  static func update(_ id: Int64, _ app: AppDefinition, in connection: StoreConnection) throws {
    try connection.execute(
      """
      UPDATE app SET platform = ?, time_zone = ?, merge_under_ms = ?, timeout_ms = ?, sources = ?
      WHERE id = ?
      """, try values(app) + [.integer(id)])
  }

  private static func values(_ app: AppDefinition) throws -> [StoreValue] {
    [
      .text(app.platform), .text(app.timeZone),
      .integer(app.sessionRules.mergeUnderMilliseconds),
      .integer(app.sessionRules.timeoutMilliseconds),
      .blob(try app.sources.encoded()),
    ]
  }

  static func loadApps(_ connection: StoreConnection) throws -> [AppState] {
    let found = try connection.query(
      """
      SELECT id, app_id, platform, time_zone, merge_under_ms, timeout_ms, sources, times_exclusion
      FROM app
      """
    ) { row in
      let rules = try SessionRules(
        mergeUnderMilliseconds: row.int64(4), timeoutMilliseconds: row.int64(5))
      return (
        row.int64(0),
        AppDefinition(
          appID: row.string(1), platform: row.string(2), timeZone: row.string(3),
          sessionRules: rules,
          sources: try AppSources(encoded: row.bytes(6), platform: row.string(2))),
        row.isNull(7) ? nil : SceneExclusion(bytes: row.bytes(7))
      )
    }
    return try found.map { try loadApp($0.0, $0.1, $0.2, connection) }
  }

  private static func loadApp(
    _ id: Int64, _ definition: AppDefinition, _ stored: SceneExclusion?,
    _ connection: StoreConnection
  ) throws -> AppState {
    guard let calendar = AppCalendar(definition.timeZone) else {
      throw FormatError("app \(definition.appID): unknown time zone \(definition.timeZone)")
    }
    let app = AppState(id: id, definition: definition, calendar: calendar)
    try app.tables.withLock { tables in
      try loadDictionaries(id, &tables, connection)
      for segment in try SegmentTable.load(app: id, from: connection) {
        tables.segments[segment.day] = segment
        tables.lastEventMilliseconds = max(tables.lastEventMilliseconds, segment.lastMilliseconds)
      }
      // The times in the file are those of sealed events. Where they were made by another table of scenes, by an earlier
      // release's for instance, they are made anew.
      tables.storedExclusion = stored
      if stored == tables.exclusion {
        try loadTimes(id, &tables, connection)
      } else {
        tables.times = try EventHistory(tables)
          .firstActiveTimes(tables.exclusion, from: connection)
      }
      try loadRowBlocks(id, &tables, connection)
    }
    return app
  }

  // MARK: Position

  static func storePosition(_ position: AppliedPosition, in connection: StoreConnection) throws {
    try connection.execute(
      "INSERT OR REPLACE INTO position(only, next_offset, received_ms) VALUES (1, ?, ?)",
      [
        .integer(Int64(bitPattern: position.nextOffset)), .integer(position.receivedMilliseconds),
      ])
  }

  static func loadPosition(_ connection: StoreConnection) throws -> AppliedPosition {
    try connection.first("SELECT next_offset, received_ms FROM position") {
      AppliedPosition(
        nextOffset: UInt64(bitPattern: $0.int64(0)), receivedMilliseconds: $0.int64(1))
    } ?? AppliedPosition()
  }

  // MARK: Dictionaries and row blocks

  static func storePending(
    _ id: Int64, _ tables: inout AppTables, in connection: StoreConnection
  ) throws {
    for kind in DictionaryKind.allCases { try storeNew(kind, id, &tables, connection) }
    guard !tables.pending.isEmpty else { return }
    let block = RowBlock.encode(tables.pending)
    try connection.execute(
      "INSERT INTO row_block(app, row_count, checksum, data) VALUES (?, ?, ?, ?)",
      [
        .integer(id), .integer(tables.pending.count), .integer(Int64(CRC32C.checksum(block))),
        .blob(block),
      ])
    tables.pendingBlock = connection.lastInsertRowID
  }

  private static func storeNew(
    _ kind: DictionaryKind, _ id: Int64, _ tables: inout AppTables, _ connection: StoreConnection
  ) throws {
    let stored = tables.storedCounts[kind] ?? 1
    let count = tables[kind].count
    guard stored < count else { return }
    let entries = tables[kind].encode(stored..<count)
    try insertChunk(id, kind, first: stored, entries, connection)
    tables.pendingCounts[kind] = count
  }

  private static func insertChunk(
    _ id: Int64, _ kind: DictionaryKind, first: Int, _ entries: [UInt8],
    _ connection: StoreConnection
  ) throws {
    try connection.execute(
      """
      INSERT OR REPLACE INTO dictionary(app, kind, first_code, checksum, entries)
      VALUES (?, ?, ?, ?, ?)
      """,
      [
        .integer(id), .integer(kind.rawValue), .integer(first),
        .integer(Int64(CRC32C.checksum(entries))), .blob(entries),
      ])
  }

  /// Puts the many small chunks of the last commits together into one.
  static func compactDictionaries(_ id: Int64, in connection: StoreConnection) throws {
    for kind in DictionaryKind.allCases {
      let chunks = try connection.query(
        """
        SELECT first_code, length(entries) FROM dictionary WHERE app = ? AND kind = ?
        ORDER BY first_code DESC
        """, [.integer(id), .integer(kind.rawValue)]
      ) { (code: $0.int(0), bytes: $0.int(1)) }
      var bytes = 0
      let small = chunks.prefix { chunk in
        bytes += chunk.bytes
        return bytes <= Limits.dictionaryChunkBytesMax
      }
      guard small.count >= 16, let first = small.last?.code else { continue }
      try join(id, kind, from: first, connection)
    }
  }

  private static func join(
    _ id: Int64, _ kind: DictionaryKind, from first: Int, _ connection: StoreConnection
  ) throws {
    let key: [StoreValue] = [.integer(id), .integer(kind.rawValue), .integer(first)]
    let parts = try connection.query(
      """
      SELECT entries FROM dictionary WHERE app = ? AND kind = ? AND first_code >= ?
      ORDER BY first_code
      """, key
    ) { $0.bytes(0) }
    try connection.execute(
      "DELETE FROM dictionary WHERE app = ? AND kind = ? AND first_code >= ?", key)
    try insertChunk(id, kind, first: first, Array(parts.joined()), connection)
  }

  private static func loadDictionaries(
    _ id: Int64, _ tables: inout AppTables, _ connection: StoreConnection
  ) throws {
    for kind in DictionaryKind.allCases {
      let statement = try connection.statement(
        """
        SELECT first_code, checksum, entries FROM dictionary WHERE app = ? AND kind = ?
        ORDER BY first_code
        """)
      defer { statement.reset() }
      try statement.bind([.integer(id), .integer(kind.rawValue)])
      while try statement.step() {
        let entries = statement.blob(2)
        guard Int64(CRC32C.checksum(entries)) == statement.int64(1),
          statement.int(0) == tables[kind].count
        else { throw FormatError("dictionary \(kind) of app \(id): damaged or with a gap") }
        try tables[kind].append(encoded: entries)
      }
    }
    tables.noteAllStored()
  }

  private static func loadRowBlocks(
    _ id: Int64, _ tables: inout AppTables, _ connection: StoreConnection
  ) throws {
    let statement = try connection.statement(
      "SELECT id, checksum, data FROM row_block WHERE app = ? ORDER BY id")
    defer { statement.reset() }
    try statement.bind([.integer(id)])
    while try statement.step() {
      let block = statement.blob(2)
      guard Int64(CRC32C.checksum(block)) == statement.int64(1) else {
        throw FormatError("row block \(statement.int64(0)): wrong checksum")
      }
      tables.pending = try RowBlock.decode(block)
      try checkCodes(tables, block: statement.int64(0))
      let rows = tables.pending
      tables.pending.flags = tables.exclusion.flags(rows.flags, rows.context, rows.contexts.words)
      tables.pendingBlock = statement.int64(0)
      tables.commitPending()
    }
  }

  private static func checkCodes(_ tables: borrowing AppTables, block: Int64) throws {
    let rows = tables.pending
    guard rows.user.allSatisfy({ Int($0) < tables[.users].count }),
      rows.event.allSatisfy({ Int($0) < tables[.events].count }),
      rows.page.allSatisfy({ Int($0) < tables[.pages].count }),
      rows.fieldID.allSatisfy({ Int($0) < tables[.fields].count })
    else { throw FormatError("row block \(block): codes that no dictionary has") }
  }

  static func deleteRowBlocks(
    _ id: Int64, upTo last: Int64, in connection: StoreConnection
  ) throws {
    try connection.execute(
      "DELETE FROM row_block WHERE app = ? AND id <= ?", [.integer(id), .integer(last)])
  }

  // MARK: First active times

  /// Writes chunks. Where they were made by another exclusion than those of the file, they are all that there are.
  static func storeTimes(
    _ id: Int64, _ times: [UserTimes.ChunkKey: [Int64]], _ exclusion: SceneExclusion,
    replacing stored: SceneExclusion?, in connection: StoreConnection
  ) throws {
    if exclusion != stored {
      try connection.execute("DELETE FROM user_times WHERE app = ?", [.integer(id)])
      try connection.execute(
        "UPDATE app SET times_exclusion = ? WHERE id = ?",
        [.blob(exclusion.bytes), .integer(id)])
    }
    for (key, chunk) in times {
      let bytes = ColumnCodec.encode(chunk)
      try connection.execute(
        """
        INSERT OR REPLACE INTO user_times(app, traffic, chunk, checksum, data)
        VALUES (?, ?, ?, ?, ?)
        """,
        [
          .integer(id), .integer(Int64(key.traffic.rawValue)), .integer(key.index),
          .integer(Int64(CRC32C.checksum(bytes))), .blob(bytes),
        ])
    }
  }

  private static func loadTimes(
    _ id: Int64, _ tables: inout AppTables, _ connection: StoreConnection
  ) throws {
    let statement = try connection.statement(
      "SELECT traffic, chunk, checksum, data FROM user_times WHERE app = ?")
    defer { statement.reset() }
    try statement.bind([.integer(id)])
    while try statement.step() {
      let block = statement.blob(3)
      guard Int64(CRC32C.checksum(block)) == statement.int64(2) else {
        throw FormatError("first active times of app \(id), chunk \(statement.int64(1)): damaged")
      }
      let key = UserTimes.ChunkKey(
        traffic: TrafficClass(rawValue: UInt8(truncatingIfNeeded: statement.int64(0))),
        index: statement.int(1))
      try tables.times.restore(key, ColumnCodec.decode(Int64.self, block))
    }
  }
}
