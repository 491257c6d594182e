import Foundation

/// Turns wall-clock times of one time zone into UTC.
package struct ZoneClock {
  private let zone: TimeZone
  // Neighbouring lines mostly lie in the same quarter of an hour, within which no zone changes.
  private var cachedQuarter = Int64.min
  private var cachedOffset: Int64 = 0

  /// - Parameter identifier: an IANA name. nil where there is none such.
  package init?(identifier: String) {
    guard let zone = TimeZone(identifier: identifier) else { return nil }
    self.zone = zone
  }

  /// Milliseconds since 1970. Of a time that occurs twice the first is meant; one that never occurs counts by the offset
  /// before the change.
  package mutating func utcMilliseconds(of time: WrittenTime) -> Int64 {
    if let offset = time.offsetSeconds {
      return time.localMilliseconds - Int64(offset) * 1_000
    }
    let quarter = time.localMilliseconds.quotientRoundedDown(by: 900_000)
    if quarter != cachedQuarter {
      cachedQuarter = quarter
      cachedOffset = offset(atLocal: quarter * 900_000)
    }
    return time.localMilliseconds - cachedOffset
  }

  private func offset(atLocal local: Int64) -> Int64 {
    let before = offset(atUTC: local - 86_400_000)
    let after = offset(atUTC: local + 86_400_000)
    if before == after { return before }
    // Around a change: the offset before it, if it still held at that moment.
    return offset(atUTC: local - before) == before ? before
      : offset(atUTC: local - after) == after ? after : before
  }

  private func offset(atUTC milliseconds: Int64) -> Int64 {
    let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    return Int64(zone.secondsFromGMT(for: date)) * 1_000
  }
}

extension Int64 {
  func quotientRoundedDown(by divisor: Int64) -> Int64 {
    let quotient = self / divisor
    return self % divisor < 0 ? quotient - 1 : quotient
  }
}
