/// Reads a file of one JSON object per line.
package final class NDJSONReader: RowReader {
  package private(set) var columns: [String] = []
  private var indexes: [String: Int] = [:]
  private let input: LineBuffer
  private var line = 0

  package init(_ input: LineBuffer) { self.input = input }

  package var progress: Double? { input.progress }

  package func next() throws(InputError) -> SourceRow? {
    while let text = try nextLine() {
      line += 1
      if text.bytes.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) && !text.isTooLong { continue }
      return SourceRow(line: line, bytes: text.bytes, content: cells(text.bytes, text.isTooLong))
    }
    return nil
  }

  private func cells(_ bytes: [UInt8], _ isTooLong: Bool) -> Result<[Cell], LineProblem> {
    if isTooLong {
      return .failure(
        LineProblem("too_long", "longer than \(InputLimits.lineBytesMax) bytes"))
    }
    do throws(LineProblem) {
      var cells: [Cell] = []
      for pair in try JSONLine.parse(bytes) {
        cells.append(Cell(column: try index(of: pair.name), value: pair.value))
      }
      return .success(cells)
    } catch {
      return .failure(error)
    }
  }

  private func index(of name: String) throws(LineProblem) -> Int {
    if let index = indexes[name] { return index }
    guard columns.count < InputLimits.columnsMax else {
      throw LineProblem(
        "too_many", field: name, "more than \(InputLimits.columnsMax) names in the file")
    }
    columns.append(name)
    indexes[name] = columns.count - 1
    return columns.count - 1
  }

  /// The next line without its end; of one that is too long, the beginning.
  private func nextLine() throws(InputError) -> (bytes: [UInt8], isTooLong: Bool)? {
    var kept: [UInt8] = []
    var isTooLong = false
    var sawAny = false
    while true {
      let unread = input.unread
      sawAny = sawAny || !unread.isEmpty
      let end = unread.firstIndex(of: UInt8(ascii: "\n"))
      let part = unread[..<(end ?? unread.endIndex)]
      if kept.count + part.count > InputLimits.lineBytesMax {
        isTooLong = true
        kept += part.prefix(max(0, InputLimits.lineBytesMax - kept.count))
      } else {
        kept += part
      }
      input.take(part.count + (end == nil ? 0 : 1))
      if end != nil { break }
      guard try input.fill() else {
        if !sawAny { return nil }
        break
      }
    }
    if kept.last == UInt8(ascii: "\r") { kept.removeLast() }
    return (kept, isTooLong)
  }
}
