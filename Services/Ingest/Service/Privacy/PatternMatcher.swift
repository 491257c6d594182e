#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Finds personal data in a text by its form (privacy.proto, `PrivacyPattern`). Works on bytes, allocates nothing.
///
/// Cost: one pass that counts digits, dots, colons and at-signs, a few ns for a short text; most texts have too few of them for
/// any pattern and are done.
package struct PatternMatcher: Sendable {
  private let phone: Bool
  private let idCard: Bool
  private let email: Bool
  private let bankCard: Bool
  private let ipAddress: Bool
  /// Whether any of these is.
  private let isLooking: Bool
  private let customs: [CustomForm]

  package init(_ rules: Set<PrivacyRule>, customs: [CustomForm] = []) {
    phone = rules.contains(.phone)
    idCard = rules.contains(.idCard)
    email = rules.contains(.email)
    bankCard = rules.contains(.bankCard)
    ipAddress = rules.contains(.ipAddress)
    isLooking = phone || idCard || email || bankCard || ipAddress
    self.customs = customs
  }

  package var isEmpty: Bool { !isLooking && customs.isEmpty }

  /// The first rule that a text breaks; nil: none.
  @inline(__always)
  package func match(_ text: UnsafeRawBufferPointer) -> PrivacyRule? {
    if isLooking, let rule = match(text, Signs(text)) { return rule }
    return customs.isEmpty ? nil : matchCustoms(text)
  }

  private func matchCustoms(_ text: UnsafeRawBufferPointer) -> PrivacyRule? {
    customs.first { $0.occurs(in: text) }.map { .custom($0.name) }
  }

  /// The same for a number, read as its digits.
  package func match(_ number: Int64) -> PrivacyRule? {
    guard number >= 10_000_000_000, phone || idCard || bankCard else { return nil }
    var digits = Digits()
    var rest = number
    var divisor: Int64 = 1_000_000_000_000_000_000
    while divisor > number { divisor /= 10 }
    while divisor > 0 {
      digits.append(UInt8(rest / divisor))
      rest %= divisor
      divisor /= 10
    }
    return rule(of: digits, isOneGroup: true)
  }

  @inline(__always)
  private func match(_ text: UnsafeRawBufferPointer, _ signs: Signs) -> PrivacyRule? {
    // The fewest signs of any pattern.
    guard signs.digits >= 4 || signs.ats > 0 || signs.colons >= 2 else { return nil }
    return matchSlowly(text, signs)
  }

  private func matchSlowly(_ text: UnsafeRawBufferPointer, _ signs: Signs) -> PrivacyRule? {
    if signs.digits >= 11, phone || idCard || bankCard, let rule = ruleOfNumbers(text) { return rule }
    if email, signs.ats > 0, signs.dots > 0, Self.hasEmail(text) { return .email }
    if ipAddress {
      if signs.dots >= 3, signs.digits >= 4, Self.hasIPv4(text) { return .ipAddress }
      if signs.colons >= 2, Self.hasIPv6(text) { return .ipAddress }
    }
    return nil
  }

  // MARK: Numbers

  /// Looks at every number of a text, and at numbers that single spaces or hyphens join.
  private func ruleOfNumbers(_ text: UnsafeRawBufferPointer) -> PrivacyRule? {
    var index = 0
    while index < text.count {
      guard ASCIIByte.isDigit(text[index]) else {
        index += 1
        continue
      }
      let touches = index > 0 && ASCIIByte.isLetter(text[index - 1])
      if !touches, let rule = ruleOfNumber(text, from: index) { return rule }
      while index < text.count, ASCIIByte.isDigit(text[index]) { index += 1 }
    }
    return nil
  }

  private func ruleOfNumber(_ text: UnsafeRawBufferPointer, from start: Int) -> PrivacyRule? {
    var digits = Digits()
    var index = start
    var groups = 0
    while true {
      let groupStart = index
      while index < text.count, ASCIIByte.isDigit(text[index]) {
        guard digits.append(text[index] - 0x30) else { return nil }
        index += 1
      }
      groups += 1
      // Groups of one or two digits are dates and lists.
      if groups > 1, index - groupStart < 3 { return nil }
      if let rule = rule(of: digits, isOneGroup: groups == 1, before: text[index...]) { return rule }
      guard index - groupStart >= 3, index + 1 < text.count, text[index] == 0x20 || text[index] == 0x2d,
        ASCIIByte.isDigit(text[index + 1])
      else { return nil }
      index += 1
    }
  }

  private func rule(
    of digits: Digits, isOneGroup: Bool, before rest: Slice<UnsafeRawBufferPointer>
  ) -> PrivacyRule? {
    guard let next = rest.first, ASCIIByte.isLetter(next) else {
      return rule(of: digits, isOneGroup: isOneGroup)
    }
    guard idCard, digits.count == 17, next | 0x20 == 0x78,
      rest.count < 2 || !ASCIIByte.isAlphanumeric(rest[rest.startIndex + 1])
    else { return nil }
    return digits.isIDCard(last: 10) ? .idCard : nil
  }

  private func rule(of digits: Digits, isOneGroup: Bool) -> PrivacyRule? {
    if phone, digits.isPhone(isOneGroup: isOneGroup) { return .phone }
    if idCard, digits.count == 18, digits.isIDCard(last: Int(digits[17])) { return .idCard }
    if bankCard, digits.isBankCard { return .bankCard }
    return nil
  }

  // MARK: Addresses

  private static func hasEmail(_ text: UnsafeRawBufferPointer) -> Bool {
    for at in text.indices where text[at] == 0x40 {
      guard at > 0, isLocal(text[at - 1]) else { continue }
      var label = 0
      var labels = 0
      var letters = 0
      var index = at + 1
      while index < text.count {
        let byte = text[index]
        if ASCIIByte.isAlphanumeric(byte) || byte == 0x2d {
          label += 1
          letters = ASCIIByte.isLetter(byte) ? letters + 1 : 0
        } else if byte == 0x2e, label > 0, index + 1 < text.count,
          ASCIIByte.isAlphanumeric(text[index + 1])
        {
          labels += 1
          (label, letters) = (0, 0)
        } else {
          break
        }
        index += 1
      }
      // The last label is a name, of letters only.
      if labels > 0, label >= 2, letters == label { return true }
    }
    return false
  }

  /// Whether a byte may end the part before the at-sign (RFC 5322, dot-atom, as commonly used).
  private static func isLocal(_ byte: UInt8) -> Bool {
    ASCIIByte.isAlphanumeric(byte) || byte == 0x5f || byte == 0x2b || byte == 0x2d || byte == 0x25
      || byte == 0x2e
  }

  private static func hasIPv4(_ text: UnsafeRawBufferPointer) -> Bool {
    for start in text.indices where ASCIIByte.isDigit(text[start]) {
      if start > 0, ASCIIByte.isAlphanumeric(text[start - 1]) || text[start - 1] == 0x2e { continue }
      if isIPv4(text, from: start) { return true }
    }
    return false
  }

  private static func isIPv4(_ text: UnsafeRawBufferPointer, from start: Int) -> Bool {
    var index = start
    for octet in 0..<4 {
      var value = 0
      let first = index
      while index < text.count, ASCIIByte.isDigit(text[index]), index - first < 4 {
        value = value * 10 + Int(text[index] - 0x30)
        index += 1
      }
      guard index > first, index - first <= 3, value <= 255 else { return false }
      if octet == 3 { break }
      guard index < text.count, text[index] == 0x2e else { return false }
      index += 1
    }
    guard index < text.count else { return true }
    if ASCIIByte.isAlphanumeric(text[index]) { return false }
    // Five numbers and more are a version.
    return !(text[index] == 0x2e && index + 1 < text.count && ASCIIByte.isDigit(text[index + 1]))
  }

  private static func hasIPv6(_ text: UnsafeRawBufferPointer) -> Bool {
    var index = 0
    while index < text.count {
      guard isIPv6Byte(text[index]) else {
        index += 1
        continue
      }
      let start = index
      while index < text.count, isIPv6Byte(text[index]) { index += 1 }
      let touches =
        (start > 0 && ASCIIByte.isAlphanumeric(text[start - 1]))
        || (index < text.count && ASCIIByte.isAlphanumeric(text[index]))
      if !touches, isIPv6(UnsafeRawBufferPointer(rebasing: text[start..<index])) { return true }
    }
    return false
  }

  private static func isIPv6Byte(_ byte: UInt8) -> Bool {
    ASCIIByte.isDigit(byte) || (byte | 0x20) &- 0x61 < 6 || byte == 0x3a || byte == 0x2e
  }

  /// By the C library's reading of RFC 4291. A full stop or a colon of the sentence may stand behind.
  private static func isIPv6(_ run: UnsafeRawBufferPointer) -> Bool {
    var count = run.count
    while count > 0, run[count - 1] == 0x2e { count -= 1 }
    if count > 1, run[count - 1] == 0x3a, run[count - 2] != 0x3a { count -= 1 }
    // The longest form has 45 characters; `::` alone names no address.
    guard (3...45).contains(count) else { return false }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 46) { name in
      for place in 0..<count { name[place] = CChar(bitPattern: run[place]) }
      name[count] = 0
      var address = in6_addr()
      return inet_pton(AF_INET6, name.baseAddress!, &address) == 1
    }
  }
}

/// How many characters of a text make a pattern possible. Counts eight bytes at a time.
private struct Signs {
  private(set) var digits = 0
  private(set) var dots = 0
  private(set) var colons = 0
  private(set) var ats = 0

  init(_ text: UnsafeRawBufferPointer) {
    guard let start = text.baseAddress else { return }
    var index = 0
    while index &+ 8 <= text.count {
      count(UInt64(littleEndian: start.loadUnaligned(fromByteOffset: index, as: UInt64.self)))
      index &+= 8
    }
    guard index < text.count else { return }
    if text.count >= 8 {
      // The last eight bytes, without those that were counted. Zeros count for nothing.
      let last = start.loadUnaligned(fromByteOffset: text.count &- 8, as: UInt64.self)
      count(UInt64(littleEndian: last) &>> UInt64(8 &* (index &+ 8 &- text.count)))
    } else {
      var word: UInt64 = 0
      for place in 0..<text.count {
        word |= UInt64(start.load(fromByteOffset: place, as: UInt8.self)) &<< UInt64(8 &* place)
      }
      count(word)
    }
  }

  @inline(__always)
  private mutating func count(_ word: UInt64) {
    digits &+= Self.bytes(of: word ^ 0x3030_3030_3030_3030, upTo: 9)
    dots &+= Self.bytes(of: word ^ 0x2e2e_2e2e_2e2e_2e2e, upTo: 0)
    colons &+= Self.bytes(of: word ^ 0x3a3a_3a3a_3a3a_3a3a, upTo: 0)
    ats &+= Self.bytes(of: word ^ 0x4040_4040_4040_4040, upTo: 0)
  }

  /// How many of eight bytes are at most so large, which is below 128. Adding carries into the highest bit of exactly those
  /// that are larger.
  @inline(__always)
  private static func bytes(of word: UInt64, upTo most: UInt64) -> Int {
    let sum = (word & 0x7f7f_7f7f_7f7f_7f7f) &+ (0x7f &- most) &* 0x0101_0101_0101_0101
    return (~(sum | word) & 0x8080_8080_8080_8080).nonzeroBitCount
  }
}

/// Up to 19 digits: more are no number that we look for.
private struct Digits {
  private var values: (UInt64, UInt64, UInt64) = (0, 0, 0)
  private(set) var count = 0

  /// - Returns: false where there is no room.
  @discardableResult
  mutating func append(_ digit: UInt8) -> Bool {
    guard count < 19 else { return false }
    let place = count
    withUnsafeMutableBytes(of: &values) { $0[place] = digit }
    count += 1
    return true
  }

  subscript(place: Int) -> UInt8 { withUnsafeBytes(of: values) { $0[place] } }

  func isPhone(isOneGroup: Bool) -> Bool {
    let prefix: Int
    switch count {
    case 11: prefix = 0
    case 13 where isOneGroup && self[0] == 8 && self[1] == 6: prefix = 2
    case 15 where isOneGroup && self[0] == 0 && self[1] == 0 && self[2] == 8 && self[3] == 6: prefix = 4
    default: return false
    }
    return self[prefix] == 1 && self[prefix + 1] >= 3
  }

  /// GB 11643-1999: ISO 7064, MOD 11-2 over the first 17 places.
  ///
  /// - Parameter last: the value of the 18th place, X is 10.
  func isIDCard(last: Int) -> Bool {
    guard self[0] > 0, isBirthday else { return false }
    var sum = 0
    for place in 0..<17 { sum = (sum + Int(self[place])) * 2 % 11 }
    return (sum + last) % 11 == 1
  }

  private var isBirthday: Bool {
    let year = number(6..<10)
    let month = number(10..<12)
    let day = number(12..<14)
    guard (1_900...2_099).contains(year), (1...12).contains(month), day >= 1 else { return false }
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let days =
      switch month {
      case 2: isLeap ? 29 : 28
      case 4, 6, 9, 11: 30
      default: 31
      }
    return day <= days
  }

  private func number(_ places: Range<Int>) -> Int {
    places.reduce(0) { $0 * 10 + Int(self[$1]) }
  }

  /// ISO/IEC 7812-1, annex B (Luhn), and a first digit of banks and payment networks.
  var isBankCard: Bool {
    guard (13...19).contains(count), (2...6).contains(self[0]) else { return false }
    var sum = 0
    for back in 0..<count {
      let digit = Int(self[count - 1 - back])
      let doubled = back % 2 == 1 ? digit * 2 : digit
      sum += doubled > 9 ? doubled - 9 : doubled
    }
    return sum % 10 == 0
  }
}

/// A form of the app's own: `#` a digit, `%` a letter, everything else itself.
package struct CustomForm: Sendable {
  package let name: String
  private let form: [UInt8]

  package init(name: String, form: String) {
    self.name = name
    self.form = Array(form.utf8)
  }

  package func occurs(in text: UnsafeRawBufferPointer) -> Bool {
    guard text.count >= form.count else { return false }
    for start in 0...text.count - form.count where matches(text, at: start) {
      let end = start + form.count
      if start > 0, ASCIIByte.isAlphanumeric(text[start - 1]) { continue }
      if end < text.count, ASCIIByte.isAlphanumeric(text[end]) { continue }
      return true
    }
    return false
  }

  private func matches(_ text: UnsafeRawBufferPointer, at start: Int) -> Bool {
    for (place, wanted) in form.enumerated() {
      let byte = text[start + place]
      switch wanted {
      case 0x23: if !ASCIIByte.isDigit(byte) { return false }
      case 0x25: if !ASCIIByte.isLetter(byte) { return false }
      default: if byte != wanted { return false }
      }
    }
    return true
  }
}

/// Kinds of bytes.
enum ASCIIByte {
  @inline(__always) static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
  @inline(__always) static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }
  @inline(__always) static func isAlphanumeric(_ byte: UInt8) -> Bool {
    isDigit(byte) || isLetter(byte)
  }
}
