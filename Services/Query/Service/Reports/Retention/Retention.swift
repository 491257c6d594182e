import Events

/// How many of a period's users come back, period by period? (SEMANTICS 4)
package struct RetentionQuery: Sendable {
  package enum Cohort: Sendable, Equatable {
    case new
    case active
    case event(EventChoice)
  }

  package enum Mode: Sendable, CaseIterable { case on, onOrAfter }

  /// Which later periods a cell speaks of.
  package enum Columns: Sendable, Equatable {
    /// nil: those of the granularity.
    case keys([Int]?, Mode)
    case brackets([ClosedRange<Int>])
  }

  package var appID: String
  /// The cohorts' periods: those that begin in it.
  package var days: ClosedRange<Int>
  package var unit: CalendarUnit
  package var cohort: Cohort
  /// nil: any active event.
  package var returnEvent: EventChoice?
  package var columns: Columns
  /// A field of the user's first event of the cohort.
  package var breakdown: String?
  package var breakdownLimit: Int
  /// Of that same event.
  package var filter: FilterTree?
  package var traffic: TrafficChoice
  package var compareDays: ClosedRange<Int>?

  package init(
    appID: String, days: ClosedRange<Int>, unit: CalendarUnit = .day, cohort: Cohort = .new,
    returnEvent: EventChoice? = nil, columns: Columns = .keys(nil, .on), breakdown: String? = nil,
    breakdownLimit: Int? = nil, filter: FilterTree? = nil,
    traffic: TrafficChoice = TrafficChoice(), compareDays: ClosedRange<Int>? = nil
  ) {
    self.appID = appID
    self.days = days
    self.unit = unit
    self.cohort = cohort
    self.returnEvent = returnEvent
    self.columns = columns
    self.breakdown = breakdown
    self.breakdownLimit = breakdownLimit ?? Limits.breakdownLimitDefault
    self.filter = filter
    self.traffic = traffic
    self.compareDays = compareDays
  }

  /// SEMANTICS 4, defaults.
  static func defaultKeys(_ unit: CalendarUnit) -> [Int] {
    switch unit {
    case .day: Array(0...7) + [14, 30]
    case .week: Array(0...4)
    case .month: [0, 1]
    }
  }
}

/// Of a cohort: the users that came back.
package struct RetentionCell: Sendable, Equatable {
  /// Periods after the cohort's.
  package let periods: ClosedRange<Int>
  package let users: UInt64
  /// Of the cohort.
  package let size: UInt64
  package let isComplete: Bool

  package var share: Double { size == 0 ? 0 : Double(users) / Double(size) }
}

package struct RetentionRow: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  package let size: UInt64
  /// Without those of the future.
  package let cells: [RetentionCell]
}

package struct RetentionTable: Sendable, Equatable {
  package let rows: [RetentionRow]
  /// Of the cohorts whose cell is complete, added up; a column without any is absent.
  package let curve: [RetentionCell]
}

package struct RetentionSeries: Sendable, Equatable {
  package let value: FieldValue?
  package let isOther: Bool
  package let table: RetentionTable
}

package struct RetentionAnswer: Sendable, Equatable {
  package let table: RetentionTable
  package let compareTable: RetentionTable?
  package let breakdown: [RetentionSeries]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func retention(
    _ query: RetentionQuery, control: QueryControl
  ) throws -> RetentionAnswer {
    try RetentionRun(query, engine: self, control: control).answer()
  }

  /// The users of a cell, or of a cohort.
  ///
  /// - Parameters:
  ///   - key: begin of the cell's periods; nil: the cohort's size.
  ///   - group: of a breakdown: its value in a list of one; empty: the whole.
  package func retentionUsers(
    _ query: RetentionQuery, refDate: String, key: Int?, group: [FieldValue?] = [],
    isOther: Bool = false, control: QueryControl
  ) throws -> UserList {
    try RetentionRun(query, engine: self, control: control)
      .users(refDate: refDate, key: key, group: group, isOther: isOther)
  }
}

/// Validates, plans and runs one retention.
private struct RetentionRun {
  let query: RetentionQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let scan: RetentionScan
  let columns: [ClosedRange<Int>]

  init(_ query: RetentionQuery, engine: QueryEngine, control: QueryControl) throws {
    self.query = query
    self.control = control
    try Self.check(query)
    columns = Self.columns(query)
    snapshot = try engine.snapshot(query.appID)
    scan = try RetentionScan(query, columns, snapshot, engine: engine, control: control)
  }

  private static func columns(_ query: RetentionQuery) -> [ClosedRange<Int>] {
    switch query.columns {
    case .keys(let keys, _):
      (keys ?? RetentionQuery.defaultKeys(query.unit)).sorted().map { $0...$0 }
    case .brackets(let brackets): brackets
    }
  }

  private static func check(_ query: RetentionQuery) throws(QueryError) {
    guard (1...Limits.breakdownLimitMax).contains(query.breakdownLimit) else {
      throw .invalid(
        "breakdown_limit", "is \(query.breakdownLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
    switch query.columns {
    case .keys(let keys, _):
      let keys = keys ?? [0]
      guard (1...Limits.retentionKeysMax).contains(keys.count) else {
        throw .invalid("keys", "\(keys.count) given, must be at most \(Limits.retentionKeysMax)")
      }
      for key in keys where !(0...Limits.retentionKeyMax).contains(key) {
        throw .invalid("keys", "\(key) given, must be 0-\(Limits.retentionKeyMax)")
      }
      guard Set(keys).count == keys.count else { throw .invalid("keys", "a number is given twice") }
    case .brackets(let brackets):
      guard (1...Limits.retentionKeysMax).contains(brackets.count) else {
        throw .invalid(
          "brackets", "\(brackets.count) given, must be 1-\(Limits.retentionKeysMax)")
      }
      for bracket in brackets
      where bracket.lowerBound < 0 || bracket.upperBound > Limits.retentionKeyMax {
        throw .invalid(
          "brackets",
          "\(bracket.lowerBound)-\(bracket.upperBound) given, must lie in 0-\(Limits.retentionKeyMax)")
      }
    }
  }

  // MARK: The answer

  func answer() throws -> RetentionAnswer {
    let main = try control.operation("cohorts") { try scan.cohorts(query.days) }
    let groups = scan.groups.map {
      EventGroupChoice(
        $0, events: [main.sizesByGroup], firstSeries: 0, limit: query.breakdownLimit)
    }
    let slotCount = groups.map { $0.keys.count + ($0.hasOther ? 1 : 0) } ?? 0
    let cells = main.numbers.count * columns.count * (slotCount + 1)
    guard cells <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        """
        the answer would have \(cells) cells (\(main.numbers.count) periods of \(columns.count) columns in \(slotCount + 1) \
        tables), at most \(Limits.answerPointsMax): ask for a shorter range, fewer keys or a lower breakdown_limit
        """)
    }
    let found = try control.operation("cells", rows: cells) {
      try tables(main, slots: groups?.slots.byGroup, slotCount)
    }
    let compared = try query.compareDays.map { try tables(scan.cohorts($0), slots: nil, 0)[0] }
    let rows = found[0].rows + (compared?.rows ?? [])
    return RetentionAnswer(
      table: found[0], compareTable: compared, breakdown: series(found, groups),
      info: AnswerInfo(
        snapshot, try scan.tally(query.days),
        isComplete: rows.allSatisfy { row in
          row.cells.count == columns.count && row.cells.allSatisfy(\.isComplete)
        }))
  }

  private func series(
    _ tables: [RetentionTable], _ groups: EventGroupChoice?
  ) -> [RetentionSeries] {
    guard let groups else { return [] }
    return tables.dropFirst().enumerated().map { slot, table in
      let isOther = slot == groups.keys.count
      return RetentionSeries(
        value: isOther ? nil : groups.keys[slot][0], isOther: isOther, table: table)
    }
  }

  /// The whole, then each slot.
  private func tables(
    _ cohorts: RetentionCohorts, slots: [Int32]?, _ slotCount: Int
  ) throws -> [RetentionTable] {
    let rows = try Blocks.map(cohorts.numbers.count, threads: Limits.threadsDefault) { index in
      try control.check()
      return row(cohorts, index, slots, slotCount)
    }
    return (0...slotCount).map { slot in
      let rows = rows.map { $0[slot] }
      return RetentionTable(rows: rows, curve: columns.compactMap { curve(rows, $0) })
    }
  }

  private func row(
    _ cohorts: RetentionCohorts, _ index: Int, _ slots: [Int32]?, _ slotCount: Int
  ) -> [RetentionRow] {
    let number = cohorts.numbers.lowerBound + index
    let cohort = cohorts.list[index]
    var sizes = [UInt64](repeating: 0, count: slotCount + 1)
    sizes[0] = UInt64(cohort.users.count)
    if let slots { for group in cohort.groups { sizes[1 + Int(slots[Int(group)])] += 1 } }
    var cells = [[RetentionCell]](repeating: [], count: slotCount + 1)
    for column in columns {
      guard begin(number + column.lowerBound) <= received else { continue }
      let isComplete = end(number + column.upperBound) <= received
      var users = sizes
      if !isSize(column) { users = cohorts.returned(cohort, number, column, slots, slotCount) }
      for slot in 0...slotCount {
        cells[slot].append(
          RetentionCell(
            periods: column, users: users[slot], size: sizes[slot], isComplete: isComplete))
      }
    }
    let period = query.unit.period(number, snapshot.calendar)
    return (0...slotCount).map { slot in
      RetentionRow(
        period: period, isComplete: period.milliseconds.upperBound <= received, size: sizes[slot],
        cells: cells[slot])
    }
  }

  /// Key 0 is the size of the cohort, whatever the return event.
  private func isSize(_ column: ClosedRange<Int>) -> Bool {
    if case .keys = query.columns { return column == 0...0 }
    return false
  }

  private func curve(_ rows: [RetentionRow], _ column: ClosedRange<Int>) -> RetentionCell? {
    let cells = rows.compactMap { row in
      row.cells.first { $0.periods == column && $0.isComplete }
    }
    if cells.isEmpty { return nil }
    return RetentionCell(
      periods: column, users: cells.reduce(0) { $0 + $1.users },
      size: cells.reduce(0) { $0 + $1.size }, isComplete: true)
  }

  private var received: Int64 { snapshot.position.receivedMilliseconds }

  private func begin(_ number: Int) -> Int64 {
    snapshot.calendar.start(ofDay: query.unit.days(number).lowerBound)
  }

  private func end(_ number: Int) -> Int64 {
    snapshot.calendar.start(ofDay: query.unit.days(number).upperBound + 1)
  }

  // MARK: Users

  func users(
    refDate: String, key: Int?, group: [FieldValue?], isOther: Bool
  ) throws -> UserList {
    let numbers = query.unit.beginning(in: query.days)
    let found = numbers.first { query.unit.period($0, snapshot.calendar).refDate == refDate }
    guard let number = found else {
      throw QueryError.invalid("cell.ref_date", "the report has no row \"\(refDate.prefix(64))\"")
    }
    let cohorts = try scan.cohorts(query.days)
    let cohort = cohorts.list[number - numbers.lowerBound]
    var users = try members(cohort, cohorts, group, isOther)
    if let key {
      guard let column = columns.first(where: { $0.lowerBound == key }),
        begin(number + column.lowerBound) <= received
      else { throw QueryError.invalid("cell.key", "the row has no key \(key)") }
      if !isSize(column), let set = cohorts.returnSet(number, column) {
        users = users.filter(set.contains)
      } else if !isSize(column) {
        users = []
      }
    }
    let end = query.unit.period(number, snapshot.calendar).milliseconds.upperBound
    return UserList(
      users: users, app: snapshot.app,
      info: AnswerInfo(snapshot, try scan.tally(query.days), isComplete: end <= received))
  }

  private func members(
    _ cohort: RetentionCohort, _ cohorts: RetentionCohorts, _ group: [FieldValue?],
    _ isOther: Bool
  ) throws -> [UInt32] {
    if group.isEmpty, !isOther { return cohort.users }
    guard let groups = scan.groups else {
      throw QueryError.invalid("cell.group", "the report has no breakdown")
    }
    let choice = EventGroupChoice(
      groups, events: [cohorts.sizesByGroup], firstSeries: 0, limit: query.breakdownLimit)
    let found = isOther ? choice.hasOther ? choice.keys.count : nil : choice.keys.firstIndex(of: group)
    guard let slot = found, let slots = choice.slots.byGroup else {
      throw QueryError.invalid(
        isOther ? "cell.other" : "cell.group", "the report has no such group")
    }
    return zip(cohort.users, cohort.groups).filter { Int(slots[Int($1)]) == slot }.map(\.0)
  }
}
