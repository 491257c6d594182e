import Events
package import Store
package import Subscription

/// What live-stats shows now: the clock, what is kept, and how far the log has been read.
package struct LiveView: Sendable {
  /// Minutes that are kept, the running one included.
  package let retentionMinutes: Int64
  private let clock: @Sendable () -> Int64
  private let positionIn: @Sendable (StoreConnection) throws -> LogPosition

  /// - Parameters:
  ///   - clock: the wall clock, ms since 1970.
  ///   - position: how far a snapshot of the store has come.
  package init(
    retentionMinutes: Int64, clock: @escaping @Sendable () -> Int64,
    position: @escaping @Sendable (StoreConnection) throws -> LogPosition
  ) {
    precondition(retentionMinutes > 0)
    self.retentionMinutes = retentionMinutes
    self.clock = clock
    self.positionIn = position
  }

  package var nowMilliseconds: Int64 { clock() }
  package var nowMinute: Int64 { clock() / 60_000 }
  /// The first minute that is kept.
  package var horizonMinute: Int64 { nowMinute - retentionMinutes + 1 }

  package func position(_ connection: StoreConnection) throws -> LogPosition {
    try positionIn(connection)
  }

  package func reader(_ connection: StoreConnection, appID: String) throws -> LiveReader {
    try LiveReader(connection, appID: appID, horizonMinute: horizonMinute)
  }

  /// The minutes of "the last n minutes": the running one, those before it, and those that clocks ahead of ours are in.
  func lastMinutes(_ count: Int64, before now: Int64) -> Range<Int64> {
    (now - count + 1)..<(now + LiveLimits.aheadMinutesMax + 1)
  }

  /// Reads what a topic needs.
  func fresh(
    _ connection: StoreConnection, appID: String, path: String, _ work: WatchTopic.Work
  ) throws -> WatchTopic.Fresh {
    let now = nowMinute
    var reader = try reader(connection, appID: appID)
    let page = try reader.page(path)
    let points = try Self.points(&reader, page: page, work, now: now)
    return WatchTopic.Fresh(
      page: page, points: points,
      users5Minutes: try reader.users(page: page, lastMinutes(5, before: now)),
      users30Minutes: try reader.users(page: page, lastMinutes(30, before: now)),
      basis: reader.basis, position: try position(connection), nowMinute: now)
  }

  private static func points(
    _ reader: inout LiveReader, page: UInt32?, _ work: WatchTopic.Work, now: Int64
  ) throws -> [LivePoint] {
    let lastHour = SeriesRange(
      firstMinute: now - LiveLimits.watchMinutes + 1, bucketMinutes: 1,
      bucketCount: Int(LiveLimits.watchMinutes + LiveLimits.aheadMinutesMax))
    guard !work.isFirst else {
      return try reader.series(page: page, lastHour)
        .filter { $0.beginMinute <= now || $0.events > 0 || $0.opens > 0 }
    }
    var points = try reader.series(page: page, lastHour)
      .filter {
        work.minutes.contains($0.beginMinute)
          || $0.beginMinute > work.lastMinute && $0.beginMinute <= now
      }
    for minute in work.minutes where !lastHour.minutes.contains(minute) {
      points += try reader.series(
        page: page, SeriesRange(firstMinute: minute, bucketMinutes: 1, bucketCount: 1))
    }
    return points
  }
}
