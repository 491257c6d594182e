package import Events

/// How finely a series is cut.
package enum Granularity: Sendable, CaseIterable {
  case minute, hour, day, week, month, all

  /// Days that a range may have.
  var daysMax: Int {
    switch self {
    case .minute: Limits.minuteDaysMax
    case .hour: Limits.hourDaysMax
    default: Limits.rangeDaysMax + 1
    }
  }

  /// Whether a day has several periods.
  var isWithinDay: Bool { self == .minute || self == .hour }

  /// - Parameter field: how the question calls the range.
  func check(_ days: ClosedRange<Int>, field: String) throws(QueryError) {
    guard days.count <= daysMax else {
      throw .invalid(field, "has \(days.count) days, at most \(daysMax) by \(self)")
    }
  }
}

/// One point of a series.
package struct Period: Sendable, Equatable {
  /// Names the whole week or month, even where the range cuts it.
  package let refDate: String
  /// The local days of the part that is counted, both included; of an hour or a minute the day in which it lies.
  package let days: ClosedRange<Int>
  /// The part that is counted, [begin, end), ms since 1970.
  package let milliseconds: Range<Int64>
  /// Whether the range holds all of the week or month.
  package let isWhole: Bool

  init(_ refDate: String, _ whole: ClosedRange<Int>, in range: ClosedRange<Int>, _ calendar: AppCalendar) {
    self.refDate = refDate
    days = whole.clamped(to: range)
    milliseconds = calendar.range(ofDays: days)
    isWhole = days == whole
  }

  /// A stretch of a day.
  private init(_ refDate: String, _ milliseconds: Range<Int64>, ofDay day: Int) {
    self.refDate = refDate
    self.milliseconds = milliseconds
    days = day...day
    isWhole = true
  }

  /// The periods of a range, in order and without gaps.
  package static func periods(
    _ range: ClosedRange<Int>, _ granularity: Granularity, _ calendar: AppCalendar
  ) -> [Period] {
    switch granularity {
    case .minute: return range.flatMap { steps(ofDay: $0, milliseconds: 60_000, calendar) }
    case .hour: return range.flatMap { steps(ofDay: $0, milliseconds: 3_600_000, calendar) }
    case .day:
      return range.map { Period(CivilPeriod.refDate(day: $0), $0...$0, in: range, calendar) }
    case .week:
      let weeks = CivilPeriod.week(ofDay: range.lowerBound)...CivilPeriod.week(ofDay: range.upperBound)
      return weeks.map { week in
        let monday = CivilPeriod.firstDay(ofWeek: week)
        return Period(CivilPeriod.refDate(week: week), monday...monday + 6, in: range, calendar)
      }
    case .month:
      let months =
        CivilPeriod.month(ofDay: range.lowerBound)...CivilPeriod.month(ofDay: range.upperBound)
      return months.map { month in
        let days =
          CivilPeriod.firstDay(ofMonth: month)...CivilPeriod.firstDay(ofMonth: month + 1) - 1
        return Period(CivilPeriod.refDate(month: month), days, in: range, calendar)
      }
    case .all:
      return [Period(CivilPeriod.refDate(days: range), range, in: range, calendar)]
    }
  }

  // MARK: Hours and minutes

  /// The hours or minutes that the clock on the wall shows one after another: one that daylight saving repeats is two of
  /// the same name, one that it leaves out is none.
  private static func steps(
    ofDay day: Int, milliseconds step: Int64, _ calendar: AppCalendar
  ) -> [Period] {
    let range = calendar.range(ofDay: day)
    let date = CivilPeriod.refDate(day: day)
    var periods: [Period] = []
    var begin = range.lowerBound
    while begin < range.upperBound {
      let end = min(startOfNext(after: begin, step, calendar), range.upperBound)
      let minute = calendar.minuteOfDay(at: begin)
      let name = date + "T" + twoDigits(minute / 60) + (step < 3_600_000 ? twoDigits(minute % 60) : "")
      periods.append(Period(name, begin..<end, ofDay: day))
      begin = end
    }
    return periods
  }

  /// Where the stretch that holds a moment ends: at the next whole one of the clock, or where the clock is set.
  private static func startOfNext(
    after moment: Int64, _ step: Int64, _ calendar: AppCalendar
  ) -> Int64 {
    let local = moment + calendar.offset(at: moment)
    let byTheClock = moment + step - local % step
    let before = calendar.startOfStep(at: byTheClock - 1, milliseconds: step)
    return before > moment ? before : byTheClock
  }

  private static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
