import Events
import Messages

/// Which series of an answer is meant.
package struct SeriesCell {
  /// nil: the missing value.
  let value: FieldValue?
  let isOther: Bool

  package init(value: FieldValue?, isOther: Bool) {
    self.value = value
    self.isOther = isOther
  }
}

extension SeriesCell {
  /// nil: all together.
  static func of(_ cell: ProtoUserCell) throws(QueryError) -> SeriesCell? {
    guard cell.group.count <= 1, cell.group.isEmpty || !cell.other else {
      throw .invalid("cell.group", "one value at most, and none with other")
    }
    if cell.other { return SeriesCell(value: nil, isOther: true) }
    guard let one = cell.group.first else { return nil }
    guard one.hasValue, one.value.kind != nil else { return SeriesCell(value: nil, isOther: false) }
    return SeriesCell(value: try FieldValue(one.value, asked: "cell.group"), isOther: false)
  }
}

/// Parts of a cell that a report may not have.
struct CellParts: OptionSet {
  let rawValue: Int
  static let refDate = CellParts(rawValue: 1)
  static let group = CellParts(rawValue: 2)
  static let key = CellParts(rawValue: 4)
  static let nodes = CellParts(rawValue: 8)
  static let index = CellParts(rawValue: 16)
}

extension ProtoUserCell {
  /// - Throws: INVALID_ARGUMENT where the cell has a part that the report's numbers do not.
  func check(_ parts: CellParts) throws(QueryError) {
    let rule = "this report's numbers have none"
    if !refDate.isEmpty, !parts.contains(.refDate) { throw .invalid("cell.ref_date", rule) }
    if !group.isEmpty, !parts.contains(.group) { throw .invalid("cell.group", rule) }
    if other, !parts.contains(.group) { throw .invalid("cell.other", rule) }
    if key != 0, !parts.contains(.key) { throw .invalid("cell.key", rule) }
    if !nodes.isEmpty, !parts.contains(.nodes) { throw .invalid("cell.nodes", rule) }
    if !index.isEmpty, !parts.contains(.index) { throw .invalid("cell.index", rule) }
    if droppedOff { throw .invalid("cell.dropped_off", rule) }
  }

  func unknownMetric(_ known: String) -> QueryError {
    .invalid("cell.metric", "\"\(metric.prefix(64))\" is none of \(known)")
  }
}

extension ProtoFieldValue {
  /// nil: no value.
  var csvCell: CSVCell? {
    switch kind {
    case .stringValue(let text): .text(text)
    case .integerValue(let number): .integer(number)
    case .doubleValue(let number): .number(number)
    case .booleanValue(let flag): .boolean(flag)
    case nil: nil
    }
  }
}

/// What most requests have.
func askedDays(_ range: ProtoDateRange, field: String = "range") throws -> ClosedRange<Int> {
  try DayRange(range, field: field).days
}
