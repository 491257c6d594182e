/// The tables of scenes, channels, QR codes and campaigns. Described in docs/formats.md. `app` is the app's number.
enum SourceSchema {
  static let statements = """
    -- Every change of an app's table of scenes.
    CREATE TABLE scene_version(
      app INTEGER NOT NULL, version INTEGER NOT NULL,
      body BLOB NOT NULL,               -- an encoded SceneVersion
      PRIMARY KEY(app, version)
    ) WITHOUT ROWID;
    -- What each version says of a code: the newest one up to a version is in force at it.
    CREATE TABLE scene_override(
      app INTEGER NOT NULL, code INTEGER NOT NULL, version INTEGER NOT NULL,
      body BLOB,                        -- an encoded SceneOverride; NULL: taken back
      PRIMARY KEY(app, code, version)
    ) WITHOUT ROWID;
    CREATE TABLE channel_groups(
      app INTEGER PRIMARY KEY,
      body BLOB NOT NULL                -- an encoded ChannelGroups
    );
    CREATE TABLE qr_code(
      app INTEGER NOT NULL, qr_id TEXT NOT NULL, archived INTEGER NOT NULL,
      body BLOB NOT NULL,               -- an encoded QrCode
      PRIMARY KEY(app, qr_id)
    ) WITHOUT ROWID;
    CREATE TABLE campaign(
      app INTEGER NOT NULL, campaign_id TEXT NOT NULL,
      source TEXT NOT NULL, medium TEXT NOT NULL, name TEXT NOT NULL, archived INTEGER NOT NULL,
      body BLOB NOT NULL,               -- an encoded Campaign
      PRIMARY KEY(app, campaign_id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX campaign_key ON campaign(app, source, medium, name);
    -- What events brought that nobody had registered. The row of the empty qr_id counts those beyond the bound.
    CREATE TABLE qr_seen(
      app INTEGER NOT NULL, qr_id TEXT NOT NULL, events INTEGER NOT NULL,
      first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
      PRIMARY KEY(app, qr_id)
    ) WITHOUT ROWID;
    """
}
