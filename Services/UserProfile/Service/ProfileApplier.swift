package import Events
package import Store

/// Applies events to the people of the store. Confined to the store's writer.
///
/// Users that a transaction touches are read once, kept in memory until `flush`, and written once. The result does not
/// depend on the order in which events come, nor on where transactions are cut.
package final class ProfileApplier {
  /// What an app's settings say about counting.
  package struct AppRules {
    package let calendar: AppCalendar
    package let session: SessionRules
    package let exclusions: DefaultExclusions

    package init(calendar: AppCalendar, session: SessionRules, exclusions: DefaultExclusions) {
      self.calendar = calendar
      self.session = session
      self.exclusions = exclusions
    }
  }

  struct App {
    let key: Int64
    var rules: AppRules
    var users: Int64
    var latestMilliseconds: Int64
    var isChanged = false
  }

  /// A user in memory, with what the columns say of them now.
  private struct Touched {
    let app: Int
    let openID: String
    var state: UserState
    let storedFirstDay: Int32?
    let storedValues: [String]
  }

  private struct UserKey: Hashable {
    let app: Int
    let openID: String
  }

  struct DayKey: Hashable {
    let app: Int
    let day: Int32
  }

  /// What a day's counts change by.
  struct DayCount {
    var events: Int64 = 0
    var scene: Int64 = 0
    var channel: Int64 = 0

    mutating func count(_ reason: ExclusionReason) {
      switch reason {
      case .scene: scene += 1
      case .releaseChannel: channel += 1
      }
    }
  }

  var apps: [App] = []
  private var appPlaces: [String: Int] = [:]
  private var touched: [Touched] = []
  private var places: [UserKey: Int] = [:]
  var dayCounts: [DayKey: DayCount] = [:]
  var columns = PortraitColumns()
  /// Where users were erased since the last flush: values and days may be left that nobody has.
  var erasedApps: Set<Int64> = []
  private var writer = PackedWriter(reserving: 4_096)

  package init() {}

  // MARK: - Applying

  /// Applies one batch of the log.
  ///
  /// - Parameters:
  ///   - reader: has read `message`.
  ///   - rules: the app's; asked for once in each transaction.
  package func apply(
    appID: String, _ reader: BatchReader, message: UnsafeRawBufferPointer, clock: EventClock,
    connection: StoreConnection, rules: () throws -> AppRules
  ) throws {
    if touched.count >= ProfileLimits.gatheredUsersMax { try flush(connection) }
    let app = try place(ofApp: appID, connection, rules)
    let batchOpenID = reader.context.text(.openID)
    let batchUser =
      batchOpenID.isEmpty
      ? nil : try place(ofUser: batchOpenID.text(in: message), app: app, connection)
    var latest = LatestContext()
    for event in reader.events {
      let context = reader.context(of: event)
      let own = context.own?.text(.openID) ?? .empty
      let user =
        own.isEmpty ? batchUser : try place(ofUser: own.text(in: message), app: app, connection)
      // Ingest takes no event without a user.
      guard let user else { continue }
      let time = clock.time(event.timeMilliseconds)
      guard count(event, context, user: user, time: time, message) else { continue }
      if event.hasOwnContext {
        tell(context, user: user, time: time, sequence: event.sequence, message)
      } else {
        latest.see(event, time: time)
      }
      tellPage(event, user: user, time: time, message)
    }
    if let batchUser, let event = latest.event {
      tell(
        reader.context(of: event), user: batchUser, time: latest.time, sequence: event.sequence,
        message)
    }
  }

  /// The latest of the events that say nothing of their own: the batch's context is as of then.
  private struct LatestContext {
    var time: Int64 = 0
    var event: BatchEvent?

    mutating func see(_ event: BatchEvent, time: Int64) {
      if let last = self.event, (time, event.sequence) < (self.time, last.sequence) { return }
      (self.time, self.event) = (time, event)
    }
  }

  /// Counts an event; false where the default exclusions leave it out.
  private func count(
    _ event: BatchEvent, _ context: EventContext, user: Int, time: Int64,
    _ message: UnsafeRawBufferPointer
  ) -> Bool {
    let place = touched[user].app
    let rules = apps[place].rules
    let day = Int32(clamping: rules.calendar.day(at: time))
    let dayKey = DayKey(app: place, day: day)
    if let reason = rules.exclusions.reason(for: context) {
      touched[user].state.count(excluded: reason, day: day)
      dayCounts[dayKey, default: DayCount()].count(reason)
      return false
    }
    dayCounts[dayKey, default: DayCount()].events += 1
    let kind = BuiltInEvent(event.name.bytes(in: message))
    let isNewDay = touched[user].state.count(
      UserEvent(
        timeMilliseconds: time, sequence: event.sequence, mark: OpenMark(kind),
        isPageView: kind == .pageView, isPassive: event.isPassive),
      day: day, rules: rules.session)
    let app = apps[place].key
    if isNewDay { columns.set(.active, app: app, day: day, user: touched[user].state.user, true) }
    if time > apps[place].latestMilliseconds {
      apps[place].latestMilliseconds = time
      apps[place].isChanged = true
    }
    return true
  }

  private static let told = ContextField.inContext.filter { $0 != .openID && $0 != .releaseChannel }

  private func tell(
    _ context: EventContext, user: Int, time: Int64, sequence: UInt64,
    _ message: UnsafeRawBufferPointer
  ) {
    for field in Self.told {
      let value: UserAttributes.Value
      switch field.kind {
      case .text:
        let slice = context.text(field)
        if slice.isEmpty { continue }
        value = .text(slice.text(in: message))
      case .integer:
        let integer = context.integer(field)
        if integer == 0 { continue }
        value = .integer(integer)
      }
      touched[user].state.attributes.tell(
        field, value, timeMilliseconds: time, sequence: sequence)
    }
  }

  private func tellPage(
    _ event: BatchEvent, user: Int, time: Int64, _ message: UnsafeRawBufferPointer
  ) {
    guard !event.pagePath.isEmpty,
      touched[user].state.attributes.accepts(
        .pagePath, timeMilliseconds: time, sequence: event.sequence)
    else { return }
    touched[user].state.attributes.tell(
      .pagePath, .text(event.pagePath.text(in: message)), timeMilliseconds: time,
      sequence: event.sequence)
  }

  // MARK: - Finding

  func place(
    ofApp appID: String, _ connection: StoreConnection, _ rules: () throws -> AppRules
  ) throws -> Int {
    if let place = appPlaces[appID] { return place }
    try connection.execute(
      "INSERT OR IGNORE INTO profile_app (app_id) VALUES (?)", [.text(appID)])
    let stored = try connection.first(
      "SELECT app, users, latest_ms FROM profile_app WHERE app_id = ?", [.text(appID)]
    ) { ($0.int64(0), $0.int64(1), $0.int64(2)) }
    guard let stored else { throw PackedError() }
    apps.append(
      App(key: stored.0, rules: try rules(), users: stored.1, latestMilliseconds: stored.2))
    appPlaces[appID] = apps.count - 1
    return apps.count - 1
  }

  private func place(
    ofUser openID: String, app: Int, _ connection: StoreConnection
  ) throws -> Int {
    let key = UserKey(app: app, openID: openID)
    if let place = places[key] { return place }
    let stored = try connection.first(
      "SELECT state FROM user WHERE app = ? AND open_id = ?",
      [.integer(apps[app].key), .text(openID)]
    ) { try UserState(from: $0.blob(0)) }
    let state = try stored ?? newUser(app)
    touched.append(
      Touched(
        app: app, openID: openID, state: state, storedFirstDay: firstDay(state, app),
        storedValues: portraitValues(state)))
    places[key] = touched.count - 1
    return touched.count - 1
  }

  private func newUser(_ app: Int) throws -> UserState {
    guard let user = UInt32(exactly: apps[app].users) else { throw ProfileFullError() }
    apps[app].users += 1
    apps[app].isChanged = true
    return UserState(user: user)
  }

  func firstDay(_ state: UserState, _ app: Int) -> Int32? {
    state.firstActiveMilliseconds == 0
      ? nil : Int32(clamping: apps[app].rules.calendar.day(at: state.firstActiveMilliseconds))
  }

  private func portraitValues(_ state: UserState) -> [String] {
    PortraitColumns.attributes.map { state.attributes.text($0) }
  }

  // MARK: - Writing

  /// Writes what was gathered. Called before the transaction commits.
  package func flush(_ connection: StoreConnection) throws {
    let update = try connection.statement(
      "INSERT OR REPLACE INTO user (app, open_id, state) VALUES (?, ?, ?)")
    for index in touched.indices {
      try flushColumns(touched[index], connection)
      writer.removeAll()
      let app = apps[touched[index].app]
      touched[index].state.encode(into: &writer, rules: app.rules.session)
      try update.bind(1, app.key)
      try update.bind(2, touched[index].openID)
      try update.bind(3, blob: writer.bytes)
      try update.run()
    }
    try columns.flush(connection)
    try flushDayCounts(connection)
    try flushApps(connection)
    for app in erasedApps { try dropUnused(app, connection) }
    forget()
  }

  private func flushColumns(_ user: Touched, _ connection: StoreConnection) throws {
    let app = apps[user.app].key
    let number = user.state.user
    let first = firstDay(user.state, user.app)
    if first != user.storedFirstDay {
      if let old = user.storedFirstDay { columns.set(.new, app: app, day: old, user: number, false) }
      if let first { columns.set(.new, app: app, day: first, user: number, true) }
    }
    for (attribute, stored) in zip(PortraitColumns.attributes, user.storedValues) {
      let value = user.state.attributes.text(attribute)
      guard value != stored else { continue }
      try columns.set(attribute, app: app, user: number, value: value, connection)
    }
  }

  private func flushDayCounts(_ connection: StoreConnection) throws {
    let update = try connection.statement(
      """
      INSERT INTO day_count (app, day, events, scene, channel) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (app, day) DO UPDATE SET events = events + excluded.events,
        scene = scene + excluded.scene, channel = channel + excluded.channel
      """)
    for (key, count) in dayCounts {
      try update.bind([
        .integer(apps[key.app].key), .integer(Int(key.day)), .integer(count.events),
        .integer(count.scene), .integer(count.channel),
      ])
      try update.run()
    }
  }

  private func flushApps(_ connection: StoreConnection) throws {
    for app in apps where app.isChanged {
      try connection.execute(
        "UPDATE profile_app SET users = ?, latest_ms = ? WHERE app = ?",
        [.integer(app.users), .integer(app.latestMilliseconds), .integer(app.key)])
    }
  }

  private func forget() {
    touched.removeAll(keepingCapacity: touched.count <= 1_024)
    places.removeAll(keepingCapacity: touched.capacity <= 1_024)
    dayCounts.removeAll()
    erasedApps.removeAll()
    apps.removeAll()
    appPlaces.removeAll()
  }

  /// The app's rules are others from here on, in the middle of a transaction too: what is counted follows from the order of
  /// the log alone.
  package func change(_ rules: AppRules, ofApp appID: String) {
    if let place = appPlaces[appID] { apps[place].rules = rules }
  }

  /// Forgets all that was gathered: the transaction was rolled back.
  package func discard() {
    columns.discard()
    forget()
  }
}

/// An app has as many users as a number of 32 bits can tell apart.
package struct ProfileFullError: Error, CustomStringConvertible {
  package var description: String { "an app has more than 4,294,967,296 users" }
}
