import Foundation

/// Numbers and times as people read them.
package enum NumberText {
  /// `31,106`.
  package static func grouped(_ number: some BinaryInteger) -> String {
    let digits = String(number.magnitude)
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0 && (digits.count - index) % 3 == 0 { result.append(",") }
      result.append(digit)
    }
    return number < 0 ? "-" + result : result
  }

  /// With a fixed number of decimals: `1,234.50`.
  package static func decimal(_ number: Double, _ decimals: Int) -> String {
    precondition((1...6).contains(decimals))
    guard number.isFinite, abs(number) < 1e15 else { return "-" }
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (abs(number) * scale).rounded()
    let whole = (scaled / scale).rounded(.down)
    let fraction = String(Int64(scaled - whole * scale))
    let sign = number < 0 && scaled > 0 ? "-" : ""
    return sign + grouped(Int64(whole)) + "."
      + String(repeating: "0", count: max(0, decimals - fraction.count)) + fraction
  }

  /// `48.2 %`.
  package static func percent(_ share: Double) -> String { decimal(share * 100, 1) + " %" }

  /// `(now - then) / then` as `+12.5 %`; `-` where then is 0.
  package static func growth(_ now: Double, _ then: Double) -> String {
    guard then != 0 else { return "-" }
    let share = (now - then) / then
    return (share > 0 ? "+" : "") + percent(share)
  }

  /// `3 h 20 min`, `45.2 s`.
  package static func duration(milliseconds: Double) -> String {
    let seconds = milliseconds / 1_000
    switch seconds {
    case ..<60: return decimal(seconds, 1) + " s"
    case ..<3_600: return "\(Int(seconds) / 60) min \(Int(seconds) % 60) s"
    case ..<86_400: return "\(Int(seconds) / 3_600) h \(Int(seconds) % 3_600 / 60) min"
    default: return "\(Int(seconds) / 86_400) d \(Int(seconds) % 86_400 / 3_600) h"
    }
  }

  /// `2024-03-13 10:21:14` in the zone; `never` for 0.
  package static func time(_ milliseconds: Int64, zone: String) -> String {
    guard milliseconds != 0 else { return "never" }
    let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    let timeZone = TimeZone(identifier: zone) ?? .gmt
    let local = milliseconds + Int64(timeZone.secondsFromGMT(for: date)) * 1_000
    return CivilTime(localMilliseconds: local).text
  }
}

/// A wall-clock time taken apart.
package struct CivilTime: Sendable, Equatable {
  package let year, month, day, hour, minute, second: Int

  /// By howardhinnant.github.io/date_algorithms.html, civil_from_days.
  package init(localMilliseconds: Int64) {
    let seconds = localMilliseconds.quotientRoundedDown(by: 1_000)
    let days = seconds.quotientRoundedDown(by: 86_400)
    let inDay = Int(seconds - days * 86_400)
    (hour, minute, second) = (inDay / 3_600, inDay % 3_600 / 60, inDay % 60)
    let shifted = Int(days) + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  /// `2024-03-13`.
  package var date: String { "\(year)-\(Self.two(month))-\(Self.two(day))" }

  /// `10:21`.
  package var clock: String { "\(Self.two(hour)):\(Self.two(minute))" }

  /// `2024-03-13 10:21:14`.
  package var text: String { "\(date) \(clock):\(Self.two(second))" }

  private static func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
