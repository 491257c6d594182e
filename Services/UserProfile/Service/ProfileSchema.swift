/// The tables of user-profile, beside those of `Subscription`.
///
/// People are rows: one for each user, everything about them in one blob (`UserState`). What the portrait needs of all
/// users at once lies in columns: bitmaps and codes in chunks of 4,096 users, by the users' dense numbers.
///
/// ```
/// user         (app, open_id)                 -> user's number and state
/// day_users    (app, kind, day, chunk)        -> 512 bytes: bit i is user chunk * 4,096 + i
/// user_codes   (app, attribute, chunk)        -> 2 bytes for each user: the code of its value, 0: unknown
/// code_value   (app, attribute, code)         -> the value
/// day_count    (app, day)                     -> events counted and left out
/// ```
package enum ProfileSchema {
  /// Numbered from 1; `Subscription` has tables of its own.
  package static let statements = """
    CREATE TABLE profile_app (
      app INTEGER PRIMARY KEY,
      app_id TEXT NOT NULL UNIQUE,
      users INTEGER NOT NULL DEFAULT 0,
      latest_ms INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE user (
      app INTEGER NOT NULL,
      open_id TEXT NOT NULL,
      state BLOB NOT NULL,
      PRIMARY KEY (app, open_id)
    ) WITHOUT ROWID;
    CREATE TABLE day_users (
      app INTEGER NOT NULL,
      kind INTEGER NOT NULL,
      day INTEGER NOT NULL,
      chunk INTEGER NOT NULL,
      bits BLOB NOT NULL,
      PRIMARY KEY (app, kind, day, chunk)
    ) WITHOUT ROWID;
    CREATE TABLE user_codes (
      app INTEGER NOT NULL,
      attribute INTEGER NOT NULL,
      chunk INTEGER NOT NULL,
      codes BLOB NOT NULL,
      PRIMARY KEY (app, attribute, chunk)
    );
    CREATE TABLE code_value (
      app INTEGER NOT NULL,
      attribute INTEGER NOT NULL,
      code INTEGER NOT NULL,
      value TEXT NOT NULL,
      PRIMARY KEY (app, attribute, code),
      UNIQUE (app, attribute, value)
    ) WITHOUT ROWID;
    CREATE TABLE day_count (
      app INTEGER NOT NULL,
      day INTEGER NOT NULL,
      events INTEGER NOT NULL DEFAULT 0,
      scene INTEGER NOT NULL DEFAULT 0,
      channel INTEGER NOT NULL DEFAULT 0,
      PRIMARY KEY (app, day)
    ) WITHOUT ROWID;
    """
}

/// Whose bitmap a row of `day_users` is.
enum DayUsersKind: Int64 {
  /// Active on the day.
  case active = 0
  /// First active ever on the day.
  case new = 1
}
