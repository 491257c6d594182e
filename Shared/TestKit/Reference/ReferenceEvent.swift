package import Foundation

/// One value of a field, for the reference.
package enum ReferenceValue: Hashable, Sendable {
  case text(String)
  case integer(Int64)
  case double(Double)
  case boolean(Bool)
}

/// One event as the reference sees it. Nothing here is shared with the engines that it checks.
package struct ReferenceEvent: Sendable {
  package var user: String
  /// Corrected, ms since 1970.
  package var time: Int64
  /// 0: none.
  package var sequence: UInt64
  /// Position in the log.
  package var offset: UInt64
  package var name: String
  package var page: String?
  package var isPassive = false
  /// `release`, `trial`, `develop`.
  package var channel = "release"
  package var scene: Int32 = 0
  /// Whether the scene is left out by default.
  package var isExcludedScene = false
  /// Of the context: missing values are absent.
  package var context: [String: ReferenceValue] = [:]
  package var fields: [String: ReferenceValue] = [:]

  package init(user: String, time: Int64, sequence: UInt64, offset: UInt64, name: String) {
    self.user = user
    self.time = time
    self.sequence = sequence
    self.offset = offset
    self.name = name
  }

  /// Of a field as filters name it; nil: missing.
  package func value(_ field: String) -> ReferenceValue? {
    switch field {
    case "event": .text(name)
    case "page_path": page.map { .text($0) }
    case "open_id": .text(user)
    case "release_channel": .text(channel)
    case "scene": scene == 0 ? nil : .integer(Int64(scene))
    default: context[field] ?? fields[field]
    }
  }

  /// SEMANTICS 1: event time, then device sequence number, then log offset.
  package static func comesBefore(_ a: ReferenceEvent, _ b: ReferenceEvent) -> Bool {
    if a.time != b.time { return a.time < b.time }
    if a.sequence != b.sequence { return a.sequence < b.sequence }
    return a.offset < b.offset
  }
}

/// Whole local days by Foundation's calendar, not by ours.
package struct ReferenceCalendar {
  private var calendar = Calendar(identifier: .gregorian)

  /// nil: no such zone.
  package init?(_ identifier: String) {
    guard let zone = TimeZone(identifier: identifier) else { return nil }
    calendar.timeZone = zone
    calendar.firstWeekday = 2
  }

  /// Begin and end of a unit of time (`.day`, `.weekOfYear`, `.month`) around a moment, ms since 1970.
  package func interval(_ unit: Calendar.Component, around milliseconds: Int64) -> Range<Int64> {
    let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    guard let interval = calendar.dateInterval(of: unit, for: date) else {
      preconditionFailure("the calendar has no \(unit) around \(milliseconds)")
    }
    return Self.milliseconds(interval.start)..<Self.milliseconds(interval.end)
  }

  /// Begin and end of a civil day, `yyyymmdd`.
  package func day(_ year: Int, _ month: Int, _ day: Int) -> Range<Int64> {
    let components = DateComponents(year: year, month: month, day: day, hour: 12)
    guard let noon = calendar.date(from: components) else {
      preconditionFailure("no day \(year)-\(month)-\(day)")
    }
    return interval(.day, around: Self.milliseconds(noon))
  }

  /// The local day so many days after the one that holds a moment.
  package func day(_ days: Int, after milliseconds: Int64) -> Range<Int64> {
    let begin = Date(timeIntervalSince1970: Double(interval(.day, around: milliseconds).lowerBound) / 1_000)
    let noon = calendar.date(bySettingHour: 12, minute: 0, second: 0, of: begin) ?? begin
    guard let moved = calendar.date(byAdding: .day, value: days, to: noon) else {
      preconditionFailure("no day \(days) days after \(begin)")
    }
    return interval(.day, around: Self.milliseconds(moved))
  }

  /// What the clock on the wall shows: `yyyymmddThh`, or with minutes `yyyymmddThhmm`.
  package func clock(at milliseconds: Int64, minutes: Bool) -> String {
    let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    let parts = calendar.dateComponents([.year, .month, .day, .hour, .minute], from: date)
    func padded(_ number: Int?, _ width: Int) -> String {
      let digits = String(number ?? 0)
      return String(repeating: "0", count: width - digits.count) + digits
    }
    let day = padded(parts.year, 4) + padded(parts.month, 2) + padded(parts.day, 2)
    return day + "T" + padded(parts.hour, 2) + (minutes ? padded(parts.minute, 2) : "")
  }

  private static func milliseconds(_ date: Date) -> Int64 {
    Int64((date.timeIntervalSince1970 * 1_000).rounded())
  }
}
