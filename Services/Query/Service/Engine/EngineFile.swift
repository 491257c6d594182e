import Events
import Sources
import Store

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

  static func storeDroppedBefore(
    _ id: Int64, _ day: Int32, in connection: StoreConnection
  ) throws {
    try connection.execute(
      "UPDATE app SET dropped_before = ? WHERE id = ?",
      [.integer(Int64(day)), .integer(id)])
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
    tables.codeUsers()
    try storeNewEntries(id, &tables, in: connection)
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

  static func insertRowBlock(
    _ id: Int64, number: Int64, rows: Int, _ block: [UInt8], in connection: StoreConnection
  ) throws {
    try connection.execute(
      "INSERT INTO row_block(id, app, row_count, checksum, data) VALUES (?, ?, ?, ?, ?)",
      [
        .integer(number), .integer(id), .integer(rows), .integer(Int64(CRC32C.checksum(block))),
        .blob(block),
      ])
  }

  static func storeNewEntries(
    _ id: Int64, _ tables: inout AppTables, in connection: StoreConnection
  ) throws {
    for kind in DictionaryKind.allCases { try storeNew(kind, id, &tables, connection) }
  }

  private static func storeNew(
    _ kind: DictionaryKind, _ id: Int64, _ tables: inout AppTables, _ connection: StoreConnection
  ) throws {
    let stored = tables.pendingCounts[kind] ?? tables.storedCounts[kind] ?? 1
    let count = tables[kind].count
    guard stored < count else { return }
    let entries = tables[kind].encode(stored..<count)
    try insertChunk(id, kind, first: stored, entries, connection)
    tables.pendingCounts[kind] = count
  }

  static func insertChunk(
    _ id: Int64, _ kind: DictionaryKind, first: Int, _ entries: [UInt8], encoding: Int = 0,
    _ connection: StoreConnection
  ) throws {
    try connection.execute(
      """
      INSERT OR REPLACE INTO dictionary(app, kind, first_code, checksum, entries, encoding)
      VALUES (?, ?, ?, ?, ?, ?)
      """,
      [
        .integer(id), .integer(kind.rawValue), .integer(first),
        .integer(Int64(CRC32C.checksum(entries))), .blob(entries), .integer(encoding),
      ])
  }

  /// Puts small chunks of the last commits together, those of like size, so that each string is written a few times and no
  /// chunk takes long.
  ///
  /// - Parameter least: chunks that are put together; fewer wait for more.
  static func compactDictionaries(
    _ app: AppState, least: Int = 8, in connection: StoreConnection
  ) throws {
    for kind in DictionaryKind.allCases {
      guard let codes = try smallChunks(app, kind, least: least, connection) else { continue }
      try join(app.id, kind, from: codes.lowerBound, connection)
    }
  }

  static func needsCompaction(
    _ app: AppState, least: Int, in connection: StoreConnection
  ) throws -> Bool {
    try DictionaryKind.allCases.contains {
      try smallChunks(app, $0, least: least, connection) != nil
    }
  }

  /// The codes of the last chunks, where so many of them can be put together.
  private static func smallChunks(
    _ app: AppState, _ kind: DictionaryKind, least: Int, _ connection: StoreConnection
  ) throws -> Range<Int>? {
    let chunks = try lastChunks(app, kind, connection)
    guard let last = chunks.first,
      chunks.prefix(least).allSatisfy({ $0.encoding == DictionaryChunk.Encoding.plain }),
      chunks.count >= least
    else { return nil }
    let end = last.first + (try count(of: last, app, kind, connection))
    var codes = 0
    var bytes = 0
    let small = chunks.prefix { chunk in
      let count = end - chunk.first - codes
      let isAlike =
        codes == 0 || count <= max(2 * codes, Limits.dictionaryChunkStringsMax / 64)
      guard isAlike, chunk.encoding == DictionaryChunk.Encoding.plain,
        codes + count <= Limits.dictionaryChunkStringsMax,
        bytes + chunk.bytes <= Limits.dictionaryChunkBytesMax
      else { return false }
      codes += count
      bytes += chunk.bytes
      return true
    }
    guard small.count >= least, let first = small.last?.first else { return nil }
    return first..<end
  }

  /// The last one first, to the first one that is compressed. Those before it are not looked at: an encoding stands behind the
  /// strings, so that telling it of all chunks reads every page of a large dictionary.
  private static func lastChunks(
    _ app: AppState, _ kind: DictionaryKind, _ connection: StoreConnection
  ) throws -> [StoredChunk] {
    let statement = try connection.statement(
      """
      SELECT first_code, length(entries), encoding FROM dictionary WHERE app = ? AND kind = ?
      ORDER BY first_code DESC
      """)
    defer { statement.reset() }
    try statement.bind([.integer(app.id), .integer(kind.rawValue)])
    var chunks: [StoredChunk] = []
    while try statement.step() {
      let chunk = StoredChunk(
        first: statement.int(0), bytes: statement.int(1), encoding: statement.int(2))
      chunks.append(chunk)
      if chunk.encoding != DictionaryChunk.Encoding.plain { break }
    }
    return chunks
  }

  private struct StoredChunk {
    let first: Int
    let bytes: Int
    let encoding: Int
  }

  /// Memory may know more strings than the file: those of the transaction that is being made.
  private static func count(
    of chunk: StoredChunk, _ app: AppState, _ kind: DictionaryKind,
    _ connection: StoreConnection
  ) throws -> Int {
    let entries = try connection.first(
      "SELECT entries FROM dictionary WHERE app = ? AND kind = ? AND first_code = ?",
      [.integer(app.id), .integer(kind.rawValue), .integer(chunk.first)]
    ) { $0.bytes(0) }
    return try DictionaryChunk.stringCount(entries ?? [], encoding: chunk.encoding)
  }

  /// Puts the chunks from one on together as the file has them: memory still tells an open_id whose erasure is committed but not
  /// yet shown. Precondition: none of them is compressed.
  private static func join(
    _ id: Int64, _ kind: DictionaryKind, from first: Int, _ connection: StoreConnection
  ) throws {
    let place: [StoreValue] = [.integer(id), .integer(kind.rawValue), .integer(first)]
    let chunks = try connection.query(
      """
      SELECT checksum, entries FROM dictionary WHERE app = ? AND kind = ? AND first_code >= ?
      ORDER BY first_code
      """, place
    ) { row in
      guard Int64(CRC32C.checksum(row.blob(1))) == row.int64(0) else {
        throw FormatError("dictionary \(kind) of app \(id): damaged")
      }
      return row.bytes(1)
    }
    try connection.execute(
      "DELETE FROM dictionary WHERE app = ? AND kind = ? AND first_code >= ?", place)
    var entries: [UInt8] = []
    entries.reserveCapacity(chunks.reduce(0) { $0 + $1.count })
    for chunk in chunks { entries += chunk }
    try insertChunk(id, kind, first: first, entries, connection)
  }

  /// Compresses a chunk that has grown as far as it will: a large one, or one with compressed ones behind it.
  ///
  /// - Returns: whether there was one.
  static func compressDictionary(_ store: Store) throws -> Bool {
    let found = try store.read { connection in
      try connection.first(
        """
        SELECT app, kind, first_code, checksum, entries FROM dictionary AS chunk
          INDEXED BY dictionary_plain
        WHERE encoding = 0 AND (length(entries) >= ? OR (length(entries) >= ? AND EXISTS (
          SELECT 1 FROM dictionary AS later WHERE later.app = chunk.app AND later.kind = chunk.kind
            AND later.first_code > chunk.first_code AND later.encoding != 0)))
        LIMIT 1
        """, [
          .integer(Limits.dictionaryChunkBytesMax / 4),
          .integer(Limits.dictionaryChunkBytesCompressedMin),
        ]
      ) { row in
        guard Int64(CRC32C.checksum(row.blob(4))) == row.int64(3) else {
          throw FormatError("dictionary \(row.int64(1)) of app \(row.int64(0)): damaged")
        }
        return (key: [row.int64(0), row.int64(1), row.int64(2)], entries: row.bytes(4))
      }
    }
    guard let found else { return false }
    guard let (bytes, encoding) = DictionaryChunk.compressed(found.entries) else { return false }
    try store.write { connection in
      // Unless it was put together with others meanwhile.
      try connection.execute(
        """
        UPDATE dictionary SET entries = ?, checksum = ?, encoding = ?
        WHERE app = ? AND kind = ? AND first_code = ? AND length(entries) = ?
        """,
        [.blob(bytes), .integer(Int64(CRC32C.checksum(bytes))), .integer(encoding)]
          + found.key.map { .integer($0) } + [.integer(found.entries.count)])
    }
    return true
  }

  /// Deletes those behind the first bound, up to the second one.
  static func deleteRowBlocks(
    _ id: Int64, behind first: Int64, upTo last: Int64, in connection: StoreConnection
  ) throws {
    try connection.execute(
      "DELETE FROM row_block WHERE app = ? AND id > ? AND id <= ?",
      [.integer(id), .integer(first), .integer(last)])
  }

  // MARK: First active times

  /// The chunks as they are stored.
  static func pack(_ times: [UserTimes.ChunkKey: [Int64]]) -> [UserTimes.ChunkKey: [UInt8]] {
    times.mapValues { times in
      // Users are numbered as they come: as a rule each was first active a little later than the one before.
      let stepping = ColumnPacker.compressed(
        ColumnPacker.packStepping(times.map { UInt64(bitPattern: $0) }))
      let usual = ColumnPacker.compressed(ColumnPacker.pack(times))
      return stepping.count < usual.count ? stepping : usual
    }
  }

  /// Writes chunks. Where they were made by another exclusion than those of the file, they are all that there are.
  static func storeTimes(
    _ id: Int64, _ times: [UserTimes.ChunkKey: [UInt8]], _ exclusion: SceneExclusion,
    replacing stored: SceneExclusion?, in connection: StoreConnection
  ) throws {
    if exclusion != stored {
      try connection.execute("DELETE FROM user_times WHERE app = ?", [.integer(id)])
      try connection.execute(
        "UPDATE app SET times_exclusion = ? WHERE id = ?",
        [.blob(exclusion.bytes), .integer(id)])
    }
    for (key, bytes) in times {
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
}
