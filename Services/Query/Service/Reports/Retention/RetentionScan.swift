import Events

/// One period's cohort.
struct RetentionCohort: Sendable {
  /// Ascending.
  var users: [UInt32] = []
  /// Of each user the number of the breakdown's value; empty without a breakdown.
  var groups: [Int32] = []
}

/// The cohorts of a range, and who came back when.
struct RetentionCohorts: Sendable {
  /// Of the cohorts' periods.
  let numbers: Range<Int>
  let list: [RetentionCohort]
  /// The same as sets, without a breakdown.
  let sets: [UserBitmap]
  /// The first period of `returns`.
  let firstReturn: Int
  /// By period: who did the return event; with ON_OR_AFTER, in it or any later one.
  let returns: [UserBitmap]
  /// By number of the breakdown's value: users over all cohorts.
  let sizesByGroup: [UInt64]

  /// How many of a cohort came back in a column: the whole, then by slot.
  func returned(
    _ cohort: RetentionCohort, _ number: Int, _ column: ClosedRange<Int>, _ slots: [Int32]?,
    _ slotCount: Int
  ) -> [UInt64] {
    var users = [UInt64](repeating: 0, count: slotCount + 1)
    guard let set = returnSet(number, column) else { return users }
    users[0] = UInt64(sets[number - numbers.lowerBound].intersectionCount(set))
    guard let slots else { return users }
    for (user, group) in zip(cohort.users, cohort.groups) where set.contains(user) {
      users[1 + Int(slots[Int(group)])] += 1
    }
    return users
  }

  /// nil: nobody.
  func returnSet(_ number: Int, _ column: ClosedRange<Int>) -> UserBitmap? {
    let first = number + column.lowerBound - firstReturn
    if column.count == 1 { return returns.indices.contains(first) ? returns[first] : nil }
    let wanted = (first..<first + column.count).clamped(to: returns.indices)
    guard var union = wanted.first.map({ returns[$0] }) else { return nil }
    for index in wanted.dropFirst() { union.formUnion(returns[index]) }
    return union
  }
}

/// Reads cohorts and returns from the days.
struct RetentionScan {
  let query: RetentionQuery
  let columns: [ClosedRange<Int>]
  let source: DaySource
  let groups: GroupNumbers?
  let control: QueryControl
  /// When users were first active.
  private let first: FirstTimes
  private let readers = WorkerPool<CohortReader>()

  init(
    _ query: RetentionQuery, _ columns: [ClosedRange<Int>], _ snapshot: AppSnapshot,
    engine: QueryEngine, control: QueryControl
  ) throws {
    self.query = query
    self.columns = columns
    self.control = control
    groups = try query.breakdown.map {
      GroupNumbers([try ValueNumbers($0, asked: "breakdown", in: snapshot)])
    }
    var needs = ColumnNeeds()
    if let field = groups?.fields[0] { needs.add(field.source) }
    // To know the event with which a user began.
    if query.cohort == .new { needs.add(rows: .time) }
    let matches = [
      (query.returnEvent, "return_event"), (query.cohort.event, "cohort_event"),
      (EventChoice(filter: query.filter), ""),
    ]
    for (choice, asked) in matches {
      guard let choice else { continue }
      if !asked.isEmpty { try choice.check(asked: asked, names: 1...Limits.eventsPerStepMax) }
      if let tree = choice.filter {
        let asked = asked.isEmpty ? "filter" : "\(asked).filter"
        _ = try FilterProgram(tree, in: snapshot, asked: asked)
      }
      try needs.add(choice, in: snapshot)
    }
    source = try DaySource(snapshot, engine: engine, needs: needs, control: control)
    first = snapshot.times.view(query.traffic.classes)
  }

  func tally(_ days: ClosedRange<Int>) throws -> EventTally {
    try source.tally(days, query.traffic)
  }

  func cohorts(_ days: ClosedRange<Int>) throws -> RetentionCohorts {
    let numbers = query.unit.beginning(in: days)
    let (range, returns) = try returns(numbers)
    let list = try list(numbers)
    let sets = list.map { UserBitmap($0.users) }
    try control.charge(sets.reduce(0) { $0 + $1.byteCount }, for: "the users of each cohort")
    var sizes: [UInt64] = []
    for cohort in list {
      for group in cohort.groups {
        if sizes.count <= Int(group) {
          sizes += repeatElement(0, count: Int(group) + 1 - sizes.count)
        }
        sizes[Int(group)] += 1
      }
    }
    return RetentionCohorts(
      numbers: numbers, list: list, sets: sets, firstReturn: range.lowerBound, returns: returns, sizesByGroup: sizes)
  }

  // MARK: Returns

  private func returns(_ numbers: Range<Int>) throws -> (Range<Int>, [UserBitmap]) {
    guard let last = source.days.last, !numbers.isEmpty else { return (0..<0, []) }
    let lastNumber = query.unit.number(ofDay: Int(last))
    let lowest = columns.map(\.lowerBound).min() ?? 0
    let highest = columns.map(\.upperBound).max() ?? 0
    var isOrAfter = false
    if case .keys(_, .onOrAfter) = query.columns { isOrAfter = true }
    let begin = numbers.lowerBound + lowest
    let end = isOrAfter ? lastNumber + 1 : min(numbers.upperBound + highest, lastNumber + 1)
    guard begin < end else { return (0..<0, []) }
    let history = UserHistory(
      source, choice: query.returnEvent, asked: "return_event", traffic: query.traffic,
      control: control)
    var sets = try history.periods(begin..<end, query.unit)
    if isOrAfter {
      for index in sets.indices.dropLast().reversed() { sets[index].formUnion(sets[index + 1]) }
    }
    return (begin..<end, sets)
  }

  // MARK: Cohorts

  private func list(_ numbers: Range<Int>) throws -> [RetentionCohort] {
    if query.breakdown == nil, query.filter == nil {
      if query.cohort == .new {
        let users = source.snapshot.newUsers(numbers, query.unit, query.traffic)
        try control.charge(users.reduce(0) { $0 + $1.count * 4 }, for: "the users of each cohort")
        return users.map { RetentionCohort(users: $0) }
      }
      let history = UserHistory(
        source, choice: query.cohort.event, asked: "cohort_event", traffic: query.traffic,
        control: control)
      return try history.periods(numbers, query.unit).map { RetentionCohort(users: $0.users) }
    }
    return try Blocks.map(numbers.count, threads: Limits.threadsDefault) { index in
      try readers.with(make: { try CohortReader(query, first, groups, source.snapshot) }) {
        let cohort = try $0.cohort(query.unit.days(numbers.lowerBound + index), source)
        try groups?.check()
        try control.charge(cohort.users.count * 8, for: "the users of each cohort")
        return cohort
      }
    }
  }
}

/// Finds the first event of a cohort of each user, and what the filter and the breakdown make of it.
///
/// `@unchecked Sendable`: one thread alone uses it at a time (`WorkerPool`).
private final class CohortReader: @unchecked Sendable {
  private let query: RetentionQuery
  /// When users were first active.
  private let first: FirstTimes
  private let isActive: [Bool]
  private let selector: EventSelector?
  private let filter: FilterProgram?
  private let groups: GroupReader?

  init(
    _ query: RetentionQuery, _ first: FirstTimes, _ groups: GroupNumbers?, _ snapshot: AppSnapshot
  ) throws {
    self.query = query
    self.first = first
    self.groups = groups?.reader()
    isActive = query.traffic.activeByFlags
    selector = try query.cohort.event.map {
      try EventSelector($0, asked: "cohort_event", traffic: query.traffic, in: snapshot)
    }
    filter = try query.filter.map { try FilterProgram($0, in: snapshot) }
  }

  func cohort(_ days: ClosedRange<Int>, _ source: DaySource) throws -> RetentionCohort {
    var met = UserSet(userCount: source.snapshot.userCount)
    var pairs: [(user: UInt32, group: Int32)] = []
    for number in source.days(in: days.lowerBound..<days.upperBound + 1) {
      let day = try source.load(number)
      var users: [UInt32] = []
      var rows: [UInt32] = []
      for (user, row) in try firstRows(day, source) where met.insert(user) {
        users.append(user)
        rows.append(row)
      }
      let mask = filter?.mask(day.part(rows, fields: filter?.fieldCodes ?? []))
      let numbers = groups?.read(rows, day)
      for index in users.indices where mask?[index] != 0 {
        pairs.append((users[index], numbers?[index] ?? 0))
      }
    }
    if days.count > 1 { pairs.sort { $0.user < $1.user } }
    return RetentionCohort(
      users: pairs.map(\.user), groups: groups == nil ? [] : pairs.map(\.group))
  }

  /// Of each user of a day the first row that may begin membership, ascending.
  private func firstRows(
    _ day: DayColumns, _ source: DaySource
  ) throws -> [(user: UInt32, row: UInt32)] {
    var found: [(user: UInt32, row: UInt32)] = []
    if let selector {
      var position = 0
      for row in try selector.select(day, source).rows {
        while day.userEnds[position] <= row { position += 1 }
        if found.last?.user != day.users[position] { found.append((day.users[position], row)) }
      }
      return found
    }
    for (position, user) in day.users.enumerated() {
      let rows = day.rows(ofUserAt: position)
      guard let row = rows.first(where: { isActive[Int(day.flags[$0])] }) else { continue }
      // New on this day: no active event lies before this one.
      if query.cohort == .new, first[user] != day.time(row) { continue }
      found.append((user, UInt32(row)))
    }
    return found
  }
}

extension RetentionQuery.Cohort {
  var event: EventChoice? {
    if case .event(let choice) = self { choice } else { nil }
  }
}
