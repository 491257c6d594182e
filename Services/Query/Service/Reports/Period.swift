package import Events

/// How finely a series is cut.
package enum Granularity: Sendable, CaseIterable {
  case day, week, month, all
}

/// One point of a series: whole local days.
package struct Period: Sendable, Equatable {
  /// Names the whole week or month, even where the range cuts it.
  package let refDate: String
  /// The part that is counted, both included.
  package let days: ClosedRange<Int>
  /// The same, [begin, end), ms since 1970.
  package let milliseconds: Range<Int64>
  /// Whether the range holds all of the week or month.
  package let isWhole: Bool

  init(_ refDate: String, _ whole: ClosedRange<Int>, in range: ClosedRange<Int>, _ calendar: AppCalendar) {
    self.refDate = refDate
    days = whole.clamped(to: range)
    milliseconds = calendar.range(ofDays: days)
    isWhole = days == whole
  }

  /// The periods of a range, in order.
  package static func periods(
    _ range: ClosedRange<Int>, _ granularity: Granularity, _ calendar: AppCalendar
  ) -> [Period] {
    switch granularity {
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
}
