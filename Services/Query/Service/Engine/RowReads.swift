/// What a question reads of a day beside users and flags: less is read faster, and more days stay in memory.
struct RowReads: Sendable {
  var columns: RowColumns = []
  /// Positions of columns of contexts.
  var contexts: Set<Int> = []
  /// Codes of events' fields.
  var fields: Set<UInt32> = []

  mutating func add(_ other: RowReads?) {
    guard let other else { return }
    columns.formUnion(other.columns)
    contexts.formUnion(other.contexts)
    fields.formUnion(other.fields)
  }
}

extension FieldSource {
  var reads: RowReads {
    switch self {
    case .event: RowReads(columns: .event)
    case .page: RowReads(columns: .page)
    case .user, .releaseChannel: RowReads()
    case .context(let position, _): RowReads(columns: .context, contexts: [position])
    case .source: RowReads(columns: .context, contexts: Set(SourceColumn.columns))
    case .fields(let codes): RowReads(fields: Set(codes.map(\.code)))
    }
  }
}

extension DaySource {
  init(_ snapshot: AppSnapshot, engine: QueryEngine, reads: RowReads, control: QueryControl) throws {
    try self.init(
      snapshot, engine: engine, fields: reads.fields, columns: reads.columns,
      contexts: reads.contexts, control: control)
  }
}
