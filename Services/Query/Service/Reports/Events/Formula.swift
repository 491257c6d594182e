/// An expression over named series: + - * / ( ), numbers, names.
package struct Formula: Sendable, Equatable {
  package indirect enum Node: Sendable, Equatable {
    case number(Double)
    /// Position of the series.
    case series(Int)
    case negative(Node)
    case operation(Operation, Node, Node)
  }

  package enum Operation: UInt8, Sendable {
    case plus = 0x2b
    case minus = 0x2d
    case times = 0x2a
    case over = 0x2f
  }

  package let root: Node

  /// - Parameter names: of the series.
  /// - Throws: where it does not parse; the message says at which byte, from 1 on.
  package init(_ text: String, names: [String], asked: String) throws(QueryError) {
    guard (1...Limits.formulaBytesMax).contains(text.utf8.count) else {
      throw .invalid(
        asked, "has \(text.utf8.count) bytes, must have 1-\(Limits.formulaBytesMax)")
    }
    var parser = FormulaParser(bytes: Array(text.utf8), names: names, asked: asked)
    root = try parser.whole()
  }

  /// nil: not defined, because a value of a series is not, or a division by 0.
  package func value(_ series: [Double?]) -> Double? {
    Self.value(root, series).flatMap { $0.isFinite ? $0 : nil }
  }

  private static func value(_ node: Node, _ series: [Double?]) -> Double? {
    switch node {
    case .number(let number): return number
    case .series(let index): return series[index]
    case .negative(let part): return value(part, series).map { -$0 }
    case .operation(let operation, let left, let right):
      guard let a = value(left, series), let b = value(right, series) else { return nil }
      switch operation {
      case .plus: return a + b
      case .minus: return a - b
      case .times: return a * b
      case .over: return b == 0 ? nil : a / b
      }
    }
  }
}

/// sum = product {(+|-) product}; product = factor {(*|/) factor}; factor = [-] (number | name | "(" sum ")").
private struct FormulaParser {
  let bytes: [UInt8]
  let names: [String]
  let asked: String
  var index = 0

  init(bytes: [UInt8], names: [String], asked: String) {
    self.bytes = bytes
    self.names = names
    self.asked = asked
  }

  mutating func whole() throws(QueryError) -> Formula.Node {
    let node = try sum()
    if let byte = next() { throw error("\(Self.shown(byte)) is not expected") }
    return node
  }

  private mutating func sum() throws(QueryError) -> Formula.Node {
    var node = try product()
    while let operation = take(.plus, .minus) {
      node = .operation(operation, node, try product())
    }
    return node
  }

  private mutating func product() throws(QueryError) -> Formula.Node {
    var node = try factor()
    while let operation = take(.times, .over) {
      node = .operation(operation, node, try factor())
    }
    return node
  }

  private mutating func factor() throws(QueryError) -> Formula.Node {
    guard let byte = next() else { throw error("a number, a name or ( is expected") }
    switch byte {
    case 0x2d:
      index += 1
      return .negative(try factor())
    case 0x28:
      index += 1
      let node = try sum()
      guard next() == 0x29 else { throw error(") is expected") }
      index += 1
      return node
    case 0x30...0x39, 0x2e: return .number(try number())
    default:
      guard SeriesName.begins(byte) else { throw error("\(Self.shown(byte)) is not expected") }
      return .series(try name())
    }
  }

  private mutating func number() throws(QueryError) -> Double {
    let begin = index
    while index < bytes.count, (0x30...0x39).contains(bytes[index]) || bytes[index] == 0x2e {
      index += 1
    }
    let text = String(decoding: bytes[begin..<index], as: UTF8.self)
    guard let number = Double(text), number.isFinite else {
      index = begin
      throw error("\(text) is no number")
    }
    return number
  }

  private mutating func name() throws(QueryError) -> Int {
    let begin = index
    while index < bytes.count, SeriesName.goesOn(bytes[index]) { index += 1 }
    let text = String(decoding: bytes[begin..<index], as: UTF8.self)
    guard let series = names.firstIndex(of: text) else {
      index = begin
      throw error("no series is named \(text)")
    }
    return series
  }

  private mutating func take(_ operations: Formula.Operation...) -> Formula.Operation? {
    guard let byte = next(), let operation = Formula.Operation(rawValue: byte),
      operations.contains(operation)
    else { return nil }
    index += 1
    return operation
  }

  /// The next byte that is no space.
  private mutating func next() -> UInt8? {
    while index < bytes.count, bytes[index] == 0x20 { index += 1 }
    return index < bytes.count ? bytes[index] : nil
  }

  private static func shown(_ byte: UInt8) -> String {
    (0x21...0x7e).contains(byte) ? String(UnicodeScalar(byte)) : "byte \(byte)"
  }

  private func error(_ reason: String) -> QueryError {
    .invalid(asked, "at \(index + 1): \(reason)")
  }
}

/// `^[A-Za-z][A-Za-z0-9_]{0,31}$`
enum SeriesName {
  static let bytesMax = 32

  static func begins(_ byte: UInt8) -> Bool {
    (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
  }

  static func goesOn(_ byte: UInt8) -> Bool {
    begins(byte) || (0x30...0x39).contains(byte) || byte == 0x5f
  }

  static func isValid(_ text: String) -> Bool {
    guard let first = text.utf8.first, begins(first), text.utf8.count <= bytesMax else {
      return false
    }
    return text.utf8.allSatisfy(goesOn)
  }
}
