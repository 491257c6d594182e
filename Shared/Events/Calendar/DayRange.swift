/// Whole days as a caller asks for them (`footfall.common.v1.DateRange`).
package struct DayRange: Sendable, Equatable {
  /// Days apart, at most.
  package static let daysMax = 3_660

  /// Days since 1970-01-01, both included.
  package let days: ClosedRange<Int>

  /// - Parameters:
  ///   - begin: `yyyy-mm-dd` or `yyyymmdd`.
  ///   - end: the same; not before `begin`, at most 3,660 days after it.
  ///   - field: how the caller calls the range; the violation names `field.begin_date` or `field.end_date`.
  package init(begin: String, end: String, field: String = "range") throws(RuleViolation) {
    let first = try Self.day(begin, field: "\(field).begin_date")
    let last = try Self.day(end, field: "\(field).end_date")
    guard first <= last else {
      throw RuleViolation(
        field: "\(field).end_date", reason: .outOfRange, limit: "not before begin_date \(begin)",
        actual: end)
    }
    guard last - first <= Self.daysMax else {
      throw RuleViolation(
        field: "\(field).end_date", reason: .outOfRange,
        limit: "at most \(Self.daysMax) days after begin_date", actual: "\(last - first) days")
    }
    days = first...last
  }

  /// One day, days since 1970-01-01.
  ///
  /// - Throws: `required`, or `out_of_range` where the text is no date or no day from 1970 to 2100.
  package static func day(_ text: String, field: String) throws(RuleViolation) -> Int {
    guard !text.isEmpty else { throw .required(field) }
    guard let day = CivilDay(text), (1_970...2_100).contains(day.year) else {
      var copy = text
      let shown = copy.withUTF8 { RuleViolation.quoted(UnsafeRawBufferPointer($0)) }
      throw RuleViolation(
        field: field, reason: .outOfRange, limit: "a day yyyy-mm-dd or yyyymmdd from 1970 to 2100",
        actual: shown)
    }
    return day.index
  }
}
