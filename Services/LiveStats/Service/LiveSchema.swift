/// The tables of live-stats, beside those of `Subscription`. Minutes are counted from 1970.
///
/// ```
/// live_minute  (app, page, minute)        -> counts; the user ids that came last (`UserIDs`, at most 1,024)
/// live_part    (app, page, minute, part)  -> 1,024 user ids each, none of them twice in a minute
/// live_page    (app, page)                -> path; page 0 is "all pages" and has no row
/// live_user    (app, open_id)             -> dense number; `OpenTimeline` of the retention, behind it `CountedMinutes`
/// ```
///
/// A commit so rewrites at most 1,024 ids of a bucket, however many users it has.
package enum LiveSchema {
  package static let statements = """
    CREATE TABLE live_app (
      app INTEGER PRIMARY KEY,
      app_id TEXT NOT NULL UNIQUE,
      next_user INTEGER NOT NULL DEFAULT 0,
      next_page INTEGER NOT NULL DEFAULT 1,
      page_count INTEGER NOT NULL DEFAULT 0,
      latest_ms INTEGER NOT NULL DEFAULT 0,
      dropped INTEGER NOT NULL DEFAULT 0,
      dropped_first_ms INTEGER NOT NULL DEFAULT 0,
      dropped_last_ms INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE live_page (
      app INTEGER NOT NULL,
      page INTEGER NOT NULL,
      path TEXT NOT NULL,
      PRIMARY KEY (app, page),
      UNIQUE (app, path)
    ) WITHOUT ROWID;
    CREATE TABLE live_user (
      app INTEGER NOT NULL,
      open_id TEXT NOT NULL,
      user INTEGER NOT NULL,
      last_ms INTEGER NOT NULL,
      timeline BLOB NOT NULL,
      PRIMARY KEY (app, open_id)
    ) WITHOUT ROWID;
    CREATE TABLE live_minute (
      app INTEGER NOT NULL,
      page INTEGER NOT NULL,
      minute INTEGER NOT NULL,
      visits INTEGER NOT NULL,
      opens INTEGER NOT NULL,
      events INTEGER NOT NULL,
      users INTEGER NOT NULL,
      scene INTEGER NOT NULL,
      channel INTEGER NOT NULL,
      parts INTEGER NOT NULL,
      ids BLOB NOT NULL,
      PRIMARY KEY (app, page, minute)
    ) WITHOUT ROWID;
    CREATE TABLE live_part (
      app INTEGER NOT NULL,
      page INTEGER NOT NULL,
      minute INTEGER NOT NULL,
      part INTEGER NOT NULL,
      ids BLOB NOT NULL,
      PRIMARY KEY (app, page, minute, part)
    ) WITHOUT ROWID;
    """
}
