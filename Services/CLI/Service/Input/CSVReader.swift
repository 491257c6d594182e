/// Reads CSV as RFC 4180 has it: quoted fields may hold the delimiter, line breaks and doubled quotes. The first record names
/// the columns.
///
/// A record that breaks a rule costs its first line only: reading goes on at the line behind it, so that one missing quote does
/// not swallow the rest of the file.
package final class CSVReader: RowReader {
  package private(set) var columns: [String] = []
  private let input: LineBuffer
  private let delimiter: UInt8
  private var line = 1

  /// - Throws: where there is no header, or a name stands in it twice.
  package init(_ input: LineBuffer, delimiter: UInt8 = UInt8(ascii: ",")) throws(InputError) {
    self.input = input
    self.delimiter = delimiter
    guard let header = try nextRecord() else { throw InputError("the file is empty: no header") }
    switch header.fields {
    case .failure(let problem): throw InputError("line 1: header: \(problem.message)")
    case .success(let names): columns = names
    }
    guard columns.count <= InputLimits.columnsMax else {
      throw InputError("header: \(columns.count) columns, at most \(InputLimits.columnsMax)")
    }
    var seen: Set<String> = []
    for name in columns where !seen.insert(name).inserted {
      throw InputError("header: the column \"\(name)\" stands in it twice")
    }
  }

  package var progress: Double? { input.progress }

  package func next() throws(InputError) -> SourceRow? {
    guard let record = try nextRecord() else { return nil }
    let content = record.fields.flatMap { fields -> Result<[Cell], LineProblem> in
      guard fields.count == columns.count else {
        return .failure(
          LineProblem(
            "column_count", "\(fields.count) columns, the header has \(columns.count)"))
      }
      var cells: [Cell] = []
      cells.reserveCapacity(fields.count)
      for (index, field) in fields.enumerated() where !field.isEmpty {
        cells.append(Cell(column: index, value: .text(field)))
      }
      return .success(cells)
    }
    return SourceRow(line: record.line, bytes: record.bytes, content: content)
  }

  private struct Record {
    let line: Int
    let bytes: [UInt8]
    let fields: Result<[String], LineProblem>
  }

  /// The next record that is not an empty line.
  private func nextRecord() throws(InputError) -> Record? {
    while true {
      var outcome = CSVScanner.scan(input.unread, delimiter: delimiter, isComplete: input.isComplete)
      while case .incomplete = outcome {
        if input.unread.count > InputLimits.lineBytesMax {
          outcome = .broken(
            LineProblem(
              "too_long", "longer than \(InputLimits.lineBytesMax) bytes, or a quote is not closed"))
          break
        }
        _ = try input.fill()
        outcome = CSVScanner.scan(
          input.unread, delimiter: delimiter, isComplete: input.isComplete)
      }
      switch outcome {
      case .end, .incomplete: return nil
      case .record(let fields, let length, let taken, let lines):
        let begin = line
        let bytes = Array(input.unread.prefix(length))
        input.take(taken)
        line += lines
        if length == 0 { continue }
        return Record(line: begin, bytes: bytes, fields: checked(fields))
      case .broken(let problem): return try skipLine(problem)
      }
    }
  }

  private func checked(_ fields: [String]?) -> Result<[String], LineProblem> {
    guard let fields else {
      return .failure(LineProblem("bad_utf8", "not UTF-8: save the file as UTF-8"))
    }
    return .success(fields)
  }

  /// Passes one line by, however long it is, and keeps its beginning.
  private func skipLine(_ problem: LineProblem) throws(InputError) -> Record? {
    var kept: [UInt8] = []
    let begin = line
    line += 1
    while true {
      let unread = input.unread
      let end = unread.firstIndex(of: UInt8(ascii: "\n"))
      let part = unread[..<(end ?? unread.endIndex)]
      if kept.count < InputLimits.lineBytesMax { kept += part }
      input.take(part.count + (end == nil ? 0 : 1))
      if end != nil { break }
      guard try input.fill() else { break }
    }
    if kept.last == UInt8(ascii: "\r") { kept.removeLast() }
    return Record(line: begin, bytes: kept, fields: .failure(problem))
  }
}
