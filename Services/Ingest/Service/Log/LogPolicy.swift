import RPC

/// The clock of retention. A wall clock that is set forward while the process runs must not remove the log: time goes by as the
/// monotonic clock says; one that is set back holds removal back.
struct RetentionClock {
  private let start: Int64
  private let monotonicStart: Int64

  /// - Parameter now: the wall clock, ms since 1970.
  init(now: Int64, monotonic: Int64 = MonotonicClock.now) {
    start = now
    monotonicStart = monotonic
  }

  func now(wall: Int64, monotonic: Int64 = MonotonicClock.now) -> Int64 {
    min(wall, start + (monotonic - monotonicStart) / 1_000_000)
  }
}

/// How long the log keeps what, and how it is watched.
package struct LogPolicy: Sendable {
  /// Records older than this may be removed. ms; 0: none are for their age.
  package var keepMilliseconds: Int64
  /// With more bytes of payload than this the oldest records may be removed. 0: none are for their size.
  package var keepBytes: Int64
  /// Retention does not wait for a subscriber that was away for longer. ms.
  package var awayMilliseconds: Int64
  /// Bytes of the log that are read in the background each second, for their checksums. 0: none.
  package var scrubBytesPerSecond: Int

  package init(
    keepMilliseconds: Int64 = 0, keepBytes: Int64 = 0, awayMilliseconds: Int64 = 7 * 86_400_000,
    scrubBytesPerSecond: Int = 0
  ) {
    precondition(keepMilliseconds >= 0 && keepBytes >= 0 && awayMilliseconds >= 0)
    precondition(scrubBytesPerSecond >= 0)
    self.keepMilliseconds = keepMilliseconds
    self.keepBytes = keepBytes
    self.awayMilliseconds = awayMilliseconds
    self.scrubBytesPerSecond = scrubBytesPerSecond
  }

  var removes: Bool { keepMilliseconds > 0 || keepBytes > 0 }
}
