import Events
import Sources
import Store
import Synchronization

/// What a start reads of each app.
extension EngineFile {
  private struct StoredApp: Sendable {
    let app: AppState
    /// By which its first active times were made.
    let exclusion: SceneExclusion?
  }

  /// Reads every app, its users' names beside the rest on a thread of their own: where there are many, they are the larger part.
  static func loadApps(_ store: Store) throws -> [AppState] {
    let stored = try store.read(loadDefinitions)
    let parts = try Blocks.map(stored.count * 2, threads: 2) { number -> [PackedStrings.Chunk] in
      let app = stored[number / 2].app
      return try store.read { connection in
        if number % 2 == 0 { return try loadChunks(.users, app.id, connection) }
        try loadHistory(app, connection)
        return []
      }
    }
    for (number, stored) in stored.enumerated() {
      try store.read { try loadRows(stored, users: parts[number * 2], $0) }
    }
    return stored.map(\.app)
  }

  private static func loadDefinitions(_ connection: StoreConnection) throws -> [StoredApp] {
    try connection.query(
      """
      SELECT id, app_id, platform, time_zone, merge_under_ms, timeout_ms, sources, times_exclusion,
        dropped_before FROM app
      """
    ) { row in
      let rules = try SessionRules(
        mergeUnderMilliseconds: row.int64(4), timeoutMilliseconds: row.int64(5))
      let definition = AppDefinition(
        appID: row.string(1), platform: row.string(2), timeZone: row.string(3),
        sessionRules: rules,
        sources: try AppSources(encoded: row.bytes(6), platform: row.string(2)))
      guard let calendar = AppCalendar(definition.timeZone) else {
        throw FormatError("app \(definition.appID): unknown time zone \(definition.timeZone)")
      }
      let app = AppState(id: row.int64(0), definition: definition, calendar: calendar)
      let droppedBefore = row.isNull(8) ? Int32.min : Int32(truncatingIfNeeded: row.int64(8))
      app.tables.withLock { $0.droppedBefore = droppedBefore }
      return StoredApp(
        app: app, exclusion: row.isNull(7) ? nil : SceneExclusion(bytes: row.bytes(7)))
    }
  }

  /// What does not need the users' names.
  private static func loadHistory(_ app: AppState, _ connection: StoreConnection) throws {
    try app.tables.withLock { tables in
      for kind in DictionaryKind.allCases where kind != .users {
        for chunk in try loadChunks(kind, app.id, connection) {
          try append(chunk, kind, app.id, to: &tables)
        }
      }
      for segment in try SegmentTable.load(app: app.id, from: connection) {
        tables.segments[segment.day] = segment
        tables.lastEventMilliseconds = max(tables.lastEventMilliseconds, segment.lastMilliseconds)
      }
      try loadTimes(app.id, &tables, connection)
    }
  }

  /// The rest, once everything else is there.
  private static func loadRows(
    _ stored: StoredApp, users: [PackedStrings.Chunk], _ connection: StoreConnection
  ) throws {
    let id = stored.app.id
    try stored.app.tables.withLock { tables in
      // They are many, and few reports ask for one.
      if !users.isEmpty { tables[.users] = ByteDictionary(try PackedStrings(users)) }
      tables.noteAllStored()
      tables.beginErasing(try loadErasures(id, from: connection))
      // The times in the file are those of sealed events. Where they were made by another table of scenes, by an earlier
      // release's for instance, they are made anew.
      tables.storedExclusion = stored.exclusion
      if stored.exclusion != tables.exclusion {
        tables.times = try EventHistory(tables)
          .firstActiveTimes(tables.exclusion, from: connection)
      }
      try loadRowBlocks(id, &tables, connection)
    }
  }

  // MARK: Dictionaries

  private static func append(
    _ chunk: PackedStrings.Chunk, _ kind: DictionaryKind, _ id: Int64, to tables: inout AppTables
  ) throws {
    guard chunk.first == tables[kind].count else {
      throw FormatError("dictionary \(kind) of app \(id): a gap before \(chunk.first)")
    }
    try tables[kind].append(stored: chunk.entries, encoding: chunk.encoding)
  }

  private static func loadChunks(
    _ kind: DictionaryKind, _ id: Int64, _ connection: StoreConnection
  ) throws -> [PackedStrings.Chunk] {
    try connection.query(
      """
      SELECT first_code, checksum, entries, encoding FROM dictionary WHERE app = ? AND kind = ?
      ORDER BY first_code
      """, [.integer(id), .integer(kind.rawValue)]
    ) { row in
      guard Int64(CRC32C.checksum(row.blob(2))) == row.int64(1) else {
        throw FormatError("dictionary \(kind) of app \(id): damaged at \(row.int64(0))")
      }
      return PackedStrings.Chunk(first: row.int(0), entries: row.bytes(2), encoding: row.int(3))
    }
  }

  // MARK: Row blocks

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
      tables.pending.flags = tables.exclusion.flags(rows.flags, rows.context, rows.contexts)
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

  // MARK: First active times

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
      try tables.times.restore(
        key, ColumnCodec.decode(UInt64.self, block).map { Int64(bitPattern: $0) })
    }
  }
}
