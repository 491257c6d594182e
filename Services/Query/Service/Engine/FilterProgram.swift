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
    Self.combine(parts.map { mask($0, day) }, operation)
  }

  private static func combine(
    _ masks: [[UInt8]], _ operation: (UInt8, UInt8) -> UInt8
  ) -> [UInt8] {
    var result = masks[0]
    for other in masks.dropFirst() {
      for row in result.indices { result[row] = operation(result[row], other[row]) }
    }
    return result
  }

  // MARK: Contexts

  /// 1 for each context that matches, 0 for the others. Precondition: the context alone decides.
  func contextMask(_ day: DayColumns) -> [UInt8] { contextMask(root, day) }

  private func contextMask(_ node: Node, _ day: DayColumns) -> [UInt8] {
    switch node {
    case .and(let parts): Self.combine(parts.map { contextMask($0, day) }, &)
    case .or(let parts): Self.combine(parts.map { contextMask($0, day) }, |)
    case .not(let part): contextMask(part, day).map { $0 ^ 1 }
    case .condition(let condition): condition.perContext(day)
    }
  }

  /// Leaves the rows whose context matches. Precondition: the context alone decides.
  func keep(_ rows: inout [UInt32], _ day: DayColumns) {
    if rows.isEmpty { return }
    if rows.count < day.contextCount, case .condition(let condition) = root,
      condition.keepFew(&rows, day)
    {
      return
    }
    contextMask(day).withUnsafeBufferPointer { mask in
      rows.keep(day.context) { mask[$0] }
    }
  }
}

extension [UInt32] {
  /// Leaves the rows for whose context `holds` gives 1. Without a branch: a row that does not match is overwritten by the next.
  @inline(__always)
  fileprivate mutating func keep(_ contexts: [UInt32], _ holds: (Int) -> UInt8) {
    let kept = withUnsafeMutableBufferPointer { rows in
      contexts.withUnsafeBufferPointer { contexts in
        var kept = 0
        for index in 0..<rows.count {
          let row = rows[index]
          rows[kept] = row
          kept &+= Int(holds(Int(contexts[Int(row)])))
        }
        return kept
      }
    }
    removeLast(count - kept)
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
    case .context, .source:
      let perContext = perContext(day)
      return day.context.map { perContext[Int($0)] }
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
    let highest = Int(codes.highest)
    codes.withUnsafeBufferPointer { codes in
      decide(kind, highest: highest, codes.count) { Int(codes[$0]) }
    }
  }

  /// - Parameter code: the code at a place below `count`.
  @inline(__always)
  private func decide(
    _ kind: DictionaryKind, highest: Int, _ count: Int, _ code: (Int) -> Int
  ) {
    // Taken out, so that it is not copied.
    var known = memo.removeValue(forKey: kind) ?? [test.missing ? 2 : 1]
    if highest >= known.count {
      known += repeatElement(0, count: highest + 1 - known.count)
    }
    var unknown: [UInt32] = []
    known.withUnsafeMutableBufferPointer { known in
      for place in 0..<count where known[code(place)] == 0 {
        known[code(place)] = 1
        unknown.append(UInt32(code(place)))
      }
    }
    if !unknown.isEmpty {
      for (code, text) in zip(unknown, app.texts(kind, unknown)) {
        known[Int(code)] = holds(text) + 1
      }
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

  // MARK: Contexts

  /// 1 for each context that matches, 0 for the others. Precondition: the context alone decides.
  func perContext(_ day: DayColumns) -> [UInt8] {
    switch source {
    case .context(let position, let type): perContext(day, position, type)
    case .source(let column): perContext(day, column)
    case .event, .page, .user, .releaseChannel, .fields: preconditionFailure("not of the context")
    }
  }

  private func perContext(_ day: DayColumns, _ position: Int, _ type: FieldType) -> [UInt8] {
    day.contexts.withLook(position) { words in
      let count = day.contextCount
      guard type == .text else {
        return (0..<count).map { holds(number: words[$0]) }
      }
      decide(.values, highest: words.highest, count) { words[$0] }
      return [UInt8](unsafeUninitializedCapacity: count) { mask, filled in
        filled = count
        memo[.values]?.withUnsafeBufferPointer { known in
          for context in 0..<count { mask[context] = known[words[context]] &- 1 }
        }
      }
    }
  }

  private func holds(number word: Int) -> UInt8 {
    let holds = word == 0 ? test.missing : test.holds(number: .integer(Int64(word)))
    return holds ? 1 : 0
  }

  /// Leaves the rows that match, looking at their contexts only: for fewer rows than the day has contexts.
  ///
  /// - Returns: false where it is not a text of contexts that decides; nothing was done then.
  func keepFew(_ rows: inout [UInt32], _ day: DayColumns) -> Bool {
    guard case .context(let position, .text) = source else { return false }
    day.contexts.withLook(position) { words in
      if let kept = kept(rows, day, words) {
        rows = kept
        return
      }
      rows.withUnsafeBufferPointer { rows in
        day.context.withUnsafeBufferPointer { contexts in
          decide(.values, highest: words.highest, rows.count) { words[Int(contexts[Int(rows[$0])])] }
        }
      }
      rows = kept(rows, day, words) ?? []
    }
    return true
  }

  /// nil: of some context nothing is known yet.
  private func kept(_ rows: [UInt32], _ day: DayColumns, _ words: ContextLook) -> [UInt32]? {
    guard let known = memo[.values], words.highest < known.count else { return nil }
    var isKnown = true
    let kept = [UInt32](unsafeUninitializedCapacity: rows.count + 1) { kept, filled in
      (filled, isKnown) = known.withUnsafeBufferPointer { known in
        day.context.withUnsafeBufferPointer { contexts in
          rows.withUnsafeBufferPointer { rows in
            var count = 0
            var unknown = 0
            for row in rows {
              let answer = Int(known[words[Int(contexts[Int(row)])]])
              kept[count] = row
              count &+= answer &>> 1
              unknown |= answer == 0 ? 1 : 0
            }
            return (count, unknown == 0)
          }
        }
      }
    }
    return isKnown ? kept : nil
  }

  private func perContext(_ day: DayColumns, _ column: SourceColumn) -> [UInt8] {
    var known: [FieldValue?: UInt8] = [:]
    return column.values(day).map { value -> UInt8 in
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
