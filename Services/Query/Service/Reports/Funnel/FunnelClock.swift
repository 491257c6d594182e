/// Times of a plain funnel as numbers from its first day on, so that as a rule 32 bits hold them. 0 is so early that everything is
/// later than it by more than the window.
struct FunnelClock: Sendable {
  /// What 0 stands for, ms since 1970.
  let origin: Int64
  /// ms. No longer than the days: no two times are further apart than these reach.
  let window: Int64
  /// No number is higher.
  let last: Int64

  /// - Parameters:
  ///   - days: from the begin of the first day to the end of the last one, ms since 1970.
  ///   - window: nil: there is none.
  init(_ days: Range<Int64>, windowMilliseconds: Int64?) {
    let length = days.upperBound - days.lowerBound
    window = min(windowMilliseconds ?? length, length)
    origin = days.lowerBound - window - 1
    last = days.upperBound - origin
  }

  func number<Time: FixedWidthInteger>(_ milliseconds: Int64) -> Time { Time(milliseconds - origin) }
}
