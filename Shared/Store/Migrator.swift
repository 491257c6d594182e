/// Brings a file to the newest version of its schema.
enum Migrator {
  /// Before anybody opens the file.
  ///
  /// - Throws: `newerVersion` where the file knows more steps than we do; nothing has been changed then.
  static func refuseNewer(_ path: String, than migrations: [Migration]) throws(StoreError) {
    let version = DatabaseHead.userVersion(of: path)
    guard version <= migrations.count else {
      throw StoreError(
        .newerVersion,
        "\(path) has version \(version), this release knows up to \(migrations.count): use a newer release")
    }
  }

  /// After `refuseNewer`.
  static func migrate(
    _ connection: StoreConnection, _ migrations: [Migration]
  ) throws {
    for (index, migration) in migrations.enumerated() {
      precondition(migration.number == index + 1, "migrations are numbered from 1 without gaps")
    }
    let version = try connection.first("PRAGMA user_version") { $0.int(0) } ?? 0
    for migration in migrations.dropFirst(version) {
      try connection.executeScript("BEGIN IMMEDIATE")
      do {
        try connection.executeScript(migration.sql)
        try connection.executeScript("PRAGMA user_version = \(migration.number)")
        CrashPoint.reached("migrate.written")
        try connection.executeScript("COMMIT")
        CrashPoint.reached("migrate.committed")
      } catch {
        // The first error is the one to tell; SQLite rolls back by itself where this fails too.
        try? connection.executeScript("ROLLBACK")
        throw error
      }
    }
  }
}
