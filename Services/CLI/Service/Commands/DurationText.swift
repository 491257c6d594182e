/// Parses `30m`, `1d`, `90s`, `250ms`, `2h`, `1w`.
package enum DurationText {
  /// Milliseconds; nil where it is no duration, or one of more than 10 years.
  package static func milliseconds(_ text: String) -> Int64? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let units: [Substring: Int64] = [
      "ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000,
      "w": 604_800_000,
    ]
    guard let count = Int64(digits), let unit = units[text[digits.endIndex...]] else { return nil }
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow || product > 316_224_000_000 ? nil : product
  }
}
