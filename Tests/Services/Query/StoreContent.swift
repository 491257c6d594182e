import Store

/// What a store of reports holds, as lines that can be compared: everything but numbers that only tell when a part was
/// written, such as a segment's id.
enum StoreContent {
  static func lines(_ store: Store) throws -> [String] {
    try store.read { connection in
      try rows(
        """
        SELECT 'app', id, app_id, platform, time_zone, merge_under_ms, timeout_ms, hex(sources),
          hex(times_exclusion), dropped_before FROM app ORDER BY id
        """, 10, connection)
        + rows("SELECT 'position', next_offset FROM position", 2, connection)
        + dictionaries(connection)
        + rows("SELECT 'row blocks', count(*) FROM row_block", 2, connection)
        + rows(
          """
          SELECT 'segment', app, day, begin_ms, version, row_count, context_columns, last_ms, hex(fields),
            in_force, contexts, context_mask, hex(exclusion), hex(flag_counts), active_mask, is_compressed
          FROM segment ORDER BY app, day, in_force
          """, 16, connection)
        + rows(
          """
          SELECT 'column', app, day, number, segment_column.checksum, hex(data)
          FROM segment JOIN segment_column ON segment = id ORDER BY app, day, number
          """, 6, connection)
        + rows(
          """
          SELECT 'times', app, traffic, chunk, checksum, hex(data) FROM user_times
          ORDER BY app, traffic, chunk
          """, 6, connection)
    }
  }

  private static func rows(
    _ sql: String, _ columns: Int, _ connection: StoreConnection
  ) throws -> [String] {
    try connection.query(sql) { row in
      (0..<columns).map { row.isNull($0) ? "null" : row.string($0) }.joined(separator: " ")
    }
  }

  /// However they are cut into pieces.
  private static func dictionaries(_ connection: StoreConnection) throws -> [String] {
    let pieces = try connection.query(
      "SELECT app, kind, hex(entries) FROM dictionary ORDER BY app, kind, first_code"
    ) { ("\($0.int64(0)) \($0.int64(1))", $0.string(2)) }
    let whole = Dictionary(pieces, uniquingKeysWith: +)
    return whole.sorted { $0.key < $1.key }.map { "dictionary \($0.key) \($0.value)" }
  }
}
