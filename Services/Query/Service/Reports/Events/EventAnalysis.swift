/// How often, by how many users, and with which values of a field did events happen? (SEMANTICS 5)
package struct EventAnalysisQuery: Sendable {
  package enum Metric: Sendable, CaseIterable {
    case total, users, perUser, sum, avg, min, max, p50, p75, p90, p95, p99, distinct

    var needsField: Bool {
      switch self {
      case .total, .users, .perUser: false
      default: true
      }
    }

    /// nil: not a quantile.
    var share: Double? {
      switch self {
      case .p50: 0.5
      case .p75: 0.75
      case .p90: 0.9
      case .p95: 0.95
      case .p99: 0.99
      default: nil
      }
    }
  }

  package struct Series: Sendable {
    /// Empty: A, B, C ... by position.
    package var name: String
    package var events: EventChoice
    package var metric: Metric
    /// Of metrics that need one.
    package var field: String

    package init(
      _ events: EventChoice = EventChoice(), _ metric: Metric = .total, field: String = "",
      name: String = ""
    ) {
      self.name = name
      self.events = events
      self.metric = metric
      self.field = field
    }
  }

  package struct NamedFormula: Sendable {
    package var name: String
    package var expression: String

    package init(_ name: String, _ expression: String) {
      self.name = name
      self.expression = expression
    }
  }

  package var appID: String
  package var days: ClosedRange<Int>
  package var granularity: Granularity
  package var compareDays: ClosedRange<Int>?
  package var series: [Series]
  package var formulas: [NamedFormula]
  package var groupBy: [String]
  package var groupLimit: Int
  /// Of all series.
  package var filter: FilterTree?
  package var traffic: TrafficChoice

  package init(
    appID: String, days: ClosedRange<Int>, granularity: Granularity = .day,
    compareDays: ClosedRange<Int>? = nil, series: [Series], formulas: [NamedFormula] = [],
    groupBy: [String] = [], groupLimit: Int? = nil, filter: FilterTree? = nil,
    traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.granularity = granularity
    self.compareDays = compareDays
    self.series = series
    self.formulas = formulas
    self.groupBy = groupBy
    self.groupLimit = groupLimit ?? Limits.breakdownLimitDefault
    self.filter = filter
    self.traffic = traffic
  }
}

package struct EventPoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  /// nil: not defined.
  package let value: Double?
}

package struct EventSeriesResult: Sendable, Equatable {
  package let name: String
  package let points: [EventPoint]
  /// Over the whole range.
  package let total: EventPoint
  package let comparePoints: [EventPoint]
  package let compareTotal: EventPoint?
}

package struct EventGroup: Sendable, Equatable {
  /// One value per field, nil where it is missing. Empty for `other`.
  package let key: [FieldValue?]
  package let isOther: Bool
  /// The series, then the formulas.
  package let results: [EventSeriesResult]
}

package struct EventAnalysisAnswer: Sendable, Equatable {
  /// Without groups.
  package let results: [EventSeriesResult]
  package let groups: [EventGroup]
  package let info: AnswerInfo
}

/// Which number of an event analysis.
package struct EventCell: Sendable {
  package var series: String
  /// nil: the whole range.
  package var refDate: String?
  /// Empty: no groups.
  package var group: [FieldValue?]
  package var isOther: Bool

  package init(
    series: String, refDate: String? = nil, group: [FieldValue?] = [], isOther: Bool = false
  ) {
    self.series = series
    self.refDate = refDate
    self.group = group
    self.isOther = isOther
  }
}

extension QueryEngine {
  package func analyzeEvents(
    _ query: EventAnalysisQuery, control: QueryControl
  ) throws -> EventAnalysisAnswer {
    try EventAnalysisRun(query, engine: self, control: control).answer()
  }

  /// The users behind a number: codes, ascending.
  package func eventUsers(
    _ query: EventAnalysisQuery, _ cell: EventCell, control: QueryControl
  ) throws -> UserList {
    try EventAnalysisRun(query, engine: self, control: control).users(cell)
  }
}

/// Validates, plans and runs one event analysis.
private struct EventAnalysisRun {
  let query: EventAnalysisQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  let plan: EventPlan
  let groups: GroupNumbers?
  /// Whether users and contexts alone decide what is counted where.
  private let isOfRuns: Bool

  init(_ query: EventAnalysisQuery, engine: QueryEngine, control: QueryControl) throws {
    self.query = query
    self.control = control
    try EventPlan.check(query)
    try query.granularity.check(query.days, field: "range")
    if let days = query.compareDays { try query.granularity.check(days, field: "compare_range") }
    snapshot = try engine.snapshot(query.appID)
    plan = try EventPlan(query, in: snapshot)
    groups = try Self.groups(query.groupBy, in: snapshot)
    var needs = try plan.needs(query.granularity, snapshot)
    for field in groups?.fields ?? [] { needs.add(field.source) }
    isOfRuns = try needs.rows.contains(.context) && plan.isOfRuns(query, groups, snapshot)
    if isOfRuns { needs.takeRuns() }
    source = try DaySource(snapshot, engine: engine, needs: needs, control: control)
  }

  private static func groups(
    _ fields: [String], in snapshot: AppSnapshot
  ) throws -> GroupNumbers? {
    if fields.isEmpty { return nil }
    return GroupNumbers(
      try fields.enumerated().map {
        try ValueNumbers($1, asked: "group_by[\($0)]", in: snapshot)
      })
  }

  // MARK: The answer

  func answer() throws -> EventAnalysisAnswer {
    let periods = Period.periods(query.days, query.granularity, snapshot.calendar)
    try checkSize(periods.count, groups: 1)
    let (main, choice) = try control.operation("scan", "\(periods.count) periods") {
      try chosen(periods)
    }
    let comparePeriods = query.compareDays.map {
      Period.periods($0, query.granularity, snapshot.calendar)
    }
    let compared = try comparePeriods.map { try scan($0, choice?.slots ?? Self.one) }
    let view = EventAnswerView(
      query: query, plan: plan, periods: periods, comparePeriods: comparePeriods ?? [], main: main,
      compared: compared, snapshot: snapshot)
    let ends = [periods.last, comparePeriods?.last].compactMap { $0?.milliseconds.upperBound }
    let received = snapshot.position.receivedMilliseconds
    return EventAnalysisAnswer(
      results: choice == nil ? view.results(slot: 0) : [],
      groups: choice.map { view.groups($0) } ?? [],
      info: AnswerInfo(snapshot, main.tally, isComplete: ends.allSatisfy { $0 <= received }))
  }

  private static let one = EventSlots(byGroup: nil, rest: -1, count: 1)

  private func checkSize(_ periods: Int, groups: Int) throws {
    let results = query.series.count + query.formulas.count
    let points = periods * results * groups
    guard points <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        """
        the answer would have \(points) points (\(periods) periods of \(results) results in \(groups) groups), at most \
        \(Limits.answerPointsMax): ask for a shorter range, a coarser granularity or a lower group_limit
        """)
    }
  }

  /// Counts the range and chooses the groups that are given apart. Where they are few, one pass does both; where not, a second
  /// one counts the chosen ones and the rest.
  private func chosen(_ periods: [Period]) throws -> (EventScan.Result, EventGroupChoice?) {
    guard let groups else { return (try scan(periods, Self.one), nil) }
    let room = max(query.groupLimit * 2, min(1_024, Limits.answerPointsMax / periods.count))
    let first = try scan(periods, EventSlots(byGroup: nil, rest: -1, count: room))
    let choice = EventGroupChoice(
      groups, events: first.eventsByGroup, firstSeries: plan.series[0].measure,
      limit: query.groupLimit)
    try checkSize(periods.count, groups: max(choice.keys.count + (choice.hasOther ? 1 : 0), 1))
    // Nothing was left out of the first pass: its slots need only be put in order.
    if groups.count <= room, !choice.hasOther { return (first.reordered(choice.groups), choice) }
    return (try scan(periods, choice.slots), choice)
  }

  private func scan(_ periods: [Period], _ slots: EventSlots) throws -> EventScan.Result {
    try EventScan(
      source: source, periods: periods, measures: plan.measures, filters: plan.filters,
      groups: groups, slots: slots, traffic: query.traffic, isOfRuns: isOfRuns, control: control
    ).run()
  }

  // MARK: Users

  func users(_ cell: EventCell) throws -> UserList {
    guard let index = plan.series.firstIndex(where: { $0.name == cell.series }) else {
      throw QueryError.invalid("cell.metric", "no series is named \"\(cell.series.prefix(64))\"")
    }
    let periods = Period.periods(query.days, query.granularity, snapshot.calendar)
    let whole = Period.periods(query.days, .all, snapshot.calendar)
    let choice = groups == nil ? nil : try chosen(periods).1
    let slot = try slot(cell, choice)
    let asked = try cell.refDate.map { try period($0, periods) } ?? whole
    let measure = plan.series[index].measure
    var measured = plan.measures[measure]
    measured.countsUsers = true
    measured.fields = []
    let result = try EventScan(
      source: source, periods: asked, measures: [measured], filters: plan.filters, groups: groups,
      slots: choice?.slots ?? Self.one, traffic: query.traffic, isOfRuns: isOfRuns, control: control
    ).run()
    let users = slot < result.users[0].count ? result.users[0][slot].users : []
    let isComplete = whole[0].milliseconds.upperBound <= snapshot.position.receivedMilliseconds
    return UserList(
      users: users, app: snapshot.app,
      info: AnswerInfo(snapshot, result.tally, isComplete: isComplete))
  }

  private func period(_ refDate: String, _ periods: [Period]) throws -> [Period] {
    let found = periods.filter { $0.refDate == refDate }
    guard let first = found.first else {
      throw QueryError.invalid("cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
    }
    return [first]
  }

  private func slot(_ cell: EventCell, _ choice: EventGroupChoice?) throws -> Int {
    guard let choice else {
      guard cell.group.isEmpty, !cell.isOther else {
        throw QueryError.invalid("cell.group", "the report has no groups")
      }
      return 0
    }
    if cell.isOther {
      // The rest may be groups of the second period only: nobody in this one.
      guard choice.hasOther || query.compareDays != nil else {
        throw QueryError.invalid("cell.other", "the report has no group of the rest")
      }
      return choice.keys.count
    }
    guard cell.group.count == query.groupBy.count else {
      throw QueryError.invalid(
        "cell.group", "\(cell.group.count) values given, must be \(query.groupBy.count)")
    }
    guard let slot = choice.keys.firstIndex(of: cell.group) else {
      throw QueryError.invalid("cell.group", "the report has no such group")
    }
    return slot
  }
}
