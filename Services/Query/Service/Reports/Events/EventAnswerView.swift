import Events

/// What scans counted, as the answer shows it.
struct EventAnswerView {
  let query: EventAnalysisQuery
  let plan: EventPlan
  let periods: [Period]
  let comparePeriods: [Period]
  let main: EventScan.Result
  let compared: EventScan.Result?
  let snapshot: AppSnapshot

  func groups(_ choice: EventGroupChoice) -> [EventGroup] {
    var groups = choice.keys.enumerated().map { slot, key in
      EventGroup(key: key, isOther: false, results: results(slot: slot))
    }
    // The rest may also be groups that only the second period has.
    if choice.hasOther || has(compared, slot: choice.keys.count) {
      groups.append(EventGroup(key: [], isOther: true, results: results(slot: choice.keys.count)))
    }
    return groups
  }

  private func has(_ result: EventScan.Result?, slot: Int) -> Bool {
    guard let result, slot < result.slotCount else { return false }
    return result.cells.contains { cells in
      stride(from: slot, to: cells.events.count, by: result.slotCount).contains {
        cells.events[$0] > 0
      }
    }
  }

  func results(slot: Int) -> [EventSeriesResult] {
    let names = plan.series.map(\.name) + plan.formulas.map(\.name)
    let now = columns(main, periods, query.days, slot)
    let then = compared.flatMap { compared in
      query.compareDays.map { columns(compared, comparePeriods, $0, slot) }
    }
    return names.indices.map { index in
      EventSeriesResult(
        name: names[index], points: now.points[index], total: now.totals[index],
        comparePoints: then?.points[index] ?? [], compareTotal: then?.totals[index])
    }
  }

  /// By result: its points and its total.
  private func columns(
    _ result: EventScan.Result, _ periods: [Period], _ days: ClosedRange<Int>, _ slot: Int
  ) -> (points: [[EventPoint]], totals: [EventPoint]) {
    let rows = periods.indices.map { period in
      values { self.value($0, result, slot, period: period) }
    }
    let totals = values { self.total($0, result, slot) }
    let whole = Period.periods(days, .all, snapshot.calendar)[0]
    return (
      totals.indices.map { index in
        zip(periods, rows).map { point($0, $1[index]) }
      }, totals.map { point(whole, $0) }
    )
  }

  /// The values of all series, then of the formulas.
  private func values(_ value: (EventPlan.Series) -> Double?) -> [Double?] {
    let series = plan.series.map(value)
    return series + plan.formulas.map { $0.formula.value(series) }
  }

  private func point(_ period: Period, _ value: Double?) -> EventPoint {
    EventPoint(
      period: period,
      isComplete: period.isWhole
        && period.milliseconds.upperBound <= snapshot.position.receivedMilliseconds,
      value: value)
  }

  private func value(
    _ series: EventPlan.Series, _ result: EventScan.Result, _ slot: Int, period: Int
  ) -> Double? {
    guard slot < result.slotCount else { return Self.value(series.metric, 0, 0, FieldCell()) }
    let cells = result.cells[series.measure]
    let place = period * result.slotCount + slot
    return Self.value(
      series.metric, cells.events[place], cells.users.isEmpty ? 0 : cells.users[place],
      series.field.map { cells.fields[$0][place] } ?? FieldCell())
  }

  private func total(
    _ series: EventPlan.Series, _ result: EventScan.Result, _ slot: Int
  ) -> Double? {
    guard slot < result.slotCount else { return Self.value(series.metric, 0, 0, FieldCell()) }
    let cells = result.cells[series.measure]
    let places = stride(from: slot, to: cells.events.count, by: result.slotCount)
    var field = FieldCell()
    if let number = series.field {
      for place in places { field.merge(cells.fields[number][place]) }
    }
    return Self.value(
      series.metric, places.reduce(0) { $0 + cells.events[$1] },
      cells.allUsers.isEmpty ? 0 : cells.allUsers[slot], field)
  }

  private static func value(
    _ metric: EventAnalysisQuery.Metric, _ events: UInt64, _ users: UInt64, _ field: FieldCell
  ) -> Double? {
    switch metric {
    case .total: Double(events)
    case .users: Double(users)
    case .perUser: users == 0 ? nil : Double(events) / Double(users)
    case .sum: field.sum
    case .avg: field.count == 0 ? nil : field.sum / Double(field.count)
    case .min: field.count == 0 ? nil : field.min
    case .max: field.count == 0 ? nil : field.max
    case .distinct: Double(field.distinct.count)
    case .p50, .p75, .p90, .p95, .p99: metric.share.flatMap(field.sample.quantile)
    }
  }
}
