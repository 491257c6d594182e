/// RFC 4180: a line of names, CRLF, quotes where they are needed.
struct CSVText {
  private(set) var bytes: [UInt8] = []

  init(_ report: some CSVReport) {
    append(report.csvColumns.map { .text($0) })
    for row in report.csvRows {
      precondition(row.count == report.csvColumns.count, "a row has a cell for each column")
      append(row)
    }
  }

  private mutating func append(_ cells: [CSVCell?]) {
    for (column, cell) in cells.enumerated() {
      if column > 0 { bytes.append(UInt8(ascii: ",")) }
      switch cell {
      case .text(let text)?: append(text)
      case .integer(let number)?: bytes += Array(String(number).utf8)
      case .number(let number)?: bytes += Array(Self.digits(number).utf8)
      case .boolean(let flag)?: bytes += Array((flag ? "true" : "false").utf8)
      case nil: break
      }
    }
    bytes += [13, 10]
  }

  /// Whole numbers without a fraction, others with the fewest digits that give them back.
  private static func digits(_ number: Double) -> String {
    guard number == number.rounded(), abs(number) < 1e15 else { return String(number) }
    return String(Int64(number))
  }

  /// A text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP, "CSV Injection"): page paths and
  /// values of fields come from outside.
  private mutating func append(_ text: String) {
    let isFormula = text.unicodeScalars.first.map { Self.formulaStarts.contains($0) } ?? false
    let text = isFormula && Double(text) == nil ? "'" + text : text
    // The empty text is quoted, a missing value is not: the two differ.
    guard text.isEmpty || text.utf8.contains(where: Self.quoted.contains) else {
      bytes += Array(text.utf8)
      return
    }
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      bytes.append(byte)
      if byte == UInt8(ascii: "\"") { bytes.append(byte) }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  private static let quoted: Set<UInt8> = [44, 34, 13, 10]
  /// Also in their full-width forms.
  private static let formulaStarts: Set<Unicode.Scalar> = [
    "=", "+", "-", "@", "\t", "\r", "\n", "\u{FF1D}", "\u{FF0B}", "\u{FF0D}", "\u{FF20}",
  ]
}
