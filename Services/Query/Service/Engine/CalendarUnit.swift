import Events

/// Days, weeks or months, numbered one after another.
package enum CalendarUnit: Sendable, CaseIterable {
  case day, week, month

  init(_ granularity: Granularity, asked: String) throws(QueryError) {
    switch granularity {
    case .day: self = .day
    case .week: self = .week
    case .month: self = .month
    default: throw .invalid(asked, "must be DAY, WEEK or MONTH")
    }
  }

  func number(ofDay day: Int) -> Int {
    switch self {
    case .day: day
    case .week: CivilPeriod.week(ofDay: day)
    case .month: CivilPeriod.month(ofDay: day)
    }
  }

  func days(_ number: Int) -> ClosedRange<Int> {
    switch self {
    case .day: number...number
    case .week: CivilPeriod.firstDay(ofWeek: number)...CivilPeriod.firstDay(ofWeek: number) + 6
    case .month: CivilPeriod.firstDay(ofMonth: number)...CivilPeriod.firstDay(ofMonth: number + 1) - 1
    }
  }

  /// The units that begin in a range of days.
  func beginning(in days: ClosedRange<Int>) -> Range<Int> {
    let first = number(ofDay: days.lowerBound)
    let begin = self.days(first).lowerBound < days.lowerBound ? first + 1 : first
    return begin..<max(begin, number(ofDay: days.upperBound) + 1)
  }

  /// The units that a range of days touches.
  func touching(_ days: ClosedRange<Int>) -> ClosedRange<Int> {
    number(ofDay: days.lowerBound)...number(ofDay: days.upperBound)
  }

  func period(_ number: Int, _ calendar: AppCalendar) -> Period {
    let days = days(number)
    let refDate =
      switch self {
      case .day: CivilPeriod.refDate(day: number)
      case .week: CivilPeriod.refDate(week: number)
      case .month: CivilPeriod.refDate(month: number)
      }
    return Period(refDate, days, in: days, calendar)
  }
}
