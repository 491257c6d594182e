import Events
import Foundation
import TestKit
import Testing

private let zones = [
  "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Shanghai", "Europe/London",
  "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia", "Asia/Tehran", "UTC",
]

/// ms since 1970 of a moment in UTC.
private func utc(_ text: String) throws -> Int64 {
  let date = try Date(text, strategy: .iso8601)
  return Int64(date.timeIntervalSince1970 * 1_000)
}

@Suite struct AppCalendarTests {
  @Test("agrees with Foundation's calendar at random moments", arguments: zones)
  func random(zone: String) throws {
    let calendar = try #require(AppCalendar(zone))
    var reference = Calendar(identifier: .iso8601)
    reference.timeZone = try #require(TimeZone(identifier: zone))
    var random = SeededRandom(seed: 11)
    for _ in 0..<400 {
      let moment = Int64(random.below(2_000_000_000)) * 1_000 + Int64(random.below(1_000))
      let date = Date(timeIntervalSince1970: Double(moment) / 1_000)
      let parts = reference.dateComponents([.year, .month, .day, .hour, .minute], from: date)
      let day = CivilDay(index: calendar.day(at: moment))
      #expect([day.year, day.month, day.day] == [parts.year, parts.month, parts.day], "\(moment)")
      let minute = try #require(parts.hour) * 60 + (parts.minute ?? 0)
      #expect(calendar.minuteOfDay(at: moment) == minute, "\(moment)")
      let week = CivilPeriod.firstDay(ofWeek: calendar.week(at: moment))
      #expect(day.index - week >= 0 && day.index - week < 7)
      #expect((week - 4) % 7 == 0, "1970-01-05 was a Monday")
      #expect(calendar.month(at: moment) == (day.year - 1_970) * 12 + day.month - 1)
    }
  }

  @Test("days follow one another without a gap, to the millisecond", arguments: zones)
  func days(zone: String) throws {
    let calendar = try #require(AppCalendar(zone))
    for day in 14_000..<20_800 {
      let range = calendar.range(ofDay: day)
      #expect(range.upperBound == calendar.start(ofDay: day + 1))
      guard !range.isEmpty else { continue }
      #expect(calendar.day(at: range.lowerBound) == day)
      #expect(calendar.day(at: range.upperBound - 1) == day)
      #expect(calendar.day(at: range.lowerBound - 1) < day)
    }
  }

  @Test func new_york_has_days_of_23_and_25_hours() throws {
    let calendar = try #require(AppCalendar("America/New_York"))
    let spring = try #require(CivilDay("2024-03-10")).index
    let autumn = try #require(CivilDay("20241103")).index
    #expect(calendar.range(ofDay: spring).count == 23 * 3_600_000)
    #expect(calendar.range(ofDay: autumn).count == 25 * 3_600_000)
    #expect(try calendar.start(ofDay: spring) == utc("2024-03-10T05:00:00Z"))
    #expect(try calendar.start(ofDay: spring + 1) == utc("2024-03-11T04:00:00Z"))
    let first = try utc("2024-11-03T05:30:00Z")
    #expect(calendar.minuteOfDay(at: first) == 90)
    #expect(calendar.minuteOfDay(at: first + 3_600_000) == 90)
    #expect(calendar.startOfHour(at: first) == first - 1_800_000)
    #expect(calendar.startOfHour(at: first + 3_600_000) == first + 1_800_000)
  }

  @Test func lord_howe_changes_by_half_an_hour() throws {
    let calendar = try #require(AppCalendar("Australia/Lord_Howe"))
    let autumn = try #require(CivilDay("2024-04-07")).index
    let spring = try #require(CivilDay("2024-10-06")).index
    #expect(calendar.range(ofDay: autumn).count == 24 * 3_600_000 + 1_800_000)
    #expect(calendar.range(ofDay: spring).count == 24 * 3_600_000 - 1_800_000)
  }

  @Test func kolkata_s_midnight_is_at_half_past_six_in_utc() throws {
    let calendar = try #require(AppCalendar("Asia/Kolkata"))
    let day = try #require(CivilDay("2024-01-01")).index
    #expect(try calendar.start(ofDay: day) == utc("2023-12-31T18:30:00Z"))
    let noon = try utc("2024-01-01T06:45:00Z")
    #expect(try calendar.startOfHour(at: noon) == utc("2024-01-01T06:30:00Z"))
    #expect(try calendar.startOfStep(at: noon, milliseconds: 600_000) == utc("2024-01-01T06:40:00Z"))
  }

  @Test func a_day_that_a_zone_left_out_is_empty() throws {
    let calendar = try #require(AppCalendar("Pacific/Apia"))
    #expect(calendar.range(ofDay: try #require(CivilDay("2011-12-30")).index).isEmpty)
  }

  @Test func a_day_without_midnight_begins_an_hour_later() throws {
    let calendar = try #require(AppCalendar("America/Sao_Paulo"))
    let day = try #require(CivilDay("2018-11-04")).index
    #expect(try calendar.start(ofDay: day) == utc("2018-11-04T03:00:00Z"))
    #expect(calendar.minuteOfDay(at: calendar.start(ofDay: day)) == 60)
  }

  @Test func weeks_and_months_are_named_as_wechat_names_them() throws {
    let day = try #require(CivilDay("20240229")).index
    #expect(CivilPeriod.refDate(day: day) == "20240229")
    #expect(CivilPeriod.refDate(week: CivilPeriod.week(ofDay: day)) == "20240226-20240303")
    #expect(CivilPeriod.refDate(month: CivilPeriod.month(ofDay: day)) == "202402")
    let calendar = try #require(AppCalendar("Asia/Shanghai"))
    let month = calendar.range(ofMonth: CivilPeriod.month(ofDay: day))
    #expect(month.count == 29 * 86_400_000)
    #expect(calendar.range(ofWeek: CivilPeriod.week(ofDay: day)).count == 7 * 86_400_000)
  }

  @Test("no zone", arguments: ["", "Mars/Olympus", "CST", "PST8PDT/../x", String(repeating: "a/", count: 99)])
  func unknown(zone: String) {
    #expect(AppCalendar(zone) == nil)
  }

  @Test func before_1970_and_after_2100_the_nearest_offset_holds() throws {
    let calendar = try #require(AppCalendar("Asia/Shanghai"))
    #expect(calendar.day(at: -1) == 0)
    #expect(calendar.day(at: -8 * 3_600_000 - 1) == -1)
    #expect(calendar.offset(at: EventLimits.timeMillisecondsMax) == 8 * 3_600_000)
  }
}

@Suite struct DayRangeTests {
  @Test func both_ways_of_writing_a_day_are_read() throws {
    let range = try DayRange(begin: "2024-02-28", end: "20240301")
    #expect(range.days.count == 3)
  }

  @Test(
    "a bad range names field, limit and value",
    arguments: [
      ("", "20240101", "range.begin_date: required"),
      ("20240230", "20240301",
        "range.begin_date: a day yyyy-mm-dd or yyyymmdd from 1970 to 2100; got \"20240230\""),
      ("20240102", "20240101",
        "range.end_date: not before begin_date 20240102; got 20240101"),
      ("20100101", "20240101",
        "range.end_date: at most 3660 days after begin_date; got 5113 days"),
    ])
  func bad(begin: String, end: String, message: String) {
    let found = #expect(throws: RuleViolation.self) { try DayRange(begin: begin, end: end) }
    #expect(found?.message == message)
  }

  @Test func days_and_indexes_are_each_other_s_inverse() throws {
    for index in stride(from: -100_000, through: 100_000, by: 37) {
      #expect(CivilDay(index: index).index == index)
    }
    for text in ["2023-02-29", "2024-13-01", "2024-1-01", "2024/01/01", "202401011", "２０２４０１０１"] {
      #expect(CivilDay(text) == nil, "\(text)")
    }
    #expect(try #require(CivilDay("0999-01-01")).compact == "09990101")
  }
}
