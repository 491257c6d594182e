package import Events
package import Store

/// Counts events into minutes. Confined to the store's writer.
///
/// Users that a transaction touches are read once, kept until `flush` and written once; their opens are cut before and
/// after, and the differences are booked on the minutes. So the counts do not depend on the order in which events come,
/// nor on where transactions are cut, nor on restarts.
package final class LiveApplier {
  /// What an app's settings say about counting.
  package struct AppRules {
    package let session: SessionRules
    package let exclusions: DefaultExclusions

    package init(session: SessionRules, exclusions: DefaultExclusions) {
      self.session = session
      self.exclusions = exclusions
    }
  }

  /// What a flush changed: for the watchers.
  package struct Change: Sendable, Hashable {
    package let appID: String
    package let page: UInt32
    package let minute: Int64
  }

  struct App {
    let key: Int64
    let id: String
    var rules: AppRules
    var nextUser: Int64
    var latestMilliseconds: Int64
    var dropped = Dropped()
    var isChanged = false
  }

  /// Events too old to be kept.
  struct Dropped {
    var events: Int64 = 0
    var first = Int64.max
    var last = Int64.min

    mutating func count(_ time: Int64) {
      events += 1
      first = min(first, time)
      last = max(last, time)
    }
  }

  private struct Touched {
    let app: Int
    let openID: String
    let user: UInt32
    var timeline: OpenTimeline
    var minutes: CountedMinutes
    var lastMilliseconds: Int64
    let opensBefore: [OpenTimeline.Open]
  }

  /// A row of `live_user`.
  struct StoredUser {
    let number: UInt32
    let lastMilliseconds: Int64
    let timeline: OpenTimeline
    /// Empty where an earlier release wrote the row.
    let minutes: CountedMinutes

    /// - Parameter row: `user`, `last_ms` and `timeline`, from a column on.
    init(_ row: StoreStatement, from column: Int) throws {
      number = UInt32(truncatingIfNeeded: row.int64(column))
      lastMilliseconds = row.int64(column + 1)
      var reader = PackedReader(row.blob(column + 2))
      timeline = try OpenTimeline(from: &reader)
      minutes = reader.isAtEnd ? CountedMinutes() : try CountedMinutes(from: &reader)
    }
  }

  private struct UserKey: Hashable {
    let app: Int
    let openID: String
  }

  var apps: [App] = []
  private var appPlaces: [String: Int] = [:]
  private var touched: [Touched] = []
  private var places: [UserKey: Int] = [:]
  private var gathered = 0
  var horizonMinute: Int64 = 0
  let minutes = MinuteBuckets()
  private var pages = PageKeys()
  /// Whether a user was erased since the last flush: pages may be left that nobody visits.
  var hasErased = false
  private var writer = PackedWriter(reserving: 4_096)

  package init() {}

  // MARK: - Counting

  /// Counts one batch of the log.
  ///
  /// - Parameters:
  ///   - horizonMinute: events before this minute are dropped.
  ///   - rules: the app's; asked for once in each transaction.
  package func apply(
    appID: String, _ reader: BatchReader, message: UnsafeRawBufferPointer, clock: EventClock,
    horizonMinute: Int64, connection: StoreConnection, rules: () throws -> AppRules
  ) throws {
    if gathered >= LiveLimits.gatheredEventsMax { try writeUsers(connection) }
    gathered += reader.events.count
    self.horizonMinute = horizonMinute
    let app = try place(ofApp: appID, connection, rules)
    let batchOpenID = reader.context.text(.openID)
    var batchUser: Int?
    for event in reader.events {
      let time = clock.time(event.timeMilliseconds)
      guard time / 60_000 >= horizonMinute else {
        apps[app].dropped.count(time)
        apps[app].isChanged = true
        continue
      }
      let context = reader.context(of: event)
      let path = event.pagePath.bytes(in: message)
      let page = try pages.key(of: path, app: apps[app].key, connection)
      if let reason = apps[app].rules.exclusions.reason(for: context) {
        try exclude(reason, app, page: page, time: time, connection)
        continue
      }
      let own = context.own?.text(.openID) ?? .empty
      let user: Int
      if own.isEmpty {
        // Ingest takes no event without a user.
        if batchOpenID.isEmpty { continue }
        user = try batchUser ?? place(ofUser: batchOpenID.text(in: message), app, connection)
        batchUser = user
      } else {
        user = try place(ofUser: own.text(in: message), app, connection)
      }
      try count(event, user: user, page: page, time: time, message, connection)
    }
  }

  private func exclude(
    _ reason: ExclusionReason, _ app: Int, page: UInt32, time: Int64, _ connection: StoreConnection
  ) throws {
    for page in page == 0 ? [0] : [0, page] {
      let key = MinuteKey(app: apps[app].key, page: page, minute: time / 60_000)
      try minutes.update(key, connection) {
        switch reason {
        case .scene: $0.excludedScene += 1
        case .releaseChannel: $0.excludedChannel += 1
        }
      }
    }
  }

  private func count(
    _ event: BatchEvent, user place: Int, page: UInt32, time: Int64,
    _ message: UnsafeRawBufferPointer, _ connection: StoreConnection
  ) throws {
    let app = touched[place].app
    let user = touched[place].user
    let kind = BuiltInEvent(event.name.bytes(in: message))
    let isVisit = kind == .pageView
    try book(
      MinuteKey(app: apps[app].key, page: 0, minute: time / 60_000), isVisit: isVisit,
      user: event.isPassive ? nil : user, connection)
    if page != 0 {
      try book(
        MinuteKey(app: apps[app].key, page: page, minute: time / 60_000), isVisit: isVisit,
        user: isVisit && !event.isPassive ? user : nil, connection)
    }
    touched[place].minutes.count(minute: time / 60_000, page: page, isVisit: isVisit)
    if !event.isPassive {
      touched[place].timeline.insert(
        OpenTimeline.Entry(
          timeMilliseconds: time, sequence: event.sequence, mark: OpenMark(kind),
          page: isVisit ? page : 0),
        rules: apps[app].rules.session)
    }
    touched[place].lastMilliseconds = max(touched[place].lastMilliseconds, time)
    if time > apps[app].latestMilliseconds {
      apps[app].latestMilliseconds = time
      apps[app].isChanged = true
    }
  }

  private func book(
    _ key: MinuteKey, isVisit: Bool, user: UInt32?, _ connection: StoreConnection
  ) throws {
    try minutes.update(key, connection) {
      $0.events += 1
      if isVisit { $0.visits += 1 }
    }
    if let user { try minutes.insert(user: user, into: key, connection) }
  }

  // MARK: - Finding

  func place(
    ofApp appID: String, _ connection: StoreConnection, _ rules: () throws -> AppRules
  ) throws -> Int {
    if let place = appPlaces[appID] { return place }
    try connection.execute("INSERT OR IGNORE INTO live_app (app_id) VALUES (?)", [.text(appID)])
    let stored = try connection.first(
      "SELECT app, next_user, latest_ms FROM live_app WHERE app_id = ?", [.text(appID)]
    ) { ($0.int64(0), $0.int64(1), $0.int64(2)) }
    guard let stored else { throw PackedError() }
    apps.append(
      App(
        key: stored.0, id: appID, rules: try rules(), nextUser: stored.1,
        latestMilliseconds: stored.2))
    appPlaces[appID] = apps.count - 1
    return apps.count - 1
  }

  private func place(
    ofUser openID: String, _ app: Int, _ connection: StoreConnection
  ) throws -> Int {
    let key = UserKey(app: app, openID: openID)
    if let place = places[key] { return place }
    let stored = try connection.first(
      "SELECT user, last_ms, timeline FROM live_user WHERE app = ? AND open_id = ?",
      [.integer(apps[app].key), .text(openID)]
    ) { try StoredUser($0, from: 0) }
    let rules = apps[app].rules.session
    let user = try stored?.number ?? newUser(app)
    var timeline = stored?.timeline ?? OpenTimeline()
    timeline.fold(before: horizonMinute * 60_000, rules)
    touched.append(
      Touched(
        app: app, openID: openID, user: user, timeline: timeline,
        minutes: stored?.minutes ?? CountedMinutes(),
        lastMilliseconds: stored?.lastMilliseconds ?? 0, opensBefore: timeline.opens(rules)))
    places[key] = touched.count - 1
    return touched.count - 1
  }

  private func newUser(_ app: Int) throws -> UInt32 {
    guard let user = UInt32(exactly: apps[app].nextUser) else { throw LiveFullError() }
    apps[app].nextUser += 1
    apps[app].isChanged = true
    return user
  }

  // MARK: - Writing

  /// Writes what was gathered. Called before the transaction commits.
  ///
  /// - Returns: the minutes that changed.
  package func flush(_ connection: StoreConnection) throws -> [Change] {
    try writeUsers(connection)
    let ids = Dictionary(uniqueKeysWithValues: apps.map { ($0.key, $0.id) })
    let changes = minutes.changedKeys.compactMap { key in
      ids[key.app].map { Change(appID: $0, page: key.page, minute: key.minute) }
    }
    try minutes.flush(connection)
    try writeApps(connection)
    if hasErased { try dropEmptyPages(changes, connection) }
    apps.removeAll()
    appPlaces.removeAll()
    return changes
  }

  private func writeUsers(_ connection: StoreConnection) throws {
    let statement = try connection.statement(
      "INSERT OR REPLACE INTO live_user (app, open_id, user, last_ms, timeline) VALUES (?, ?, ?, ?, ?)")
    for index in touched.indices {
      let app = apps[touched[index].app]
      try bookOpens(touched[index], app, connection)
      touched[index].timeline.foldIfFull(app.rules.session)
      touched[index].minutes.trim(before: horizonMinute)
      writer.removeAll()
      touched[index].timeline.encode(into: &writer)
      touched[index].minutes.encode(into: &writer)
      try statement.bind(1, app.key)
      try statement.bind(2, touched[index].openID)
      try statement.bind(3, Int64(touched[index].user))
      try statement.bind(4, touched[index].lastMilliseconds)
      try statement.bind(5, blob: writer.bytes)
      try statement.run()
    }
    forgetUsers()
  }

  private func bookOpens(_ user: Touched, _ app: App, _ connection: StoreConnection) throws {
    let before = user.opensBefore
    let after = user.timeline.opens(app.rules.session)
    // Most often the new opens follow the old ones.
    var same = 0
    while same < before.count, same < after.count, before[same] == after[same] { same += 1 }
    for open in before[same...] { try bookOpen(open, -1, app, connection) }
    for open in after[same...] { try bookOpen(open, 1, app, connection) }
  }

  func bookOpen(
    _ open: OpenTimeline.Open, _ sign: Int64, _ app: App, _ connection: StoreConnection
  ) throws {
    let minute = open.beginMilliseconds / 60_000
    guard minute >= horizonMinute else { return }
    for page in open.page == 0 ? [0] : [0, open.page] {
      try minutes.update(MinuteKey(app: app.key, page: page, minute: minute), connection) {
        $0.opens += sign
      }
    }
  }

  private func writeApps(_ connection: StoreConnection) throws {
    for app in apps where app.isChanged {
      try connection.execute(
        "UPDATE live_app SET next_user = ?, latest_ms = ? WHERE app = ?",
        [.integer(app.nextUser), .integer(app.latestMilliseconds), .integer(app.key)])
      guard app.dropped.events > 0 else { continue }
      try connection.execute(
        """
        UPDATE live_app SET
          dropped_first_ms = iif(dropped = 0, ?1, min(dropped_first_ms, ?1)),
          dropped_last_ms = iif(dropped = 0, ?2, max(dropped_last_ms, ?2)),
          dropped = dropped + ?3
        WHERE app = ?4
        """,
        [
          .integer(app.dropped.first), .integer(app.dropped.last), .integer(app.dropped.events),
          .integer(app.key),
        ])
    }
  }

  private func dropEmptyPages(_ changes: [Change], _ connection: StoreConnection) throws {
    let keys = Dictionary(uniqueKeysWithValues: apps.map { ($0.id, $0.key) })
    for change in Set(changes.filter { $0.page != 0 }.map { [keys[$0.appID] ?? 0, Int64($0.page)] }) {
      _ = try LiveSweep.dropIfEmpty((change[0], change[1]), connection)
    }
    pages.discard()
    hasErased = false
  }

  private func forgetUsers() {
    touched.removeAll(keepingCapacity: touched.count <= 1_024)
    places.removeAll(keepingCapacity: touched.capacity <= 1_024)
    gathered = 0
  }

  /// The app's rules are others from here on, in the middle of a transaction too: what is counted follows from the order of
  /// the log alone.
  package func change(_ rules: AppRules, ofApp appID: String) {
    if let place = appPlaces[appID] { apps[place].rules = rules }
  }

  /// Forgets all that is in memory: the transaction was rolled back, or rows have been deleted under it.
  package func discard() {
    hasErased = false
    minutes.discard()
    pages.discard()
    forgetUsers()
    apps.removeAll()
    appPlaces.removeAll()
  }
}

/// An app has as many users as a number of 32 bits can tell apart.
package struct LiveFullError: Error, CustomStringConvertible {
  package var description: String { "an app has seen more than 4,294,967,296 users" }
}
