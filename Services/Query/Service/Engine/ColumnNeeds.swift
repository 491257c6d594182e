/// What of days a query reads: fields of events, columns of rows, columns of contexts.
struct ColumnNeeds {
  private(set) var fields: Set<UInt32> = []
  private(set) var rows: RowColumns = []
  private(set) var contexts: Set<Int> = []

  mutating func add(rows: RowColumns) { self.rows.formUnion(rows) }

  /// Asks for runs of contexts in the place of those of each row.
  mutating func takeRuns() {
    rows.remove(.context)
    rows.insert(.contextRuns)
  }

  mutating func add(fields: Set<UInt32>) { self.fields.formUnion(fields) }

  mutating func add(_ source: FieldSource) {
    switch source {
    case .event: rows.insert(.event)
    case .page: rows.insert(.page)
    case .user, .releaseChannel: break
    case .context(let position, _):
      rows.insert(.context)
      contexts.insert(position)
    case .source:
      rows.insert(.context)
      contexts.formUnion(SourceColumn.columns)
    case .fields(let codes): fields.formUnion(codes.map(\.code))
    }
  }

  mutating func add(_ tree: FilterTree, in snapshot: AppSnapshot) throws(QueryError) {
    switch tree {
    case .and(let parts), .or(let parts): for part in parts { try add(part, in: snapshot) }
    case .not(let part): try add(part, in: snapshot)
    case .condition(let condition):
      add(try FieldSource(condition.field, in: snapshot, asked: "filter"))
    }
  }

  /// What an event choice reads, with its filter.
  mutating func add(_ choice: EventChoice, in snapshot: AppSnapshot) throws(QueryError) {
    if !choice.events.isEmpty { rows.insert(.event) }
    if let filter = choice.filter { try add(filter, in: snapshot) }
  }
}

extension DaySource {
  init(
    _ snapshot: AppSnapshot, engine: QueryEngine, needs: ColumnNeeds, control: QueryControl
  ) throws {
    try self.init(
      snapshot, engine: engine, fields: needs.fields, columns: needs.rows,
      contexts: needs.contexts, control: control)
  }
}
