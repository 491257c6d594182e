import Events
package import Store

extension LiveApplier {
  /// Takes a user out of all that is counted, as if nobody had seen them. What is counted without a user stays: events that were
  /// left out, or came too late. Nothing may be gathered: an erasure is alone in its transaction. Cost: looks at every user of the
  /// app, and where the user is known at each of its minutes.
  ///
  /// - Parameters:
  ///   - horizonMinute: minutes before it are not answered for any more.
  ///   - matches: whether an open_id is the user's.
  package func erase(
    appID: String, horizonMinute: Int64, connection: StoreConnection, rules: () throws -> AppRules,
    where matches: (UnsafeRawBufferPointer) -> Bool
  ) throws {
    let found = try users(ofApp: appID, connection, where: matches)
    guard !found.isEmpty else { return }
    let app = try place(ofApp: appID, connection, rules)
    self.horizonMinute = horizonMinute
    hasErased = true
    for (openID, user) in found {
      try takeBack(user, app, connection)
      try connection.execute(
        "DELETE FROM live_user WHERE app = ? AND open_id = ?",
        [.integer(apps[app].key), .text(openID)])
    }
    try forget(Set(found.map(\.user.number)), apps[app].key, connection)
    try recountLatest(app, without: found.map(\.user), connection)
  }

  private func users(
    ofApp appID: String, _ connection: StoreConnection,
    where matches: (UnsafeRawBufferPointer) -> Bool
  ) throws -> [(openID: String, user: StoredUser)] {
    let rows = try connection.statement(
      """
      SELECT open_id, user, last_ms, timeline FROM live_user
      WHERE app = (SELECT app FROM live_app WHERE app_id = ?)
      """)
    defer { rows.reset() }
    try rows.bind([.text(appID)])
    var found: [(openID: String, user: StoredUser)] = []
    while try rows.step() {
      if rows.withText(0, matches) {
        found.append((rows.string(0), try StoredUser(rows, from: 1)))
      }
    }
    return found
  }

  private func takeBack(_ user: StoredUser, _ app: Int, _ connection: StoreConnection) throws {
    for open in user.timeline.opens(apps[app].rules.session) {
      try bookOpen(open, -1, apps[app], connection)
    }
    for entry in user.minutes.entries where entry.minute >= horizonMinute {
      for page in entry.page == 0 ? [0] : [0, entry.page] {
        let key = MinuteKey(app: apps[app].key, page: page, minute: entry.minute)
        try minutes.update(key, connection) {
          $0.events -= Int64(entry.events)
          $0.visits -= Int64(entry.visits)
        }
      }
    }
  }

  /// Takes numbers of users out of all minutes, those too that wait for the sweep.
  private func forget(
    _ users: Set<UInt32>, _ app: Int64, _ connection: StoreConnection
  ) throws {
    var keys: Set<MinuteKey> = []
    for table in ["live_minute", "live_part"] {
      let rows = try connection.statement("SELECT page, minute, ids FROM \(table) WHERE app = ?")
      defer { rows.reset() }
      try rows.bind([.integer(app)])
      while try rows.step() {
        var isAmong = false
        try UserIDs.forEach(in: rows.blob(2)) { isAmong = isAmong || users.contains($0) }
        guard isAmong else { continue }
        keys.insert(
          MinuteKey(
            app: app, page: UInt32(truncatingIfNeeded: rows.int64(0)), minute: rows.int64(1)))
      }
    }
    for key in keys {
      for user in users { try minutes.remove(user: user, from: key, connection) }
    }
  }

  private func recountLatest(
    _ app: Int, without erased: [StoredUser], _ connection: StoreConnection
  ) throws {
    guard erased.contains(where: { $0.lastMilliseconds >= apps[app].latestMilliseconds }) else {
      return
    }
    apps[app].latestMilliseconds =
      try connection.first(
        "SELECT max(last_ms) FROM live_user WHERE app = ?", [.integer(apps[app].key)]
      ) { $0.int64(0) } ?? 0
    apps[app].isChanged = true
  }
}
