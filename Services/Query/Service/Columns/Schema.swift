import Store

/// The tables of query.sqlite: docs/formats/query.md.
enum Schema {
  /// Numbers from `first` on, behind those of whoever shares the file.
  static func migrations(from first: Int) -> [Migration] {
    [Migration(first, version1), Migration(first + 1, version2)]
  }

  /// Those that came after others who share the file had added theirs, in the order in which they came.
  static func laterMigrations(from first: Int) -> [Migration] {
    [version3, version4, version5].enumerated().map { Migration(first + $0, $1) }
  }

  /// How many numbers `migrations` take.
  static let migrationCount = 2

  /// Segments of version 2.
  private static let version3 = """
    ALTER TABLE segment ADD COLUMN contexts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE segment ADD COLUMN context_mask INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE segment ADD COLUMN exclusion BLOB;
    ALTER TABLE segment ADD COLUMN flag_counts BLOB;
    ALTER TABLE segment ADD COLUMN active_mask INTEGER;
    ALTER TABLE dictionary ADD COLUMN encoding INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE segment ADD COLUMN is_compressed INTEGER NOT NULL DEFAULT 0;
    """

  /// Erasure of users, and days that are kept.
  private static let version4 = """
    ALTER TABLE app ADD COLUMN dropped_before INTEGER;
    CREATE TABLE erasure(
      app INTEGER NOT NULL,
      user INTEGER NOT NULL,
      PRIMARY KEY(app, user));
    """

  /// Dictionaries' chunks that are not compressed, found without passing by the others.
  private static let version5 = """
    CREATE INDEX dictionary_plain ON dictionary(app, kind, first_code) WHERE encoding = 0;
    """

  private static let version2 = """
    ALTER TABLE app ADD COLUMN sources BLOB NOT NULL DEFAULT x'';
    ALTER TABLE app ADD COLUMN times_exclusion BLOB;
    """

  private static let version1 = """
    CREATE TABLE app(
      id INTEGER PRIMARY KEY,
      app_id TEXT NOT NULL UNIQUE,
      platform TEXT NOT NULL,
      time_zone TEXT NOT NULL,
      merge_under_ms INTEGER NOT NULL,
      timeout_ms INTEGER NOT NULL);
    CREATE TABLE position(
      only INTEGER PRIMARY KEY CHECK (only = 1),
      next_offset INTEGER NOT NULL,
      received_ms INTEGER NOT NULL);
    CREATE TABLE dictionary(
      app INTEGER NOT NULL,
      kind INTEGER NOT NULL,
      first_code INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      entries BLOB NOT NULL,
      PRIMARY KEY(app, kind, first_code));
    CREATE TABLE row_block(
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      app INTEGER NOT NULL,
      row_count INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      data BLOB NOT NULL);
    CREATE TABLE segment(
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      app INTEGER NOT NULL,
      day INTEGER NOT NULL,
      begin_ms INTEGER NOT NULL,
      version INTEGER NOT NULL,
      row_count INTEGER NOT NULL,
      context_columns INTEGER NOT NULL,
      last_ms INTEGER NOT NULL,
      fields BLOB NOT NULL,
      in_force INTEGER NOT NULL);
    CREATE UNIQUE INDEX segment_in_force ON segment(app, day) WHERE in_force = 1;
    CREATE TABLE segment_column(
      segment INTEGER NOT NULL,
      number INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      data BLOB NOT NULL,
      PRIMARY KEY(segment, number));
    CREATE TABLE user_times(
      app INTEGER NOT NULL,
      traffic INTEGER NOT NULL,
      chunk INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      data BLOB NOT NULL,
      PRIMARY KEY(app, traffic, chunk));
    """
}
