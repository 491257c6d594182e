/// A table for people: columns aligned, numbers to the right.
package struct TextTable {
  package enum Alignment: Sendable { case left, right }

  private let header: [String]
  private let alignments: [Alignment]
  private var rows: [[String]] = []

  package init(_ columns: [(String, Alignment)]) {
    precondition(!columns.isEmpty)
    header = columns.map(\.0)
    alignments = columns.map(\.1)
  }

  package var isEmpty: Bool { rows.isEmpty }

  package mutating func add(_ cells: [String]) {
    precondition(cells.count == header.count)
    rows.append(cells.map { cell in String(cell.map { $0.isNewline ? " " : $0 }) })
  }

  /// Lines, each ended. An empty table is its header.
  package var text: String {
    let widths = header.indices.map { column in
      ([header] + rows).map { Self.width(of: $0[column]) }.max() ?? 0
    }
    let rule = widths.map { String(repeating: "-", count: $0) }
    return ([header, rule] + rows).map { line($0, widths) + "\n" }.joined()
  }

  private func line(_ cells: [String], _ widths: [Int]) -> String {
    var line = ""
    for (column, cell) in cells.enumerated() {
      let padding = String(repeating: " ", count: widths[column] - Self.width(of: cell))
      line += (column == 0 ? "" : "  ") + (alignments[column] == .left ? cell + padding : padding + cell)
    }
    while line.last == " " { line.removeLast() }
    return line
  }

  /// Places on a terminal: East Asian characters and their full-width signs take two.
  package static func width(of text: String) -> Int {
    text.unicodeScalars.reduce(0) { width, scalar in
      switch scalar.value {
      case 0x300...0x36f, 0x200b...0x200f, 0xfe00...0xfe0f: width
      case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe4f,
        0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1faff, 0x20000...0x3fffd:
        width + 2
      default: width + 1
      }
    }
  }
}
