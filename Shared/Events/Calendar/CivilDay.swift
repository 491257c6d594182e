/// A calendar day as a number, days since 1970-01-01, and its year, month and day (proleptic Gregorian).
package struct CivilDay: Sendable, Hashable {
  package let year: Int
  package let month: Int
  package let day: Int

  /// - Parameter index: days since 1970-01-01.
  package init(index: Int) {
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let shifted = index + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  /// nil: there is no such day.
  package init?(year: Int, month: Int, day: Int) {
    guard (0...9_999).contains(year), (1...12).contains(month), (1...31).contains(day) else {
      return nil
    }
    let index = Self.index(year: year, month: month, day: day)
    self.init(index: index)
    guard self.month == month, self.day == day else { return nil }
  }

  /// Days since 1970-01-01.
  package var index: Int { Self.index(year: year, month: month, day: day) }

  private static func index(year: Int, month: Int, day: Int) -> Int {
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }

  /// `yyyy-mm-dd` or `yyyymmdd`; nil: something else, or no such day.
  package init?(_ text: String) {
    let bytes = Array(text.utf8.prefix(11))
    let digits: [UInt8]
    switch bytes.count {
    case 8: digits = bytes
    case 10 where bytes[4] == 0x2d && bytes[7] == 0x2d:
      digits = Array(bytes[0..<4] + bytes[5..<7] + bytes[8..<10])
    default: return nil
    }
    guard digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    let number = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    self.init(year: number / 10_000, month: number / 100 % 100, day: number % 100)
  }

  /// `yyyymmdd`, as WeChat's data API writes dates.
  package var compact: String {
    Self.padded(year, 4) + Self.padded(month, 2) + Self.padded(day, 2)
  }

  /// `yyyy-mm-dd`.
  package var dashed: String {
    "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))"
  }

  static func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

/// Weeks and months as numbers.
package enum CivilPeriod {
  /// The week of a day. Weeks run Monday to Sunday; week 0 began on 1969-12-29.
  package static func week(ofDay day: Int) -> Int { (day + 3).floorDivided(by: 7) }

  /// The Monday of a week.
  package static func firstDay(ofWeek week: Int) -> Int { week * 7 - 3 }

  /// The month of a day: months since January 1970.
  package static func month(ofDay day: Int) -> Int {
    let civil = CivilDay(index: day)
    return (civil.year - 1_970) * 12 + civil.month - 1
  }

  /// The first day of a month.
  package static func firstDay(ofMonth month: Int) -> Int {
    let year = 1_970 + month.floorDivided(by: 12)
    return CivilDay(year: year, month: month - (year - 1_970) * 12 + 1, day: 1)?.index ?? 0
  }

  /// `yyyymmdd`.
  package static func refDate(day: Int) -> String { CivilDay(index: day).compact }

  /// `yyyymmdd-yyyymmdd`: a range, both days included.
  package static func refDate(days: ClosedRange<Int>) -> String {
    refDate(day: days.lowerBound) + "-" + refDate(day: days.upperBound)
  }

  /// `yyyymmdd-yyyymmdd`: Monday and Sunday of the whole week.
  package static func refDate(week: Int) -> String {
    let monday = firstDay(ofWeek: week)
    return refDate(days: monday...monday + 6)
  }

  /// `yyyymm`.
  package static func refDate(month: Int) -> String {
    String(refDate(day: firstDay(ofMonth: month)).prefix(6))
  }
}

extension FixedWidthInteger {
  /// Division that rounds down, below zero too. The divisor is positive.
  @inline(__always)
  func floorDivided(by divisor: Self) -> Self {
    let quotient = self / divisor
    return self % divisor < 0 ? quotient - 1 : quotient
  }
}
