import Events

/// A filter made ready for an app: fields found, values checked. Answers for each row of a day whether it matches.
///
/// A condition on text is decided once per distinct dictionary value, one on the context once per distinct context of
/// the day; both then cost a look-up per row.
final class FilterProgram {
  private indirect enum Node {
    case and([Node])
    case or([Node])
    case not(Node)
    case condition(ConditionProgram)
  }

  private let root: Node
  /// Columns that a scan must read.
  var fieldCodes: Set<UInt32> { reads.fields }
  let reads: RowReads

  /// - Parameter asked: how the question calls the filter, for messages.
  init(
    _ tree: FilterTree, in snapshot: AppSnapshot, asked: String = "filter"
  ) throws(QueryError) {
    var builder = Builder(snapshot: snapshot, asked: asked)
    root = try builder.node(tree, depth: 1)
    reads = builder.reads
  }

  private struct Builder {
    let snapshot: AppSnapshot
    let asked: String
    var reads = RowReads()
    var conditions = 0

    init(snapshot: AppSnapshot, asked: String) {
      self.snapshot = snapshot
      self.asked = asked
    }

    mutating func node(_ tree: FilterTree, depth: Int) throws(QueryError) -> Node {
      guard depth <= Limits.filterDepthMax else {
        throw .invalid(asked, "nested deeper than \(Limits.filterDepthMax)")
      }
      switch tree {
      case .and(let parts): return .and(try group(parts, depth))
      case .or(let parts): return .or(try group(parts, depth))
      case .not(let part): return .not(try node(part, depth: depth + 1))
      case .condition(let condition):
        conditions += 1
        guard conditions <= Limits.filterConditionsMax else {
          throw .invalid(asked, "more than \(Limits.filterConditionsMax) conditions")
        }
        let program = try ConditionProgram(condition, in: snapshot, asked: asked)
        reads.add(program.source.reads)
        return .condition(program)
      }
    }

    private mutating func group(_ parts: [FilterTree], _ depth: Int) throws(QueryError) -> [Node] {
      guard (1...Limits.filterGroupMax).contains(parts.count) else {
        throw .invalid(
          asked, "a group has 1-\(Limits.filterGroupMax) filters, this one \(parts.count)")
      }
      var nodes: [Node] = []
      for part in parts { nodes.append(try node(part, depth: depth + 1)) }
      return nodes
    }
  }

  /// 1 for each row that matches, 0 for the others.
  func mask(_ day: DayColumns) -> [UInt8] { mask(root, day) }

  private func mask(_ node: Node, _ day: DayColumns) -> [UInt8] {
    switch node {
    case .and(let parts): combine(parts, day, &)
    case .or(let parts): combine(parts, day, |)
    case .not(let part): mask(part, day).map { $0 ^ 1 }
    case .condition(let condition): condition.mask(day)
    }
  }

  private func combine(
    _ parts: [Node], _ day: DayColumns, _ operation: (UInt8, UInt8) -> UInt8
  ) -> [UInt8] {
    var result = mask(parts[0], day)
    for part in parts.dropFirst() {
      let other = mask(part, day)
      for row in result.indices { result[row] = operation(result[row], other[row]) }
    }
    return result
  }
}

/// One condition of a filter, ready for an app.
private final class ConditionProgram {
  let source: FieldSource
  private let test: ValueTest
  private let app: AppState
  /// Per dictionary: what is known of each code. 0: nothing yet, 1: false, 2: true.
  private var memo: [DictionaryKind: [UInt8]] = [:]

  init(
    _ condition: FilterCondition, in snapshot: AppSnapshot, asked: String
  ) throws(QueryError) {
    let asked = "\(asked).condition"
    app = snapshot.app
    source = try FieldSource(condition.field, in: snapshot, asked: "\(asked).field")
    try Self.check(condition, source, asked)
    test = try ValueTest(condition, asked: asked)
  }

  private static func check(
    _ condition: FilterCondition, _ source: FieldSource, _ asked: String
  ) throws(QueryError) {
    let filterOperator = condition.filterOperator
    guard filterOperator.valueCounts.contains(condition.values.count) else {
      let counts = filterOperator.valueCounts
      let range = counts.count == 1 ? "\(counts.lowerBound)" : "\(counts.lowerBound)-\(counts.upperBound)"
      throw .invalid(
        "\(asked).values",
        "\(filterOperator.rawValue) takes \(range) values, got \(condition.values.count)")
    }
    let types = source.types.map(\.rawValue).sorted().joined(separator: " or ")
    let fitting = source.types.filter { filterOperator.fits($0) }
    guard !fitting.isEmpty else {
      throw .invalid(
        "\(asked).operator",
        "\(filterOperator.rawValue) does not fit \(condition.field), which is a \(types)")
    }
    for value in condition.values where !fitting.contains(where: { $0.accepts(value) }) {
      throw .invalid(
        "\(asked).values", "\(condition.field) is a \(types), the value is a \(value.typeName)")
    }
    if filterOperator == .between, ValueTest.order(condition.values[0], condition.values[1]) > 0 {
      throw .invalid("\(asked).values", "between needs the lower value first")
    }
  }

  func mask(_ day: DayColumns) -> [UInt8] {
    switch source {
    case .event: return mask(.events, day.event)
    case .page: return mask(.pages, day.page)
    case .user: return userMask(day)
    case .releaseChannel: return day.flags.map { holds(FieldSource.channelName($0)) }
    case .context(let position, let type): return contextMask(day, position, type)
    case .source(let column): return sourceMask(day, column)
    case .fields(let codes): return fieldMask(day, codes)
    }
  }

  private func holds(_ text: String) -> UInt8 { test.holds(text: text) ? 1 : 0 }

  private func mask(_ kind: DictionaryKind, _ codes: [UInt32]) -> [UInt8] {
    decide(kind, codes)
    let known = memo[kind] ?? []
    return codes.map { known[Int($0)] - 1 }
  }

  /// Makes the memo know all these codes. Code 0 is a missing value.
  private func decide(_ kind: DictionaryKind, _ codes: [UInt32]) {
    var known = memo[kind] ?? [test.missing ? 2 : 1]
    if let highest = codes.max(), Int(highest) >= known.count {
      known += Array(repeating: 0, count: Int(highest) + 1 - known.count)
    }
    var unknown: [UInt32] = []
    for code in codes where known[Int(code)] == 0 {
      known[Int(code)] = 1
      unknown.append(code)
    }
    for (code, text) in zip(unknown, app.texts(kind, unknown)) {
      known[Int(code)] = holds(text) + 1
    }
    memo[kind] = known
  }

  private func userMask(_ day: DayColumns) -> [UInt8] {
    decide(.users, day.users)
    let known = memo[.users] ?? []
    var mask = [UInt8](repeating: 0, count: day.count)
    for position in day.users.indices where known[Int(day.users[position])] == 2 {
      for row in day.rows(ofUserAt: position) { mask[row] = 1 }
    }
    return mask
  }

  private func contextMask(_ day: DayColumns, _ position: Int, _ type: FieldType) -> [UInt8] {
    let column = day.contextColumn(position)
    let perContext: [UInt8]
    if type == .text {
      perContext = mask(.values, column)
    } else {
      perContext = column.map { number in
        let holds = number == 0 ? test.missing : test.holds(number: .integer(Int64(number)))
        return holds ? 1 : 0
      }
    }
    return day.context.map { perContext[Int($0)] }
  }

  private func sourceMask(_ day: DayColumns, _ column: SourceColumn) -> [UInt8] {
    var known: [FieldValue?: UInt8] = [:]
    let perContext = column.values(day).map { value -> UInt8 in
      if let holds = known[value] { return holds }
      let holds: Bool =
        switch value {
        case .text(let text)?: test.holds(text: text)
        case .integer?, .double?: value.map(test.holds(number:)) ?? false
        case .boolean(let flag)?: test.holds(boolean: flag)
        case nil: test.missing
        }
      known[value] = holds ? 1 : 0
      return holds ? 1 : 0
    }
    return day.context.map { perContext[Int($0)] }
  }

  private func fieldMask(
    _ day: DayColumns, _ codes: [(code: UInt32, kind: BatchField.Kind)]
  ) -> [UInt8] {
    var mask = [UInt8](repeating: test.missing ? 1 : 0, count: day.count)
    for (code, kind) in codes {
      guard let column = day.fields[code] else { continue }
      let results = values(column, kind)
      for (index, row) in column.rows.enumerated() { mask[Int(row)] = results[index] }
    }
    return mask
  }

  private func values(_ column: FieldColumn, _ kind: BatchField.Kind) -> [UInt8] {
    switch kind {
    case .text: return textValues(column)
    case .integer:
      return column.values.map { test.holds(number: .integer(Int64(bitPattern: $0))) ? 1 : 0 }
    case .double:
      return column.values.map { test.holds(number: .double(Double(bitPattern: $0))) ? 1 : 0 }
    case .boolean: return column.values.map { test.holds(boolean: $0 != 0) ? 1 : 0 }
    case .missing: return column.values.map { _ in test.missing ? 1 : 0 }
    }
  }

  /// Of a field of an event, code 0 is an empty string that is there.
  private func textValues(_ column: FieldColumn) -> [UInt8] {
    let codes = column.values.map { UInt32(truncatingIfNeeded: $0) }
    let results = mask(.values, codes)
    let empty = holds("")
    return zip(codes, results).map { $0 == 0 ? empty : $1 }
  }
}
