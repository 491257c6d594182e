import Events
package import Store

/// Events of some days.
package struct DayTotals: Sendable, Equatable {
  package var events: UInt64 = 0
  package var excluded = ExcludedCounts()

  package init(events: UInt64 = 0, excluded: ExcludedCounts = ExcludedCounts()) {
    self.events = events
    self.excluded = excluded
  }
}

/// Answers questions from one snapshot of the store.
package struct ProfileReader {
  private let connection: StoreConnection
  private let app: (key: Int64, latestMilliseconds: Int64)?

  package init(_ connection: StoreConnection, appID: String) throws {
    self.connection = connection
    app = try connection.first(
      "SELECT app, latest_ms FROM profile_app WHERE app_id = ?", [.text(appID)]
    ) { ($0.int64(0), $0.int64(1)) }
  }

  /// The latest event time counted, ms since 1970. 0: none.
  package var latestMilliseconds: Int64 { app?.latestMilliseconds ?? 0 }

  /// nil: the app never saw the user.
  package func user(_ openID: String) throws -> UserState? {
    guard let app else { return nil }
    return try connection.first(
      "SELECT state FROM user WHERE app = ? AND open_id = ?",
      [.integer(app.key), .text(openID)]
    ) { try UserState(from: $0.blob(0)) }
  }

  /// Active and new users of the days.
  package func portrait(_ days: ClosedRange<Int32>) throws -> (active: RawPortrait, new: RawPortrait) {
    guard let app else { return (RawPortrait(), RawPortrait()) }
    let reader = PortraitReader(connection, app: app.key)
    return (try reader.active(days), try reader.new(days))
  }

  package func totals(_ days: ClosedRange<Int32>) throws -> DayTotals {
    guard let app else { return DayTotals() }
    return try connection.first(
      """
      SELECT total(events), total(scene), total(channel) FROM day_count
      WHERE app = ? AND day BETWEEN ? AND ?
      """,
      [.integer(app.key), .integer(Int(days.lowerBound)), .integer(Int(days.upperBound))]
    ) { row in
      DayTotals(
        events: UInt64(row.int64(0)),
        excluded: ExcludedCounts(scene: UInt64(row.int64(1)), channel: UInt64(row.int64(2))))
    } ?? DayTotals()
  }
}
