import Foundation

/// Cuts time into days, weeks, months, hours and minutes of one IANA time zone, daylight saving included (SEMANTICS 1,
/// Time). Immutable: one per zone, shared by all threads.
///
/// The zone's transitions from 1970 to 2100 are read once; before and after, the first and the last offset hold. Where a
/// zone goes back over midnight, which none has done since 2011, the day begins at the first of the two midnights.
///
/// Cost: a few ns a look-up; 10 KB and a few ms to make one.
package final class AppCalendar: Sendable {
  package let identifier: String
  /// Moments at which an offset begins to hold, ms since 1970. The first is `Int64.min`.
  private let starts: [Int64]
  /// What is added to UTC, ms.
  private let offsets: [Int64]
  /// For each bucket of time, the transition that holds at its beginning.
  private let buckets: [UInt16]

  /// 24.9 days: no zone changes more often than twice in a bucket.
  private static let bucketShift: Int64 = 31
  /// 2100-01-01.
  private static let endMilliseconds: Int64 = 4_102_444_800_000

  /// The zone of an app that names none.
  package static let defaultIdentifier = "Asia/Shanghai"

  /// - Parameter identifier: an IANA name. nil is returned where there is no such zone.
  package convenience init?(_ identifier: String) {
    guard identifier.utf8.count <= 64, Self.isName(identifier),
      let zone = TimeZone(identifier: identifier)
    else { return nil }
    self.init(identifier: identifier, zone: zone)
  }

  /// Abbreviations such as `CST` mean different zones to different people: a name has a slash, or is UTC.
  private static func isName(_ identifier: String) -> Bool {
    identifier.contains("/") || identifier == "UTC" || identifier == "GMT"
  }

  private init(identifier: String, zone: TimeZone) {
    let found = Self.transitions(of: zone)
    self.identifier = identifier
    starts = found.map(\.start)
    offsets = found.map(\.offset)
    buckets = Self.buckets(starts)
  }

  private static func transitions(of zone: TimeZone) -> [(start: Int64, offset: Int64)] {
    func offset(_ milliseconds: Int64) -> Int64 {
      let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
      return Int64(zone.secondsFromGMT(for: date)) * 1_000
    }
    var found = [(start: Int64.min, offset: offset(0))]
    var date = Date(timeIntervalSince1970: 0)
    // No zone has had 1,000 transitions; the bound is against a calendar that does not advance.
    for _ in 0..<1_000 {
      guard let next = zone.nextDaylightSavingTimeTransition(after: date), next > date else { break }
      let start = Int64((next.timeIntervalSince1970 * 1_000).rounded())
      guard start < endMilliseconds else { break }
      date = next
      let after = offset(start)
      if after != found[found.count - 1].offset { found.append((start, after)) }
    }
    return found
  }

  private static func buckets(_ starts: [Int64]) -> [UInt16] {
    var buckets: [UInt16] = []
    var index = 0
    for bucket in 0...Int(endMilliseconds >> bucketShift) {
      let begin = Int64(bucket) << bucketShift
      while index + 1 < starts.count, starts[index + 1] <= begin { index += 1 }
      buckets.append(UInt16(index))
    }
    return buckets
  }

  // MARK: - From a moment

  /// What local time is ahead of UTC, ms.
  package func offset(at milliseconds: Int64) -> Int64 {
    offsets[segment(at: milliseconds)]
  }

  private func segment(at milliseconds: Int64) -> Int {
    let bucket = min(max(milliseconds >> Self.bucketShift, 0), Int64(buckets.count - 1))
    var index = Int(buckets[Int(bucket)])
    while index + 1 < starts.count, starts[index + 1] <= milliseconds { index += 1 }
    return index
  }

  /// The local day, as days since 1970-01-01.
  package func day(at milliseconds: Int64) -> Int {
    Int((milliseconds + offset(at: milliseconds)).floorDivided(by: 86_400_000))
  }

  package func week(at milliseconds: Int64) -> Int { CivilPeriod.week(ofDay: day(at: milliseconds)) }
  package func month(at milliseconds: Int64) -> Int {
    CivilPeriod.month(ofDay: day(at: milliseconds))
  }

  /// What the clock on the wall shows, 0-1,439. In the hour that is repeated, twice the same.
  package func minuteOfDay(at milliseconds: Int64) -> Int {
    let local = milliseconds + offset(at: milliseconds)
    return Int(local / 60_000 - local.floorDivided(by: 86_400_000) * 1_440)
  }

  /// The beginning of the local hour, ms since 1970. The hour that daylight saving repeats is two.
  package func startOfHour(at milliseconds: Int64) -> Int64 {
    startOfStep(at: milliseconds, milliseconds: 3_600_000)
  }

  /// The beginning of the local stretch of so many ms, counted from midnight's own phase: what a chart with steps of 5, 10 or
  /// 30 minutes shows.
  ///
  /// - Parameter step: a divisor of an hour.
  package func startOfStep(at milliseconds: Int64, milliseconds step: Int64) -> Int64 {
    precondition(step > 0 && 3_600_000 % step == 0, "a step divides the hour")
    let index = segment(at: milliseconds)
    let local = milliseconds + offsets[index]
    // A change of less than a step cuts the stretch in two.
    return max(local.floorDivided(by: step) * step - offsets[index], starts[index])
  }

  // MARK: - To moments

  /// The first moment of a local day, ms since 1970: midnight, or what comes in its place where there is none.
  package func start(ofDay day: Int) -> Int64 {
    let local = Int64(day) * 86_400_000
    var index = segment(at: local - 26 * 3_600_000)
    while true {
      let moment = local - offsets[index]
      if index + 1 == starts.count || moment < starts[index + 1] {
        return max(moment, starts[index])
      }
      index += 1
    }
  }

  /// A local day, [begin, end), ms since 1970. Empty where the zone left the day out.
  package func range(ofDay day: Int) -> Range<Int64> { range(ofDays: day...day) }

  package func range(ofDays days: ClosedRange<Int>) -> Range<Int64> {
    start(ofDay: days.lowerBound)..<start(ofDay: days.upperBound + 1)
  }

  package func range(ofWeek week: Int) -> Range<Int64> {
    let monday = CivilPeriod.firstDay(ofWeek: week)
    return range(ofDays: monday...monday + 6)
  }

  package func range(ofMonth month: Int) -> Range<Int64> {
    start(ofDay: CivilPeriod.firstDay(ofMonth: month))..<start(
      ofDay: CivilPeriod.firstDay(ofMonth: month + 1))
  }
}
