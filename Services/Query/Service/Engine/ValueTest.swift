/// One condition on one value.
struct ValueTest: Sendable {
  private let filterOperator: FilterOperator
  private let texts: Set<String>
  private let numbers: [FieldValue]
  private let booleans: Set<Bool>
  private let pattern: Pattern?
  /// The values in the order given, for operators that take one text.
  private let text: String

  init(_ condition: FilterCondition, asked: String) throws(QueryError) {
    filterOperator = condition.filterOperator
    var texts: [String] = []
    var numbers: [FieldValue] = []
    var booleans: Set<Bool> = []
    for value in condition.values {
      switch value {
      case .text(let text): texts.append(text)
      case .integer, .double: numbers.append(value)
      case .boolean(let flag): booleans.insert(flag)
      }
    }
    text = texts.first ?? ""
    self.texts = Set(texts)
    self.numbers = numbers
    self.booleans = booleans
    pattern = try condition.filterOperator == .regex ? Self.compile(text, asked) : nil
  }

  private static func compile(_ text: String, _ asked: String) throws(QueryError) -> Pattern {
    guard text.utf8.count <= Limits.regexBytesMax else {
      throw .invalid(
        "\(asked).values",
        "a regular expression has at most \(Limits.regexBytesMax) bytes, this one \(text.utf8.count)")
    }
    do {
      return try Pattern(text)
    } catch {
      throw .invalid("\(asked).values", "not a regular expression: \(error.reason)")
    }
  }

  var missing: Bool { filterOperator.holdsWhereMissing }

  func holds(text value: String) -> Bool {
    switch filterOperator {
    case .eq, .in: texts.contains(value)
    case .ne, .notIn: !texts.contains(value)
    case .contains: Self.contains(value, text)
    case .notContains: !Self.contains(value, text)
    case .prefix: value.utf8.starts(with: text.utf8)
    case .regex: pattern?.matches(value) ?? false
    case .exists: true
    case .notExists, .lt, .le, .gt, .ge, .between: false
    }
  }

  func holds(number value: FieldValue) -> Bool {
    switch filterOperator {
    case .eq, .in: numbers.contains { Self.order($0, value) == 0 }
    case .ne, .notIn: !numbers.contains { Self.order($0, value) == 0 }
    case .lt: Self.order(value, numbers[0]) < 0
    case .le: Self.order(value, numbers[0]) <= 0
    case .gt: Self.order(value, numbers[0]) > 0
    case .ge: Self.order(value, numbers[0]) >= 0
    case .between: Self.order(value, numbers[0]) >= 0 && Self.order(value, numbers[1]) <= 0
    case .exists: true
    case .notContains: true
    case .notExists, .contains, .prefix, .regex: false
    }
  }

  func holds(boolean value: Bool) -> Bool {
    switch filterOperator {
    case .eq, .in: booleans.contains(value)
    case .ne, .notIn: !booleans.contains(value)
    case .exists, .notContains: true
    default: false
    }
  }

  /// Whether the operator can be asked of this type of value at all; where not, a value of the type is as good as none
  /// of those asked for.
  func fits(_ type: FieldType) -> Bool {
    guard filterOperator.fits(type) else { return false }
    switch type {
    case .text: return numbers.isEmpty && booleans.isEmpty
    case .number: return texts.isEmpty && booleans.isEmpty
    case .boolean: return texts.isEmpty && numbers.isEmpty
    }
  }

  /// Bytes within bytes: no locale, no normalisation.
  private static func contains(_ value: String, _ part: String) -> Bool {
    let haystack = Array(value.utf8)
    let needle = Array(part.utf8)
    guard needle.count <= haystack.count else { return false }
    return (0...haystack.count - needle.count).contains { begin in
      haystack[begin..<begin + needle.count].elementsEqual(needle)
    }
  }

  /// Less than, equal to or greater than 0, exactly, whichever of integer and double the two are.
  static func order(_ a: FieldValue, _ b: FieldValue) -> Int {
    switch (a, b) {
    case (.integer(let a), .integer(let b)): a < b ? -1 : a > b ? 1 : 0
    case (.double(let a), .double(let b)): a < b ? -1 : a > b ? 1 : 0
    case (.integer(let a), .double(let b)): order(a, b)
    case (.double(let a), .integer(let b)): -order(b, a)
    default: 0
    }
  }

  private static func order(_ a: Int64, _ b: Double) -> Int {
    // 2^63 is a double, the largest Int64 is none.
    if b >= 9_223_372_036_854_775_808 { return -1 }
    if b < -9_223_372_036_854_775_808 { return 1 }
    let floor = b.rounded(.down)
    let whole = Int64(floor)
    if a != whole { return a < whole ? -1 : 1 }
    return b > floor ? -1 : 0
  }
}
