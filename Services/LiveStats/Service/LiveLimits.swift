/// Every bound of live-stats. What they cost in memory is told in docs/live-stats.md.
package enum LiveLimits {
  /// Buckets of one period of GetSeries: 48 h of minutes.
  package static let seriesBucketsMax = 2_880
  /// Minutes that one bucket may hold.
  package static let bucketMinutes: [Int32] = [1, 5, 10, 30, 60]
  /// Buckets of a period of which the caller gives no beginning.
  package static let seriesBucketsDefault = 60
  /// Minutes in the first message of Watch.
  package static let watchMinutes: Int64 = 60
  package static let watchIntervalMillisecondsMin = 1_000
  package static let watchIntervalMillisecondsMax = 60_000
  /// Streams of Watch at a time, over all apps. Each costs about 1 KiB beside its HTTP/2 stream.
  package static let watchersMax = 10_000
  /// Different pages (and apps) that are watched at a time: each keeps the points that changed within
  /// the retention: about 8 KiB, 200 KiB where late events touch all of 48 h.
  package static let topicsMax = 256
  package static let pagesListedMax: UInt32 = 1_000
  package static let pagesListedDefault: UInt32 = 100
  /// Pages of an app within the retention. Visits of further ones count for "all pages" only.
  package static let pagesPerAppMax = 10_000
  /// How far an event's time may lie ahead of the wall clock: the clamp of the clock rule.
  package static let aheadMinutesMax: Int64 = 5
  /// User ids that wait in a bucket's row before they are put aside as a part: bounds what a commit rewrites.
  package static let tailUsersMax = 1_024
  /// Minutes and pages in which a user is counted that are known for each user, 3 to 5 bytes each. What is beyond it cannot be taken back
  /// when the user is erased: a count without a name.
  package static let countedMinutesMax = 4_096
  /// User ids held by the buckets in memory, about 24 bytes each: 12 MiB.
  package static let cachedUsersMax = 500_000
  /// Buckets in memory, about 300 bytes each without users: 6 MiB.
  package static let cachedBucketsMax = 20_000
  /// Page paths whose key is known without a look-up, about 120 bytes each: 2 MiB.
  package static let cachedPagesMax = 16_384
  /// Events that are gathered before they are counted, about 100 bytes each: 6 MiB.
  package static let gatheredEventsMax = 65_536
  /// Rows that one step of the sweep looks at, so that it never holds the writer for long.
  package static let sweepRowsMax = 2_000
  /// Of docs/semantics.md.
  package static let definitionVersion = "1"
}
