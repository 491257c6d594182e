package import Messages

/// An event made of a row, and where the row stands.
package struct MappedEvent: Sendable {
  package let line: Int
  /// The row as it stands in the file, for the file of rejects. Empty where there is none.
  package let row: [UInt8]
  /// Bytes of the row: about what the event takes in a message.
  package let size: Int
  /// Complete, with its whole context.
  package var event: ProtoEvent

  package init(line: Int, row: [UInt8], size: Int, event: ProtoEvent) {
    self.line = line
    self.row = row
    self.size = size
    self.event = event
  }
}

/// Makes events of rows.
package struct EventMapper {
  private let mapping: ColumnMapping
  private let reader: TimeReader
  private var clock: ZoneClock
  /// By column. Grows with the columns of NDJSON.
  private var plan: [ColumnTarget] = []

  package init(mapping: ColumnMapping, times: TimeFormat, clock: ZoneClock) {
    self.mapping = mapping
    self.reader = TimeReader(times)
    self.clock = clock
  }

  /// - Parameter columns: the reader's columns, those of this row included.
  package mutating func event(
    of cells: [Cell], columns: [String], eventID: String
  ) throws(LineProblem) -> ProtoEvent {
    while plan.count < columns.count { plan.append(mapping.target(of: columns[plan.count])) }
    var event = ProtoEvent()
    event.eventID = eventID
    var context = ProtoContext()
    for constant in mapping.constantValues {
      try set(constant.target, constant.value, "--set", &event, &context)
    }
    for cell in cells {
      try set(plan[cell.column], cell.value, columns[cell.column], &event, &context)
    }
    guard !event.name.isEmpty else { throw missing("name") }
    guard event.timeMs != 0 else { throw missing("time") }
    guard !context.openID.isEmpty else { throw missing("open_id") }
    event.context = context
    return event
  }

  private func missing(_ field: String) -> LineProblem {
    LineProblem("required", field: field, "\(field) is missing")
  }

  private mutating func set(
    _ target: ColumnTarget, _ value: CellValue, _ column: String, _ event: inout ProtoEvent,
    _ context: inout ProtoContext
  ) throws(LineProblem) {
    switch target {
    case .ignored: break
    case .name: event.name = mapping.eventName(value.text)
    case .time: event.timeMs = try milliseconds(value)
    case .pagePath: event.pagePath = value.text
    case .eventID: event.eventID = value.text
    case .openID: context.openID = value.text
    case .passive:
      guard let passive = value.boolean else {
        throw LineProblem("wrong_type", field: column, "\"\(value.text)\" is not true or false")
      }
      event.passive = passive
    case .context(let field): try field.set(value, in: &context)
    case .experiment(let name): context.experiments[name] = value.text
    case .field(let name, let kind): try setField(name, kind, value, &event)
    }
  }

  private mutating func milliseconds(_ value: CellValue) throws(LineProblem) -> Int64 {
    guard let written = reader.read(value.text) else {
      throw LineProblem(
        "bad_time", field: "time", "\"\(value.text.prefix(64))\" is not a time of the format")
    }
    let milliseconds = clock.utcMilliseconds(of: written)
    guard milliseconds > 0 else {
      throw LineProblem("out_of_range", field: "time", "\"\(value.text)\" is before 1970")
    }
    return milliseconds
  }

  private func setField(
    _ name: String, _ kind: FieldKind, _ value: CellValue, _ event: inout ProtoEvent
  ) throws(LineProblem) {
    var field = ProtoField()
    field.name = name
    switch kind {
    case .asWritten:
      switch value {
      case .text(let text): field.value.stringValue = text
      case .integer(let integer): field.value.integerValue = integer
      case .double(let double): field.value.doubleValue = double
      case .boolean(let boolean): field.value.booleanValue = boolean
      }
    case .string: field.value.stringValue = value.text
    case .integer: field.value.integerValue = try typed(value.integer, name, value, "integer")
    case .double: field.value.doubleValue = try typed(value.double, name, value, "number")
    case .boolean: field.value.booleanValue = try typed(value.boolean, name, value, "boolean")
    }
    if let index = event.fields.firstIndex(where: { $0.name == name }) {
      event.fields[index] = field
    } else {
      event.fields.append(field)
    }
  }

  private func typed<Value>(
    _ converted: Value?, _ name: String, _ value: CellValue, _ type: String
  ) throws(LineProblem) -> Value {
    guard let converted else {
      throw LineProblem(
        "wrong_type", field: "fields.\(name)", "\"\(value.text.prefix(64))\" is not of type \(type)")
    }
    return converted
  }
}
