import Events
package import Store

extension ProfileApplier {
  /// Forgets a user and takes back what is counted of them, as if nobody had seen them. Nothing may be gathered: an erasure is alone
  /// in its transaction. Cost: looks at every user of the app.
  ///
  /// - Parameter matches: whether an open_id is the user's.
  /// - Returns: whether the user was known.
  package func erase(
    appID: String, connection: StoreConnection, rules: () throws -> AppRules,
    where matches: (UnsafeRawBufferPointer) -> Bool
  ) throws -> Bool {
    let found = try users(ofApp: appID, connection, where: matches)
    guard !found.isEmpty else { return false }
    let app = try place(ofApp: appID, connection, rules)
    erasedApps.insert(apps[app].key)
    for (openID, state) in found {
      try takeBack(state, app, connection)
      try connection.execute(
        "DELETE FROM user WHERE app = ? AND open_id = ?",
        [.integer(apps[app].key), .text(openID)])
    }
    try recountLatest(app, without: found.map(\.state), connection)
    return true
  }

  private func users(
    ofApp appID: String, _ connection: StoreConnection,
    where matches: (UnsafeRawBufferPointer) -> Bool
  ) throws -> [(openID: String, state: UserState)] {
    let rows = try connection.statement(
      """
      SELECT open_id, state FROM user
      WHERE app = (SELECT app FROM profile_app WHERE app_id = ?)
      """)
    defer { rows.reset() }
    try rows.bind([.text(appID)])
    var found: [(openID: String, state: UserState)] = []
    while try rows.step() {
      if rows.withText(0, matches) {
        found.append((rows.string(0), try UserState(from: rows.blob(1))))
      }
    }
    return found
  }

  private func takeBack(_ state: UserState, _ app: Int, _ connection: StoreConnection) throws {
    let key = apps[app].key
    for day in state.days.all { columns.set(.active, app: key, day: day, user: state.user, false) }
    if let first = firstDay(state, app) {
      columns.set(.new, app: key, day: first, user: state.user, false)
    }
    for attribute in PortraitColumns.attributes where !state.attributes.text(attribute).isEmpty {
      try columns.set(attribute, app: key, user: state.user, value: "", connection)
    }
    for entry in state.counted.entries {
      var count = dayCounts[DayKey(app: app, day: entry.day)] ?? DayCount()
      count.events -= Int64(entry.events)
      count.scene -= Int64(entry.excluded.scene)
      count.channel -= Int64(entry.excluded.channel)
      dayCounts[DayKey(app: app, day: entry.day)] = count
    }
  }

  private func recountLatest(
    _ app: Int, without erased: [UserState], _ connection: StoreConnection
  ) throws {
    let last = erased.map(\.lastEventMilliseconds).max() ?? 0
    guard last >= apps[app].latestMilliseconds else { return }
    var latest: Int64 = 0
    let rows = try connection.statement("SELECT state FROM user WHERE app = ?")
    defer { rows.reset() }
    try rows.bind([.integer(apps[app].key)])
    while try rows.step() {
      latest = max(latest, try UserState(from: rows.blob(0)).lastEventMilliseconds)
    }
    apps[app].latestMilliseconds = latest
    apps[app].isChanged = true
  }

  /// Forgets days and values that only erased users had.
  func dropUnused(_ app: Int64, _ connection: StoreConnection) throws {
    try connection.execute(
      "DELETE FROM day_count WHERE app = ? AND events <= 0 AND scene <= 0 AND channel <= 0",
      [.integer(app)])
    try columns.dropUnusedValues(app: app, connection)
  }
}
