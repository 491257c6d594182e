import Store

/// Users of an app whose rows are still to be taken out.
extension EngineFile {
  static func insertErasures(
    _ id: Int64, _ users: [UInt32], in connection: StoreConnection
  ) throws {
    for user in users {
      try connection.execute(
        "INSERT OR IGNORE INTO erasure(app, user) VALUES (?, ?)",
        [.integer(id), .integer(Int64(user))])
    }
  }

  static func loadErasures(_ id: Int64, from connection: StoreConnection) throws -> [UInt32] {
    try connection.query("SELECT user FROM erasure WHERE app = ?", [.integer(id)]) {
      UInt32(truncatingIfNeeded: $0.int64(0))
    }
  }

  static func deleteErasures(
    _ id: Int64, _ users: some Sequence<UInt32>, in connection: StoreConnection
  ) throws {
    for user in users {
      try connection.execute(
        "DELETE FROM erasure WHERE app = ? AND user = ?", [.integer(id), .integer(Int64(user))])
    }
  }

  /// Writes the chunks anew that hold some strings.
  ///
  /// - Parameter strings: the dictionary, in which they are hidden.
  static func rewriteEntries(
    _ id: Int64, _ kind: DictionaryKind, _ codes: some Collection<UInt32>, of strings: ByteDictionary,
    in connection: StoreConnection
  ) throws {
    guard !codes.isEmpty else { return }
    let firsts = try connection.query(
      "SELECT first_code FROM dictionary WHERE app = ? AND kind = ? ORDER BY first_code",
      [.integer(id), .integer(kind.rawValue)]
    ) { $0.int(0) }
    let touched = Set(codes.map { code in firsts.partitioningIndex { $0 > Int(code) } - 1 })
    for index in touched where index >= 0 {
      let first = firsts[index]
      let end =
        index + 1 < firsts.count
        ? firsts[index + 1] : first + (try stringCount(id, kind, first: first, connection))
      try insertChunk(id, kind, first: first, strings.encode(first..<end), connection)
    }
  }

  /// How many strings a chunk holds. Memory may know more than the file.
  private static func stringCount(
    _ id: Int64, _ kind: DictionaryKind, first: Int, _ connection: StoreConnection
  ) throws -> Int {
    let chunk = try connection.first(
      "SELECT entries, encoding FROM dictionary WHERE app = ? AND kind = ? AND first_code = ?",
      [.integer(id), .integer(kind.rawValue), .integer(first)]
    ) { (entries: $0.bytes(0), encoding: $0.int(1)) }
    return try chunk.map { try DictionaryChunk.stringCount($0.entries, encoding: $0.encoding) } ?? 0
  }
}
