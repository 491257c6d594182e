package import Store

/// Deletes what the retention no longer keeps, a slice at a time, so that counting is never held up for long.
///
/// Minutes go first; users only two hours after their last event has left the retention, so that no minute still names a
/// number that has been given up. Answers never reach behind the horizon, swept or not.
package struct LiveSweep: Sendable {
  /// Where the last slice ended: page, or user.
  private var page: (app: Int64, page: Int64) = (0, -1)
  private var user: (app: Int64, openID: String) = (0, "")
  private static let userGraceMilliseconds: Int64 = 7_200_000

  package init() {}

  /// What one slice deleted.
  package struct Deleted: Sendable, Equatable {
    package var minutes = 0
    package var pages = 0
    package var users = 0

    package init(minutes: Int = 0, pages: Int = 0, users: Int = 0) {
      self.minutes = minutes
      self.pages = pages
      self.users = users
    }

    package var isNothing: Bool { self == Deleted() }
  }

  /// One slice. Where anything was deleted, the applier must forget what it has in memory.
  package mutating func step(_ connection: StoreConnection, horizonMinute: Int64) throws -> Deleted {
    var deleted = Deleted()
    try sweepMinutes(connection, horizonMinute, &deleted)
    try sweepUsers(connection, horizonMinute * 60_000 - Self.userGraceMilliseconds, &deleted)
    return deleted
  }

  // MARK: Minutes

  private mutating func sweepMinutes(
    _ connection: StoreConnection, _ horizonMinute: Int64, _ deleted: inout Deleted
  ) throws {
    let pages = try connection.query(
      """
      SELECT app, 0 AS page FROM live_app WHERE (app, 0) > (?1, ?2)
      UNION ALL SELECT app, page FROM live_page WHERE (app, page) > (?1, ?2)
      ORDER BY app, page LIMIT 64
      """, [.integer(page.app), .integer(page.page)]
    ) { ($0.int64(0), $0.int64(1)) }
    for place in pages {
      page = place
      let before = deleted.minutes
      try sweep(place, connection, horizonMinute, &deleted)
      if place.1 != 0, try Self.dropIfEmpty(place, connection) { deleted.pages += 1 }
      // The rest of this page, and the others, in the next step.
      if deleted.minutes - before >= LiveLimits.sweepRowsMax {
        page = (place.0, place.1 - 1)
        return
      }
      if deleted.minutes >= LiveLimits.sweepRowsMax { return }
    }
    if pages.count < 64 { page = (0, -1) }
  }

  private func sweep(
    _ place: (Int64, Int64), _ connection: StoreConnection, _ horizonMinute: Int64,
    _ deleted: inout Deleted
  ) throws {
    // Up to the newest of the oldest rows: minutes and their parts go together.
    let end = try connection.first(
      """
      SELECT max(minute) FROM (SELECT minute FROM live_minute
        WHERE app = ? AND page = ? AND minute < ? ORDER BY minute LIMIT \(LiveLimits.sweepRowsMax))
      """, [.integer(place.0), .integer(place.1), .integer(horizonMinute)]
    ) { $0.isNull(0) ? nil : $0.int64(0) } ?? nil
    guard let end else { return }
    for table in ["live_part", "live_minute"] {
      try connection.execute(
        "DELETE FROM \(table) WHERE app = ? AND page = ? AND minute <= ?",
        [.integer(place.0), .integer(place.1), .integer(end)])
    }
    deleted.minutes += connection.changes
  }

  /// Forgets the path of a page of an app that has no minute.
  ///
  /// - Returns: whether it had none.
  static func dropIfEmpty(
    _ place: (Int64, Int64), _ connection: StoreConnection
  ) throws -> Bool {
    let isUsed = try connection.first(
      "SELECT 1 FROM live_minute WHERE app = ? AND page = ? LIMIT 1",
      [.integer(place.0), .integer(place.1)]
    ) { _ in true } ?? false
    guard !isUsed else { return false }
    try connection.execute(
      "DELETE FROM live_page WHERE app = ? AND page = ?",
      [.integer(place.0), .integer(place.1)])
    try connection.execute(
      "UPDATE live_app SET page_count = page_count - 1 WHERE app = ?", [.integer(place.0)])
    return true
  }

  // MARK: Users

  private mutating func sweepUsers(
    _ connection: StoreConnection, _ lastMilliseconds: Int64, _ deleted: inout Deleted
  ) throws {
    let slice = try connection.query(
      """
      SELECT app, open_id, last_ms FROM live_user WHERE (app, open_id) > (?, ?)
      ORDER BY app, open_id LIMIT \(LiveLimits.sweepRowsMax)
      """, [.integer(user.app), .text(user.openID)]
    ) { ($0.int64(0), $0.string(1), $0.int64(2)) }
    for (app, openID, last) in slice where last < lastMilliseconds {
      try connection.execute(
        "DELETE FROM live_user WHERE app = ? AND open_id = ?", [.integer(app), .text(openID)])
      deleted.users += 1
    }
    user = slice.last.map { ($0.0, $0.1) } ?? (0, "")
  }
}
