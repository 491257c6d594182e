import Events

/// What a funnel asks beyond the plain one, as tables.
struct FunnelChainPlan: Sendable {
  let rules: ChainRules
  let count: FunnelQuery.Count
  let order: FunnelQuery.Order
  let breakdownBy: FunnelQuery.BreakdownBy
  let goesByTouch: Bool
  let isAcrossUsers: Bool
  let holdsValues: Bool
  /// By code of an event: bit i for exclusion i.
  let exclusionMasks: [UInt32]
  /// By exclusion: the states that it cuts.
  let exclusionCuts: [UInt32]
  let sessions: SessionRules
  /// Of some users, when they went to the background before the range.
  var backgrounds: [UInt32: Int64] = [:]

  var isStrict: Bool { order == .strict }
  var isAnyOrder: Bool { order == .any }
  /// Events before a user's first step 1 may be part of a chain.
  var canBeginAnywhere: Bool { isAnyOrder || isAcrossUsers }
  /// Every state that waits for a next step.
  var allButLast: UInt32 { (1 << UInt32(rules.stepCount - 1)) - 1 }
}

/// Exclusions made ready for an app.
struct ExclusionMatcher {
  private let filters: [(exclusion: UInt32, program: FilterProgram)]
  let masks: [UInt32]
  let cuts: [UInt32]
  let reads: RowReads

  init(_ query: FunnelQuery, in snapshot: AppSnapshot) throws(QueryError) {
    var filters: [(exclusion: UInt32, program: FilterProgram)] = []
    var masks = EventCodes.table(in: snapshot)
    var reads = RowReads()
    for (index, exclusion) in query.exclusions.enumerated() {
      let asked = "exclusions[\(index)]"
      try EventCodes.check(exclusion.events, asked: "\(asked).events")
      if let tree = exclusion.filter {
        let filter = try FilterProgram(tree, in: snapshot, asked: "\(asked).filter")
        reads.add(filter.reads)
        filters.append((UInt32(index), filter))
      }
      for code in EventCodes.of(exclusion.events, in: snapshot) {
        masks[code] |= 1 << UInt32(index)
      }
    }
    let last = query.steps.count - 1
    self.filters = filters
    self.masks = masks
    cuts = query.exclusions.map { exclusion in
      (exclusion.steps ?? 0..<last).reduce(0) { $0 | 1 << UInt32($1) }
    }
    self.reads = reads
  }

  func filters(_ day: DayColumns) -> [(exclusion: UInt32, mask: [UInt8])] {
    filters.map { ($0.exclusion, $0.program.mask(day)) }
  }
}

/// The combinations of the values of fields that are held constant, numbered.
final class HeldValues {
  private let fields: [Breakdown]
  private var numbers: [[Int32]: Int32] = [:]
  var reads: RowReads { fields.reduce(into: RowReads()) { $0.add($1.reads) } }

  init(_ names: [String], in snapshot: AppSnapshot) throws(QueryError) {
    var fields: [Breakdown] = []
    for (index, name) in names.enumerated() {
      fields.append(try Breakdown(name, in: snapshot, asked: "hold_constant[\(index)]"))
    }
    self.fields = fields
  }

  /// By row. A missing value is a value of its own.
  func keys(_ day: DayColumns) throws(QueryError) -> [Int32] {
    var columns: [[Int32]] = []
    for field in fields { columns.append(try field.values(day)) }
    if columns.count == 1 { return columns[0] }
    var keys = [Int32](repeating: 0, count: day.count)
    for row in keys.indices {
      let values = columns.map { $0[row] }
      if let known = numbers[values] {
        keys[row] = known
      } else {
        keys[row] = Int32(numbers.count)
        numbers[values] = keys[row]
      }
    }
    guard numbers.count <= Limits.breakdownValuesMax else {
      throw QueryError(
        .resourceExhausted,
        "hold_constant: the fields have more than \(Limits.breakdownValuesMax) combinations of values")
    }
    return keys
  }
}

/// By which share the events of a day were invited, and by which they invite.
struct ShareColumns: Sendable {
  /// By row; code 0: none.
  let given: [UInt32]
  let cameBy: [UInt32]

  static let contextPosition: Int = {
    guard let position = ContextColumns.position(.shareID) else {
      preconditionFailure("the share is in no column")
    }
    return position
  }()

  static func reads(field: UInt32?) -> RowReads {
    RowReads(columns: .context, contexts: [contextPosition], fields: Set([field].compactMap { $0 }))
  }

  static func fieldCode(in snapshot: AppSnapshot) -> UInt32? {
    snapshot.app.code(.fields, of: FieldKey(kind: .text, name: "share_id").text)
  }

  /// - Parameter field: of the field `share_id` of events, where any has one. It goes before the context's: that one is the
  ///   share by which the sender came.
  init(_ day: DayColumns, field: UInt32?) {
    let shares = day.contextColumn(Self.contextPosition)
    cameBy = day.context.map { shares[Int($0)] }
    var given = cameBy
    if let field, let column = day.fields[field] {
      for (row, value) in zip(column.rows, column.values) where value != 0 {
        given[Int(row)] = UInt32(truncatingIfNeeded: value)
      }
    }
    self.given = given
  }
}
