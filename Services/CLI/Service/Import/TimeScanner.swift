/// Takes the digits of a time apart, from the front.
struct TimeScanner {
  private let bytes: [UInt8]
  private var index = 0
  private static let months = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
  ]

  init(_ text: String) {
    var bytes = Array(text.utf8)
    while bytes.last == 0x20 { bytes.removeLast() }
    self.bytes = bytes
    while current == 0x20 { index += 1 }
  }

  var isAtEnd: Bool { index == bytes.count }

  private var current: UInt8? { index < bytes.count ? bytes[index] : nil }

  private mutating func skip(_ characters: StaticString) -> Bool {
    guard let current else { return false }
    let found = characters.withUTF8Buffer { $0.contains(current) }
    if found { index += 1 }
    return found
  }

  /// Between `minimum` and `maximum` digits.
  private mutating func digits(_ minimum: Int, _ maximum: Int) -> Int? {
    var value = 0
    let begin = index
    while index - begin < maximum, let byte = current, (0x30...0x39).contains(byte) {
      value = value * 10 + Int(byte - 0x30)
      index += 1
    }
    return index - begin >= minimum ? value : nil
  }

  /// Milliseconds of a fraction, more digits cut off.
  private mutating func fraction() -> Int? {
    let begin = index
    guard let value = digits(1, 9) else { return nil }
    var scaled = value
    let count = index - begin
    if count < 3 { for _ in count..<3 { scaled *= 10 } }
    if count > 3 { for _ in 3..<count { scaled /= 10 } }
    return scaled
  }

  mutating func number(perSecond: Int64) -> WrittenTime? {
    let begin = index
    guard let whole = digits(1, 14) else { return nil }
    var milliseconds = Int64(whole) * (1_000 / perSecond)
    if skip(".") {
      guard let fraction = fraction() else { return nil }
      if perSecond == 1 { milliseconds += Int64(fraction) }
    }
    // Beyond the year 9999 in either unit: another format.
    guard index > begin, milliseconds <= 253_402_300_799_999 else { return nil }
    return WrittenTime(localMilliseconds: milliseconds, offsetSeconds: 0)
  }

  mutating func automatic() -> WrittenTime? {
    let count = bytes.prefix(while: { (0x30...0x39).contains($0) }).count
    if count == bytes.count || bytes.count > count && bytes[count] == UInt8(ascii: ".") && count > 4 {
      if count <= 11 && count != 8 { return number(perSecond: 1) }
      if (12...14).contains(count) { return number(perSecond: 1_000) }
    }
    return iso()
  }

  private mutating func iso() -> WrittenTime? {
    var fields = TimeFields()
    guard let year = digits(4, 4) else { return nil }
    let isSeparated = skip("-/.")
    guard let month = digits(isSeparated ? 1 : 2, 2) else { return nil }
    if isSeparated && !skip("-/.") { return nil }
    guard let day = digits(isSeparated ? 1 : 2, 2) else { return nil }
    (fields.year, fields.month, fields.day) = (year, month, day)
    if skip("T t") {
      guard let hour = digits(1, 2), skip(":"), let minute = digits(2, 2) else { return nil }
      (fields.hour, fields.minute) = (hour, minute)
      if skip(":") {
        guard let second = digits(2, 2) else { return nil }
        fields.second = second
        if skip(".,") {
          guard let fraction = fraction() else { return nil }
          fields.millisecond = fraction
        }
      }
      while current == 0x20 { index += 1 }
      if !isAtEnd {
        guard let offset = offset() else { return nil }
        fields.offsetSeconds = offset
      }
    }
    return fields.time
  }

  /// `Z`, `UTC`, `+08`, `+0800`, `+08:00`.
  private mutating func offset() -> Int? {
    if skip("Zz") { return 0 }
    if bytes[index...].elementsEqual(Array("UTC".utf8)) {
      index += 3
      return 0
    }
    let isWest = current == UInt8(ascii: "-")
    guard skip("+-"), let hours = digits(2, 2), hours <= 18 else { return nil }
    _ = skip(":")
    let minutes = digits(2, 2) ?? 0
    guard minutes < 60 else { return nil }
    return (hours * 3_600 + minutes * 60) * (isWest ? -1 : 1)
  }

  mutating func pattern(_ pattern: String) -> WrittenTime? {
    var fields = TimeFields()
    var rest = Array(pattern.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%"), let directive = rest.popFirst() else {
        guard current == byte else { return nil }
        index += 1
        continue
      }
      guard read(Unicode.Scalar(directive), into: &fields) else { return nil }
    }
    return fields.time
  }

  private mutating func read(_ directive: Unicode.Scalar, into fields: inout TimeFields) -> Bool {
    func set(_ path: WritableKeyPath<TimeFields, Int>, _ value: Int?) -> Bool {
      guard let value else { return false }
      fields[keyPath: path] = value
      return true
    }
    switch directive {
    case "Y": return set(\.year, digits(4, 4))
    case "y": return set(\.year, digits(2, 2).map { $0 < 69 ? 2_000 + $0 : 1_900 + $0 })
    case "m": return set(\.month, digits(1, 2))
    case "b": return set(\.month, monthName())
    case "d": return set(\.day, digits(1, 2))
    case "H": return set(\.hour, digits(1, 2))
    case "I": return set(\.hour, digits(1, 2).flatMap { (1...12).contains($0) ? $0 % 12 : nil })
    case "M": return set(\.minute, digits(1, 2))
    case "S": return set(\.second, digits(1, 2))
    case "f": return set(\.millisecond, fraction())
    case "p":
      fields.isAfternoon = current == UInt8(ascii: "P") || current == UInt8(ascii: "p")
      return skip("AaPp") && skip("Mm")
    case "z":
      guard current != nil, let offset = offset() else { return false }
      fields.offsetSeconds = offset
      return true
    default: return skip("%")
    }
  }

  private mutating func monthName() -> Int? {
    guard index + 3 <= bytes.count else { return nil }
    let name = String(decoding: bytes[index..<(index + 3)], as: UTF8.self).lowercased()
    index += 3
    return Self.months.firstIndex(of: name).map { $0 + 1 }
  }
}

/// The parts of a written time.
struct TimeFields {
  var year = 1970
  var month = 1
  var day = 1
  var hour = 0
  var minute = 0
  var second = 0
  var millisecond = 0
  var isAfternoon = false
  var offsetSeconds: Int?

  /// nil where a part is out of its range: the 31st of April, 25 o'clock. A leap second counts as the last ordinary one.
  var time: WrittenTime? {
    let hours = hour + (isAfternoon && hour < 12 ? 12 : 0)
    guard (1...12).contains(month), (1...Self.days(of: month, year)).contains(day),
      (0...23).contains(hours), (0...59).contains(minute), (0...60).contains(second)
    else { return nil }
    let seconds = hours * 3_600 + minute * 60 + min(second, 59)
    let milliseconds = (Self.dayNumber(year, month, day) * 86_400 + seconds) * 1_000 + millisecond
    return WrittenTime(localMilliseconds: Int64(milliseconds), offsetSeconds: offsetSeconds)
  }

  private static func days(of month: Int, _ year: Int) -> Int {
    switch month {
    case 2: (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// Days since 1970 (howardhinnant.github.io/date_algorithms.html, days_from_civil).
  private static func dayNumber(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }
}
