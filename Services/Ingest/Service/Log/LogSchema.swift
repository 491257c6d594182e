import Store

/// The tables of ingest.sqlite. Described in docs/formats.md.
enum LogSchema {
  static let migrations = [
    Migration(
      1,
      """
      -- One row per batch or change. Offsets count events without gaps: a row covers first_offset ..< first_offset + count.
      CREATE TABLE log(
        first_offset INTEGER PRIMARY KEY,
        app_id TEXT NOT NULL,
        kind INTEGER NOT NULL,            -- 1 batch, 2 app, 3 token
        count INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        clock_offset_ms INTEGER NOT NULL,
        import INTEGER NOT NULL,
        checksum INTEGER NOT NULL,        -- CRC-32C of payload
        bytes_before INTEGER NOT NULL,    -- bytes of payload in all rows before this one
        payload BLOB NOT NULL
      );
      -- Small values of the log as a whole: `hash_key`.
      CREATE TABLE setting(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
      CREATE TABLE app(
        number INTEGER PRIMARY KEY,
        app_id TEXT NOT NULL UNIQUE,
        body BLOB NOT NULL                -- an encoded App
      );
      CREATE TABLE token(
        token_id TEXT PRIMARY KEY,
        app_id TEXT NOT NULL,
        body BLOB NOT NULL                -- an encoded TokenRecord
      ) WITHOUT ROWID;
      CREATE TABLE field_type(
        app INTEGER NOT NULL, name TEXT NOT NULL, type INTEGER NOT NULL, PRIMARY KEY(app, name)
      ) WITHOUT ROWID;
      -- Per device a DeviceWindow; high and low are a hash of its id.
      CREATE TABLE device(
        app INTEGER NOT NULL, high INTEGER NOT NULL, low INTEGER NOT NULL, state BLOB NOT NULL,
        PRIMARY KEY(app, high, low)
      ) WITHOUT ROWID;
      -- Per event without a number, a hash of its id and of its content.
      CREATE TABLE event_id(
        app INTEGER NOT NULL, high INTEGER NOT NULL, low INTEGER NOT NULL,
        content INTEGER NOT NULL, PRIMARY KEY(app, high, low)
      ) WITHOUT ROWID;
      -- Events kept aside. The same event comes once, however often it is sent.
      CREATE TABLE quarantine(
        app INTEGER NOT NULL, reason TEXT NOT NULL, identity BLOB NOT NULL, content INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        request BLOB NOT NULL,            -- an encoded CollectRequest that holds this event only
        PRIMARY KEY(app, reason, identity, content)
      );
      """)
  ]
}

/// What a row of the log holds. The raw values are stored: never change one.
enum RecordKind: Int64, Sendable {
  case batch = 1
  case app = 2
  case token = 3

  /// The number of the body's field in `LogRecord`.
  var bodyField: Int {
    switch self {
    case .batch: 8
    case .app: 9
    case .token: 10
    }
  }
}
