import Events
package import Store

/// One point of a series.
package struct LivePoint: Sendable, Equatable {
  package var beginMinute: Int64
  package var visits: UInt64 = 0
  package var opens: UInt64 = 0
  /// Exact over the whole bucket.
  package var users: UInt64 = 0
  package var events: UInt64 = 0

  package init(beginMinute: Int64) { self.beginMinute = beginMinute }
}

/// One page of a list.
package struct LivePage: Sendable, Equatable {
  package var path: String
  package var visits: UInt64
  package var users: UInt64

  package init(path: String, visits: UInt64, users: UInt64) {
    self.path = path
    self.visits = visits
    self.users = users
  }
}

/// What an answer of live-stats says about itself.
package struct LiveBasis: Sendable, Equatable {
  package var latestEventMilliseconds: Int64 = 0
  package var eventsRead: UInt64 = 0
  package var excludedScene: UInt64 = 0
  package var excludedChannel: UInt64 = 0
  /// Events that came too late to be kept, where the asked period reaches back to them.
  package var dropped: UInt64 = 0

  package init() {}
}

/// Answers questions from one snapshot of the store. Minutes before the horizon are not answered, whether the sweep has
/// been there or not.
package struct LiveReader {
  private let connection: StoreConnection
  private let horizonMinute: Int64
  /// nil: the app has sent no event yet.
  private let app: AppRow?
  package private(set) var basis = LiveBasis()

  private struct AppRow {
    let key: Int64
    let latest: Int64
    let dropped: (events: Int64, first: Int64, last: Int64)
  }

  package init(_ connection: StoreConnection, appID: String, horizonMinute: Int64) throws {
    self.connection = connection
    self.horizonMinute = horizonMinute
    app = try connection.first(
      """
      SELECT app, latest_ms, dropped, dropped_first_ms, dropped_last_ms FROM live_app
      WHERE app_id = ?
      """, [.text(appID)]
    ) { row in
      AppRow(
        key: row.int64(0), latest: row.int64(1),
        dropped: (row.int64(2), row.int64(3), row.int64(4)))
    }
    basis.latestEventMilliseconds = app?.latest ?? 0
  }

  /// The number of a page, 0 for the empty path. nil: nobody has been there within the retention.
  package func page(_ path: String) throws -> UInt32? {
    if path.isEmpty { return 0 }
    guard let app else { return nil }
    return try connection.first(
      "SELECT page FROM live_page WHERE app = ? AND path = ?", [.integer(app.key), .text(path)]
    ) { UInt32(truncatingIfNeeded: $0.int64(0)) }
  }

  // MARK: - Series

  /// One point for each bucket, empty ones included. Adds what it read to `basis`.
  package mutating func series(page: UInt32?, _ range: SeriesRange) throws -> [LivePoint] {
    var points = (0..<range.bucketCount).map {
      LivePoint(beginMinute: range.firstMinute + Int64($0) * range.bucketMinutes)
    }
    noteDropped(range.minutes)
    guard let page else { return points }
    var union = UserUnion()
    var current = -1
    var sums = MinuteCounts()
    try forEachMinute(page: page, range.minutes) { minute, counts, row in
      let bucket = range.bucket(of: minute)
      if bucket != current {
        union.reset()
        current = bucket
      }
      points[bucket].add(counts)
      sums += counts
      if range.bucketMinutes == 1 {
        points[bucket].users = UInt64(counts.users)
      } else {
        try insertUsers(of: row, page: page, minute: minute, into: &union)
        points[bucket].users = UInt64(union.count)
      }
    }
    note(sums)
    return points
  }

  /// Different users of a stretch of minutes.
  package func users(page: UInt32?, _ minutes: Range<Int64>) throws -> UInt64 {
    guard let page else { return 0 }
    var union = UserUnion()
    try forEachMinute(page: page, minutes) { minute, _, row in
      try insertUsers(of: row, page: page, minute: minute, into: &union)
    }
    return UInt64(union.count)
  }

  private func forEachMinute(
    page: UInt32, _ minutes: Range<Int64>,
    _ body: (Int64, MinuteCounts, StoreStatement) throws -> Void
  ) throws {
    guard let app else { return }
    let rows = try connection.statement(
      """
      SELECT visits, opens, events, users, scene, channel, parts, ids, minute FROM live_minute
      WHERE app = ? AND page = ? AND minute >= ? AND minute < ? ORDER BY minute
      """)
    defer { rows.reset() }
    try rows.bind([
      .integer(app.key), .integer(Int64(page)), .integer(max(minutes.lowerBound, horizonMinute)),
      .integer(minutes.upperBound),
    ])
    while try rows.step() { try body(rows.int64(8), MinuteCounts(rows), rows) }
  }

  private func insertUsers(
    of row: StoreStatement, page: UInt32, minute: Int64, into union: inout UserUnion
  ) throws {
    try UserIDs.forEach(in: row.blob(7)) { union.insert($0) }
    guard row.int(6) > 0, let app else { return }
    let parts = try connection.statement(
      "SELECT ids FROM live_part WHERE app = ? AND page = ? AND minute = ?")
    defer { parts.reset() }
    try parts.bind([.integer(app.key), .integer(Int64(page)), .integer(minute)])
    while try parts.step() { try UserIDs.forEach(in: parts.blob(0)) { union.insert($0) } }
  }

  // MARK: - Pages

  /// The pages with a visit, most visits first, equal ones by path; at most `limit`, and how many there are.
  package mutating func pages(
    _ minutes: Range<Int64>, limit: Int
  ) throws -> (pages: [LivePage], pageCount: Int, visits: UInt64) {
    noteDropped(minutes)
    guard let app else { return ([], 0, 0) }
    var total = MinuteCounts()
    try forEachMinute(page: 0, minutes) { _, counts, _ in total += counts }
    note(total)
    var found: [(page: UInt32, path: String, visits: Int64)] = []
    let all = try connection.query(
      "SELECT page, path FROM live_page WHERE app = ?", [.integer(app.key)]
    ) { (UInt32(truncatingIfNeeded: $0.int64(0)), $0.string(1)) }
    for (page, path) in all {
      let visits = try visits(page: page, minutes, app.key)
      if visits > 0 { found.append((page, path, visits)) }
    }
    found.sort { $0.visits != $1.visits ? $0.visits > $1.visits : $0.path < $1.path }
    let shown = try found.prefix(limit).map {
      LivePage(path: $0.path, visits: UInt64($0.visits), users: try users(page: $0.page, minutes))
    }
    return (shown, found.count, UInt64(total.visits))
  }

  private func visits(page: UInt32, _ minutes: Range<Int64>, _ app: Int64) throws -> Int64 {
    try connection.first(
      """
      SELECT total(visits) FROM live_minute
      WHERE app = ? AND page = ? AND minute >= ? AND minute < ?
      """,
      [
        .integer(app), .integer(Int64(page)), .integer(max(minutes.lowerBound, horizonMinute)),
        .integer(minutes.upperBound),
      ]
    ) { $0.int64(0) } ?? 0
  }

  // MARK: - Basis

  private mutating func note(_ sums: MinuteCounts) {
    basis.eventsRead += UInt64(max(sums.events, 0))
    basis.excludedScene += UInt64(max(sums.excludedScene, 0))
    basis.excludedChannel += UInt64(max(sums.excludedChannel, 0))
  }

  private mutating func noteDropped(_ minutes: Range<Int64>) {
    guard let dropped = app?.dropped, dropped.events > 0,
      minutes.lowerBound * 60_000 <= dropped.last, minutes.upperBound * 60_000 > dropped.first
    else { return }
    basis.dropped = UInt64(dropped.events)
  }
}

extension LivePoint {
  fileprivate mutating func add(_ counts: MinuteCounts) {
    visits += UInt64(max(counts.visits, 0))
    opens += UInt64(max(counts.opens, 0))
    events += UInt64(max(counts.events, 0))
  }
}
