import Events

/// Counts measurements and errors with the scan of event analyses.
struct PerformanceScan {
  /// The values of a breakdown that are given apart.
  struct Groups {
    struct Slot {
      let value: FieldValue?
      let isOther: Bool
    }

    /// Those with the most measurements, ties by value.
    let values: [FieldValue?]
    /// The same, and the rest.
    let slots: [Slot]

    /// Of the breakdown's values: the slot, from 1 on.
    func slot(_ value: FieldValue?) -> Int {
      values.firstIndex(of: value).map { $0 + 1 } ?? values.count + 1
    }
  }

  /// Measurements by slot (0 the whole), metric and period.
  struct Durations {
    var cells: [[[FieldCell]]]
    var users: [[[UInt64]]]
    var allUsers: [[UInt64]]
    var tally = EventTally()

    func point(_ slot: Int, _ metric: Int, period: Int) -> DurationMetrics {
      guard slot < cells.count else { return DurationMetrics() }
      return DurationMetrics(cells[slot][metric][period], users: users[slot][metric][period])
    }

    func total(_ slot: Int, _ metric: Int) -> DurationMetrics {
      guard slot < cells.count else { return DurationMetrics() }
      var total = FieldCell()
      for cell in cells[slot][metric] { total.merge(cell) }
      return DurationMetrics(total, users: allUsers[slot][metric])
    }
  }

  struct Errors {
    struct Counts {
      var errors: UInt64 = 0
      var crashes: UInt64 = 0
      var errorUsers: UInt64 = 0
      var crashUsers: UInt64 = 0
    }

    /// By slot, 0 the whole.
    var users: [Counts]
    var tally = EventTally()
  }

  private static let metricField = "metric"
  private static let durationField = "duration_ms"
  private static let kindField = "kind"

  let query: PerformanceQuery
  private let snapshot: AppSnapshot
  private let source: DaySource
  private let control: QueryControl
  /// nil: no event of the app has both fields.
  private let measure: EventMeasure?
  /// Whether an event of the app has such a text.
  private let hasKind: Bool

  init(
    _ query: PerformanceQuery, _ snapshot: AppSnapshot, engine: QueryEngine, control: QueryControl
  ) throws {
    self.query = query
    self.snapshot = snapshot
    self.control = control
    let metric = Self.codes(Self.metricField, .text, snapshot)
    let duration = Self.codes(Self.durationField, .number, snapshot)
    hasKind = !Self.codes(Self.kindField, .text, snapshot).isEmpty
    var needs = ColumnNeeds()
    needs.add(rows: query.granularity.isWithinDay ? [.event, .time] : .event)
    for field in [Self.metricField, Self.durationField, Self.kindField] {
      if let source = try? FieldSource(field, in: snapshot, asked: field) { needs.add(source) }
    }
    if let filter = query.filter {
      _ = try FilterProgram(filter, in: snapshot)
      try needs.add(filter, in: snapshot)
    }
    if let breakdown = query.breakdown {
      needs.add(try ValueNumbers(breakdown, asked: "breakdown", in: snapshot).source)
    }
    source = try DaySource(snapshot, engine: engine, needs: needs, control: control)
    measure =
      metric.isEmpty || duration.isEmpty ? nil : try Self.measure(query, duration, snapshot)
  }

  private static func codes(
    _ name: String, _ type: FieldType, _ snapshot: AppSnapshot
  ) -> Set<UInt32> {
    guard let source = try? FieldSource(name, in: snapshot, asked: name),
      case .fields(let codes) = source
    else { return [] }
    return Set(codes.filter { FieldKey(kind: $0.kind, name: "").type == type }.map(\.code))
  }

  private static func measure(
    _ query: PerformanceQuery, _ duration: Set<UInt32>, _ snapshot: AppSnapshot
  ) throws -> EventMeasure {
    var choice = EventChoice([BuiltInEvent.performance.name])
    if !query.metrics.isEmpty {
      choice.filter = .condition(
        FilterCondition(metricField, .in, query.metrics.map(FieldValue.text)))
    }
    var measure = EventMeasure(choice: choice, asked: "metrics", countsUsers: true)
    measure.drivers = duration
    measure.fields = [
      (try FieldValues(durationField, asked: durationField, in: snapshot), .quantiles)
    ]
    return measure
  }

  private func scan(
    _ periods: [Period], _ measures: [EventMeasure], _ groups: GroupNumbers?, _ slots: EventSlots
  ) throws -> EventScan.Result {
    try EventScan(
      source: source, periods: periods, measures: measures,
      filters: query.filter.map { [($0, "filter")] } ?? [], groups: groups, slots: slots,
      traffic: query.traffic, control: control
    ).run()
  }

  private func whole(_ days: ClosedRange<Int>) -> [Period] {
    Period.periods(days, .all, snapshot.calendar)
  }

  private func numbers(_ field: String) throws -> ValueNumbers {
    try ValueNumbers(field, asked: "breakdown", in: snapshot)
  }

  /// Only events are counted, by group.
  private static let countsOnly = EventSlots(byGroup: nil, rest: -1, count: 0)

  // MARK: What there is

  /// The names that are asked for, or those that occur: by measurements, then by name.
  func metrics(_ days: ClosedRange<Int>) throws -> [String] {
    if !query.metrics.isEmpty { return query.metrics }
    guard let measure else { return [] }
    let groups = GroupNumbers([try self.numbers(Self.metricField)])
    let events = try scan(whole(days), [measure], groups, Self.countsOnly).eventsByGroup[0]
    let named = events.indices.compactMap { group -> (name: String, events: UInt64)? in
      guard events[group] > 0, case .text(let name)? = groups.values(Int32(group))[0] else {
        return nil
      }
      return (name, events[group])
    }
    guard named.count <= Limits.performanceMetricsMax else {
      throw QueryError(
        .resourceExhausted,
        "\(named.count) metrics occur, at most \(Limits.performanceMetricsMax) can be given: name some in metrics")
    }
    return named.sorted { ($1.events, $0.name) < ($0.events, $1.name) }.map(\.name)
  }

  /// nil: no breakdown.
  func groups(_ days: ClosedRange<Int>, _ metrics: [String]) throws -> Groups? {
    guard let breakdown = query.breakdown else { return nil }
    guard let measure else { return Groups(values: [], slots: []) }
    let numbers = GroupNumbers([try self.numbers(breakdown), try self.numbers(Self.metricField)])
    let events = try scan(whole(days), [measure], numbers, Self.countsOnly).eventsByGroup[0]
    var byValue: [UInt64] = []
    for group in events.indices where events[group] > 0 {
      let parts = numbers.parts(Int32(group))
      guard case .text? = numbers.fields[1].value(parts[1]) else { continue }
      let value = Int(parts[0])
      if byValue.count <= value { byValue += repeatElement(0, count: value + 1 - byValue.count) }
      byValue[value] += events[group]
    }
    let choice = EventGroupChoice(
      GroupNumbers([numbers.fields[0]]), events: [byValue], firstSeries: 0,
      limit: query.breakdownLimit)
    let values = choice.keys.map { $0[0] }
    var slots = values.map { Groups.Slot(value: $0, isOther: false) }
    if choice.hasOther { slots.append(Groups.Slot(value: nil, isOther: true)) }
    return Groups(values: values, slots: slots)
  }

  // MARK: Durations

  func durations(
    _ periods: [Period], _ metrics: [String], _ groups: Groups?
  ) throws -> Durations {
    let count = 1 + (groups?.slots.count ?? 0)
    let zeros = metrics.map { _ in periods.map { _ in UInt64(0) } }
    var durations = Durations(
      cells: Array(
        repeating: metrics.map { _ in periods.map { _ in FieldCell() } }, count: count),
      users: Array(repeating: zeros, count: count),
      allUsers: Array(repeating: metrics.map { _ in 0 }, count: count))
    guard let measure, !metrics.isEmpty else { return durations }
    let whole = try result(periods, measure, metrics, nil)
    durations.tally = whole.tally
    take(whole, metrics.count, periods.count, from: 0, into: &durations, at: 0..<1)
    if let groups, count > 1 {
      let apart = try result(periods, measure, metrics, groups)
      // Slots of the whole come first; nothing is counted there.
      take(apart, metrics.count, periods.count, from: 1, into: &durations, at: 1..<count)
    }
    return durations
  }

  private func take(
    _ result: EventScan.Result, _ metrics: Int, _ periods: Int, from first: Int,
    into durations: inout Durations, at slots: Range<Int>
  ) {
    let cells = result.cells[0]
    for slot in slots {
      for metric in 0..<metrics {
        let place = (slot - slots.lowerBound + first) * metrics + metric
        guard place < result.slotCount else { continue }
        durations.allUsers[slot][metric] = cells.allUsers[place]
        for period in 0..<periods {
          let cell = period * result.slotCount + place
          durations.cells[slot][metric][period] = cells.fields[0][cell]
          durations.users[slot][metric][period] = cells.users[cell]
        }
      }
    }
  }

  /// Slots are `slot * metrics + metric`, slot 0 the whole.
  private func result(
    _ periods: [Period], _ measure: EventMeasure, _ metrics: [String], _ groups: Groups?
  ) throws -> EventScan.Result {
    let fields = try [groups.flatMap { _ in query.breakdown }, Self.metricField].compactMap(\.self)
      .map { try self.numbers($0) }
    let numbers = GroupNumbers(fields)
    let all = Period.periods(
      periods[0].days.lowerBound...periods[periods.count - 1].days.upperBound, .all,
      snapshot.calendar)
    let count = try scan(all, [measure], numbers, Self.countsOnly).eventsByGroup[0].count
    var byMetric: [FieldValue: Int] = [:]
    for (index, name) in metrics.enumerated() { byMetric[.text(name)] = index }
    let byGroup = (0..<count).map { group -> Int32 in
      let values = numbers.values(Int32(group))
      guard let name = values[values.count - 1], let metric = byMetric[name] else { return -1 }
      let slot = groups?.slot(values[0]) ?? 0
      return Int32(slot * metrics.count + metric)
    }
    return try scan(
      periods, [measure], numbers, EventSlots(byGroup: byGroup, rest: -1, count: count))
  }

  // MARK: Errors

  private func errorMeasure(isCrash: Bool) -> EventMeasure? {
    var choice = EventChoice([BuiltInEvent.error.name])
    if isCrash {
      guard hasKind else { return nil }
      choice.filter = .condition(FilterCondition(Self.kindField, .eq, [.text("crash")]))
    }
    return EventMeasure(choice: choice, asked: "errors", countsUsers: true)
  }

  func errors(_ days: ClosedRange<Int>, _ groups: Groups?) throws -> Errors {
    let measures = [errorMeasure(isCrash: false), errorMeasure(isCrash: true)].compactMap(\.self)
    let whole = try scan(self.whole(days), measures, nil, EventSlots(byGroup: nil, rest: -1, count: 1))
    var errors = Errors(users: [Self.counts(whole, 0)], tally: whole.tally)
    guard let groups else { return errors }
    let (numbers, slots) = try self.slots(days, measures, groups)
    let apart = try scan(self.whole(days), measures, numbers, slots)
    for slot in groups.slots.indices { errors.users.append(Self.counts(apart, slot + 1)) }
    return errors
  }

  private func slots(
    _ days: ClosedRange<Int>, _ measures: [EventMeasure], _ groups: Groups
  ) throws -> (GroupNumbers, EventSlots) {
    let numbers = GroupNumbers([try self.numbers(query.breakdown ?? "")])
    let counted = try scan(whole(days), measures, numbers, Self.countsOnly).eventsByGroup
    let count = counted.map(\.count).max() ?? 0
    let byGroup = (0..<count).map { Int32(groups.slot(numbers.values(Int32($0))[0])) }
    return (numbers, EventSlots(byGroup: byGroup, rest: -1, count: count))
  }

  private static func counts(_ result: EventScan.Result, _ slot: Int) -> Errors.Counts {
    var counts = Errors.Counts()
    guard slot < result.slotCount else { return counts }
    counts.errors = result.cells[0].events[slot]
    counts.errorUsers = result.cells[0].allUsers[slot]
    if result.cells.count > 1 {
      counts.crashes = result.cells[1].events[slot]
      counts.crashUsers = result.cells[1].allUsers[slot]
    }
    return counts
  }

  // MARK: Users

  func errorUsers(
    _ days: ClosedRange<Int>, _ groups: Groups?, _ slot: Int, isCrash: Bool
  ) throws -> (users: [UInt32], tally: EventTally) {
    guard let measure = errorMeasure(isCrash: isCrash) else { return ([], EventTally()) }
    let result: EventScan.Result
    if slot > 0, let groups {
      let (numbers, slots) = try self.slots(days, [measure], groups)
      result = try scan(whole(days), [measure], numbers, slots)
    } else {
      result = try scan(whole(days), [measure], nil, EventSlots(byGroup: nil, rest: -1, count: 1))
    }
    return (slot < result.slotCount ? result.users[0][slot].users : [], result.tally)
  }

  func measuredUsers(
    _ period: Period, _ metrics: [String], _ groups: Groups?, _ slot: Int, _ metric: Int
  ) throws -> (users: [UInt32], tally: EventTally) {
    guard let measure else { return ([], EventTally()) }
    let result = try result([period], measure, metrics, slot > 0 ? groups : nil)
    let place = slot * metrics.count + metric
    return (place < result.slotCount ? result.users[0][place].users : [], result.tally)
  }
}
