/// One value of a line.
package enum CellValue: Sendable, Equatable {
  case text(String)
  case integer(Int64)
  case double(Double)
  case boolean(Bool)
}

/// A value and the column in which it stands. Empty cells of a CSV file and nulls of JSON are left out.
package struct Cell: Sendable, Equatable {
  /// Index into `RowReader.columns`.
  package let column: Int
  package let value: CellValue

  package init(column: Int, value: CellValue) {
    self.column = column
    self.value = value
  }
}

/// One record of a file.
package struct SourceRow: Sendable {
  /// Number of its first line, from 1, the header included.
  package let line: Int
  /// As it stands in the file, without its line end.
  package let bytes: [UInt8]
  package let content: Result<[Cell], LineProblem>

  package init(line: Int, bytes: [UInt8], content: Result<[Cell], LineProblem>) {
    self.line = line
    self.bytes = bytes
    self.content = content
  }
}

/// Reads a file record by record.
package protocol RowReader: AnyObject {
  /// Names of the columns seen so far. Grows while NDJSON is read; never changes otherwise.
  var columns: [String] { get }
  var progress: Double? { get }
  /// The next record, nil at the end.
  func next() throws(InputError) -> SourceRow?
}

/// How a file is written.
package enum FileFormat: String, Sendable, CaseIterable {
  case csv, ndjson
}
