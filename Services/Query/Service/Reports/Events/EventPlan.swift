/// What an event analysis counts, ready for an app: series that speak of the same events share a measure.
struct EventPlan {
  struct Series {
    let name: String
    let metric: EventAnalysisQuery.Metric
    let measure: Int
    /// Of the measure; nil: the metric needs none.
    let field: Int?
  }

  private(set) var series: [Series] = []
  private(set) var measures: [EventMeasure] = []
  let formulas: [(name: String, formula: Formula)]
  let filters: [(tree: FilterTree, asked: String)]

  private struct Key: Hashable {
    let choice: EventChoice
    let field: String?
    let isNumeric: Bool
  }

  private var measureByKey: [Key: Int] = [:]

  init(_ query: EventAnalysisQuery, in snapshot: AppSnapshot) throws {
    let names = Self.names(query)
    filters = query.filter.map { [($0, "filter")] } ?? []
    formulas = try query.formulas.enumerated().map { index, formula in
      (
        formula.name,
        try Formula(formula.expression, names: names, asked: "formulas[\(index)].expression")
      )
    }
    for (index, asked) in query.series.enumerated() {
      try add(asked, index, names[index], snapshot)
    }
    // Filters are checked under the names that the question gives them.
    for measure in measures {
      _ = try EventSelector(
        measure.choice, asked: measure.asked, filters: filters, traffic: query.traffic, in: snapshot)
    }
  }

  static func names(_ query: EventAnalysisQuery) -> [String] {
    query.series.enumerated().map { index, series in
      series.name.isEmpty ? String(UnicodeScalar(UInt8(0x41 + index))) : series.name
    }
  }

  /// Events with the field of the metric, where it needs one, are all that a series looks at.
  private mutating func add(
    _ asked: EventAnalysisQuery.Series, _ index: Int, _ name: String, _ snapshot: AppSnapshot
  ) throws {
    let isNumeric = asked.metric != .distinct
    let key = Key(
      choice: asked.events, field: asked.metric.needsField ? asked.field : nil,
      isNumeric: isNumeric)
    let measure = try measureByKey[key] ?? addMeasure(asked, index, snapshot)
    measureByKey[key] = measure
    if asked.metric == .users || asked.metric == .perUser { measures[measure].countsUsers = true }
    if asked.metric.share != nil { measures[measure].fields[0].needs.insert(.quantiles) }
    if asked.metric == .distinct { measures[measure].fields[0].needs.insert(.distinct) }
    series.append(
      Series(
        name: name, metric: asked.metric, measure: measure,
        field: asked.metric.needsField ? 0 : nil))
  }

  private mutating func addMeasure(
    _ asked: EventAnalysisQuery.Series, _ index: Int, _ snapshot: AppSnapshot
  ) throws -> Int {
    var measure = EventMeasure(choice: asked.events, asked: "series[\(index)]")
    if asked.metric.needsField {
      let field = "series[\(index)].field"
      let values = try FieldValues(asked.field, asked: field, in: snapshot)
      guard asked.metric == .distinct || values.source.types.contains(.number) else {
        let types = values.source.types.map(\.rawValue).sorted().joined(separator: " or ")
        throw QueryError.invalid(
          field, "\(asked.field) is a \(types), \(asked.metric) needs a number")
      }
      if case .fields(let codes) = values.source {
        let wanted = codes.filter {
          asked.metric == .distinct || FieldKey(kind: $0.kind, name: "").type == .number
        }
        measure.drivers = Set(wanted.map(\.code))
      } else {
        measure.required = asked.field
      }
      measure.fields = [(values, [])]
    }
    measures.append(measure)
    return measures.count - 1
  }

  /// What a scan must read.
  func needs(
    _ granularity: Granularity, _ snapshot: AppSnapshot
  ) throws(QueryError) -> ColumnNeeds {
    var needs = ColumnNeeds()
    for measure in measures {
      try needs.add(measure.choice, in: snapshot)
      for field in measure.fields { needs.add(field.values.source) }
    }
    for filter in filters { try needs.add(filter.tree, in: snapshot) }
    if granularity.isWithinDay { needs.add(rows: .time) }
    return needs
  }

  /// Whether users and contexts alone decide which events are counted where, and nothing is asked of the events themselves.
  func isOfRuns(
    _ query: EventAnalysisQuery, _ groups: GroupNumbers?, _ snapshot: AppSnapshot
  ) throws(QueryError) -> Bool {
    guard measures.count == 1, !query.granularity.isWithinDay,
      groups?.fields.allSatisfy(\.source.isOfContext) ?? true
    else { return false }
    let measure = measures[0]
    guard measure.drivers.isEmpty, measure.required == nil, measure.fields.isEmpty else { return false }
    for tree in filters.map(\.tree) + [measure.choice.filter].compactMap({ $0 }) {
      guard try tree.isOfContext(snapshot) else { return false }
    }
    return true
  }

  // MARK: Rules

  static func check(_ query: EventAnalysisQuery) throws(QueryError) {
    guard (1...Limits.eventSeriesMax).contains(query.series.count) else {
      throw .invalid(
        "series", "\(query.series.count) given, must be 1-\(Limits.eventSeriesMax)")
    }
    guard query.formulas.count <= Limits.formulasMax else {
      throw .invalid(
        "formulas", "\(query.formulas.count) given, must be at most \(Limits.formulasMax)")
    }
    guard query.groupBy.count <= Limits.groupFieldsMax else {
      throw .invalid(
        "group_by", "\(query.groupBy.count) given, must be at most \(Limits.groupFieldsMax)")
    }
    guard Set(query.groupBy).count == query.groupBy.count else {
      throw .invalid("group_by", "a field is given twice")
    }
    guard (1...Limits.breakdownLimitMax).contains(query.groupLimit) else {
      throw .invalid(
        "group_limit", "is \(query.groupLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
    for (index, series) in query.series.enumerated() { try check(series, "series[\(index)]") }
    try checkNames(query)
  }

  private static func check(
    _ series: EventAnalysisQuery.Series, _ asked: String
  ) throws(QueryError) {
    try series.events.check(asked: asked, names: 0...Limits.eventsPerStepMax)
    if series.metric.needsField, series.field.isEmpty {
      throw .invalid("\(asked).field", "required by \(series.metric)")
    }
    if !series.metric.needsField, !series.field.isEmpty {
      throw .invalid("\(asked).field", "\(series.metric) takes none")
    }
  }

  private static func checkNames(_ query: EventAnalysisQuery) throws(QueryError) {
    var seen: Set<String> = []
    let named =
      names(query).enumerated().map { ("series[\($0)].name", $1) }
      + query.formulas.enumerated().map { ("formulas[\($0)].name", $1.name) }
    for (asked, name) in named {
      guard SeriesName.isValid(name) else {
        throw .invalid(
          asked, "\"\(name.prefix(64))\" is none: letters, digits and _, a letter first, at most \(SeriesName.bytesMax)")
      }
      guard seen.insert(name).inserted else { throw .invalid(asked, "\(name) is given twice") }
    }
  }
}

/// The groups that are given apart: those with the most events of the first series in the range, ties by value.
struct EventGroupChoice {
  let keys: [[FieldValue?]]
  /// Their numbers, in the same order.
  let groups: [Int]
  let hasOther: Bool
  let slots: EventSlots

  /// - Parameter events: by measure and group.
  init(_ groups: GroupNumbers, events: [[UInt64]], firstSeries: Int, limit: Int) {
    let count = events.map(\.count).max() ?? 0
    func number(_ measure: Int, _ group: Int) -> UInt64 {
      group < events[measure].count ? events[measure][group] : 0
    }
    let met = (0..<count).filter { group in
      events.indices.contains { number($0, group) > 0 }
    }
    let ranked = Self.ranked(met, groups, limit) { number(firstSeries, $0) }
    keys = ranked.map(\.key)
    self.groups = ranked.map(\.number)
    hasOther = met.count > limit
    var byGroup = [Int32](repeating: Int32(keys.count), count: count)
    for (slot, group) in ranked.enumerated() { byGroup[group.number] = Int32(slot) }
    slots = EventSlots(byGroup: byGroup, rest: Int32(keys.count), count: keys.count + 1)
  }

  /// Values are looked up only of those groups that may be among the first.
  private static func ranked(
    _ met: [Int], _ groups: GroupNumbers, _ limit: Int, _ events: (Int) -> UInt64
  ) -> [(number: Int, key: [FieldValue?])] {
    var candidates = met
    if met.count > limit {
      let last = met.map(events).sorted(by: >)[limit - 1]
      candidates = met.filter { events($0) >= last }
    }
    let keyed = candidates.map { (number: $0, key: groups.values(Int32($0))) }
    return Array(
      keyed.sorted { a, b in
        let (eventsA, eventsB) = (events(a.number), events(b.number))
        return eventsA != eventsB ? eventsA > eventsB : isBefore(a.key, b.key)
      }.prefix(limit))
  }

  private static func isBefore(_ a: [FieldValue?], _ b: [FieldValue?]) -> Bool {
    for (a, b) in zip(a, b) where a != b { return FieldValue.isBefore(a, b) }
    return false
  }
}
