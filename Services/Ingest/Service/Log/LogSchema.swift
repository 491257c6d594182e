package import Store

/// The tables of ingest.sqlite. Described in docs/formats.md.
package enum LogSchema {
  /// Of a new file.
  package static let pageBytes = 8_192

  package static let migrations = [
    Migration(
      1,
      """
      -- One row per batch or change. Offsets count events without gaps: a row covers first_offset ..< first_offset + count.
      CREATE TABLE log(
        first_offset INTEGER PRIMARY KEY,
        app_id TEXT NOT NULL,
        kind INTEGER NOT NULL,            -- RecordKind
        count INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        clock_offset_ms INTEGER NOT NULL,
        import INTEGER NOT NULL,
        checksum INTEGER NOT NULL,        -- see RowChecksum
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
      """),
    Migration(
      2,
      """
      -- What became of events, by day of receipt (days since 1970 in the app's zone) and SDK version.
      CREATE TABLE ledger(
        app INTEGER NOT NULL, day INTEGER NOT NULL, version TEXT NOT NULL,
        figure TEXT NOT NULL,             -- LedgerFigure
        count INTEGER NOT NULL, PRIMARY KEY(app, day, version, figure)
      ) WITHOUT ROWID;
      CREATE TABLE privacy(
        app INTEGER PRIMARY KEY,
        body BLOB NOT NULL                -- an encoded PrivacyRules
      );
      -- What users agreed to, as it holds now.
      CREATE TABLE consent(
        app INTEGER NOT NULL, purpose TEXT NOT NULL, open_id TEXT NOT NULL,
        state INTEGER NOT NULL,           -- ConsentState
        changed_ms INTEGER NOT NULL, token_id TEXT NOT NULL, PRIMARY KEY(app, purpose, open_id)
      ) WITHOUT ROWID;
      -- How many states there are of each purpose.
      CREATE TABLE consent_purpose(
        app INTEGER NOT NULL, purpose TEXT NOT NULL, states INTEGER NOT NULL, PRIMARY KEY(app, purpose)
      ) WITHOUT ROWID;
      CREATE TABLE consent_change(
        app INTEGER NOT NULL, open_id TEXT NOT NULL, purpose TEXT NOT NULL,
        number INTEGER NOT NULL,          -- 1 for the first change of this purpose
        state INTEGER NOT NULL, changed_ms INTEGER NOT NULL, token_id TEXT NOT NULL,
        PRIMARY KEY(app, open_id, purpose, number)
      ) WITHOUT ROWID;
      """),
    Migration(
      3,
      """
      -- The tracking plan: per app its mode, its pages and the version of what SDKs carry out.
      CREATE TABLE plan(app INTEGER PRIMARY KEY, body BLOB NOT NULL);     -- an encoded AppPlan
      CREATE TABLE plan_event(
        app INTEGER NOT NULL, name TEXT NOT NULL, chinese_name TEXT NOT NULL,
        body BLOB NOT NULL,               -- an encoded PlannedEvent
        PRIMARY KEY(app, name), UNIQUE(app, chinese_name)
      );
      -- What was done to an event: the last ones of each.
      CREATE TABLE plan_change(
        app INTEGER NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        body BLOB NOT NULL,               -- an encoded EventChange
        PRIMARY KEY(app, name, revision)
      );
      -- The content that passed CheckFields last under a name, as SHA-256.
      CREATE TABLE plan_check(
        app INTEGER NOT NULL, name TEXT NOT NULL, fingerprint BLOB NOT NULL, checked_ms INTEGER NOT NULL,
        PRIMARY KEY(app, name)
      ) WITHOUT ROWID;
      -- Events by name and fields (sorted, a space between; *: not looked at).
      CREATE TABLE plan_seen(
        app INTEGER NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL, events INTEGER NOT NULL,
        quarantined INTEGER NOT NULL, first_seen_ms INTEGER NOT NULL, last_seen_ms INTEGER NOT NULL,
        PRIMARY KEY(app, name, fields)
      ) WITHOUT ROWID;
      """),
    Migration(
      4,
      """
      -- Who follows the log, by name.
      CREATE TABLE subscriber(
        name TEXT PRIMARY KEY,
        app_id TEXT NOT NULL,             -- the app that it asks for; empty: all
        acknowledged INTEGER NOT NULL,    -- it has applied everything before this offset
        epoch INTEGER NOT NULL,           -- of its newest stream
        last_seen_ms INTEGER NOT NULL
      ) WITHOUT ROWID;
      -- Per erasure record what is done of it.
      CREATE TABLE erasure(
        first_offset INTEGER PRIMARY KEY, -- of the record: events before it are erased
        app_id TEXT NOT NULL,
        salt BLOB NOT NULL,
        user_hash BLOB NOT NULL,
        next_offset INTEGER NOT NULL,     -- everything before it is done
        events INTEGER NOT NULL,          -- erased from the log so far
        quarantined INTEGER NOT NULL,     -- erased from quarantine so far
        done_ms INTEGER NOT NULL          -- 0: not done
      );
      """),
    Migration(
      5,
      """
      -- What windows took in since they were last written: two halves that fill in turn. A row is a transaction's.
      CREATE TABLE device_journal_0(number INTEGER PRIMARY KEY, entries BLOB NOT NULL);
      CREATE TABLE device_journal_1(number INTEGER PRIMARY KEY, entries BLOB NOT NULL);
      -- Ids of the open run, and of the one that is being sealed. day, last_day: of receipt, since 1970.
      CREATE TABLE event_id_journal_0(
        number INTEGER PRIMARY KEY, day INTEGER NOT NULL, last_day INTEGER NOT NULL, entries BLOB NOT NULL
      );
      CREATE TABLE event_id_journal_1(
        number INTEGER PRIMARY KEY, day INTEGER NOT NULL, last_day INTEGER NOT NULL, entries BLOB NOT NULL
      );
      -- Sealed runs of ids. Bucket b of run n is row n * 2^20 + b.
      CREATE TABLE event_id_run(
        number INTEGER PRIMARY KEY, last_day INTEGER NOT NULL, bucket_bits INTEGER NOT NULL,
        count INTEGER NOT NULL
      );
      CREATE TABLE event_id_bucket(number INTEGER PRIMARY KEY, entries BLOB NOT NULL);
      -- Moved into runs at the start.
      ALTER TABLE event_id RENAME TO event_id_old;
      """),
    Migration(
      6,
      """
      -- Events kept aside, and those that were. Each event of an app once, whatever it was kept aside for.
      CREATE TABLE quarantine_2(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        app INTEGER NOT NULL,
        state INTEGER NOT NULL,           -- 0 kept, 1 replayed into the log, 2 discarded
        reason INTEGER NOT NULL,          -- EventReason
        identity BLOB NOT NULL,           -- 24 bytes: hash of the device and its number, or hash of the event's id and 0
        content INTEGER NOT NULL,         -- hash of the user and the event's bytes
        received_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL,           -- of request
        name TEXT NOT NULL,               -- of the event
        field TEXT NOT NULL,
        message TEXT NOT NULL,
        sdk_version TEXT NOT NULL,
        note TEXT NOT NULL,               -- why it was discarded
        request BLOB NOT NULL             -- an encoded CollectRequest that holds this event only; empty once it has left
      );
      CREATE UNIQUE INDEX quarantine_event ON quarantine_2(app, identity, content);
      INSERT OR IGNORE INTO quarantine_2(app, state, reason, identity, content, received_ms, bytes, name, field,
          message, sdk_version, note, request)
        SELECT app, 0, CASE reason WHEN 'wrong_type' THEN 6 WHEN 'late' THEN 10 WHEN 'conflict' THEN 11
            WHEN 'below_window' THEN 12 ELSE 13 END,
          identity, content, received_ms, length(request), '', '', '', '', '', request
        FROM quarantine ORDER BY rowid;
      DROP TABLE quarantine;
      ALTER TABLE quarantine_2 RENAME TO quarantine;
      CREATE INDEX quarantine_state ON quarantine(app, state, id, reason, bytes);
      CREATE INDEX quarantine_replayed ON quarantine(app, identity) WHERE state = 1;
      -- How many have left, by reason: 1 replayed, 2 discarded, 3 dropped to make room.
      CREATE TABLE quarantine_total(
        app INTEGER NOT NULL, leave INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY(app, leave, reason)
      ) WITHOUT ROWID;
      """),
    Migration(7, SourceSchema.statements),
    // From here on a row of `log` may be of kind `batches`, which an earlier release would take for damaged.
    Migration(8, "SELECT 1;"),
    Migration(
      9,
      """
      -- Runs of DeviceWindows. Of two that have a device, the one with the higher order holds. The table `device` is below all:
      -- what an earlier release wrote stays there and is only read.
      CREATE TABLE device_run(
        number INTEGER PRIMARY KEY,
        run_order INTEGER NOT NULL,
        level INTEGER NOT NULL,           -- 0: written out of memory; 1: merged from others
        merged_from INTEGER NOT NULL,     -- the lowest run_order of these; its own
        bucket_bits INTEGER NOT NULL,
        count INTEGER NOT NULL, bytes INTEGER NOT NULL,
        state INTEGER NOT NULL            -- DeviceRuns.State
      );
      -- Bucket b of run n is row n * 2^24 + b; a row of the directory tells of that bucket and the 63 that follow.
      CREATE TABLE device_bucket_0(number INTEGER PRIMARY KEY, entries BLOB NOT NULL);
      CREATE TABLE device_bucket_1(number INTEGER PRIMARY KEY, entries BLOB NOT NULL);
      CREATE TABLE device_directory(number INTEGER PRIMARY KEY, entries BLOB NOT NULL);
      """),
  ]
}

/// What a row of the log holds. The raw values are stored: never change one.
enum RecordKind: Int64, Sendable {
  case batch = 1
  case app = 2
  case token = 3
  case plan = 4
  case source = 6
  case consent = 7
  /// Several batches of one app: see `PackedBatches`.
  case batches = 8
  case erasure = 5

  /// Those that hold batches, in SQL.
  static let withBatches = "(\(batch.rawValue), \(batches.rawValue))"

  /// The number of the body's field in `LogRecord`.
  var bodyField: Int {
    switch self {
    case .batch, .batches: 8
    case .app: 9
    case .token: 10
    case .plan: 11
    case .source: 12
    case .consent: 14
    case .erasure: 13
    }
  }
}
