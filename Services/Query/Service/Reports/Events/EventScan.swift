/// Events of one choice, and what is to be known of them. Several series may share one.
struct EventMeasure {
  var choice: EventChoice
  /// How the question calls the choice.
  var asked: String
  var countsUsers = false
  /// Only events that have one of these fields are looked at; empty: all.
  var drivers: Set<UInt32> = []
  /// Only events that have this field of the context are looked at.
  var required: String?
  var fields: [(values: FieldValues, needs: FieldNeeds)] = []
}

extension EventMeasure {
  /// Every event, and no field of it.
  var isOfAll: Bool {
    choice == EventChoice() && drivers.isEmpty && required == nil && fields.isEmpty
  }
}

/// What a scan counted of one measure: by period and slot.
struct EventCells {
  var events: [UInt64]
  /// Empty where users are not counted.
  var users: [UInt64]
  /// By slot: of the whole range.
  var allUsers: [UInt64]
  /// By field of the measure, then by cell.
  var fields: [[FieldCell]]
}

/// Which groups are counted where.
struct EventSlots: Sendable {
  /// By number of the group; nil: each group under its own number.
  var byGroup: [Int32]?
  /// Of a group beyond them; -1: it is not counted.
  var rest: Int32
  /// Slots at most; of groups beyond it only the events are counted.
  var count: Int
}

/// One pass over a range: counts events, users and values by period and group. Stretches of days are the parts that run in
/// parallel; whatever is added up goes in the order of the days, so that an answer is the same each time.
struct EventScan {
  let source: DaySource
  let periods: [Period]
  let measures: [EventMeasure]
  /// Of all measures.
  let filters: [(tree: FilterTree, asked: String)]
  let groups: GroupNumbers?
  let slots: EventSlots
  let traffic: TrafficChoice
  /// Whether users and contexts alone decide what is counted where (`EventPlan.isOfRuns`).
  var isOfRuns = false
  let control: QueryControl

  /// Whether every event is asked for, and nothing of it but that it happened.
  var isOfFacts: Bool {
    groups == nil && filters.isEmpty && measures.count == 1 && measures[0].isOfAll
  }

  struct Result {
    /// Slots that are in use.
    var slotCount: Int
    var cells: [EventCells]
    /// By measure: users of each slot over the whole range, where they are counted.
    var users: [[UserSet]]
    /// By measure and number of the group: all of its events. Where each group had a slot of its own number.
    var eventsByGroup: [[UInt64]]
    var tally: EventTally
  }

  func run() throws -> Result {
    let stretches = stretches
    let workers = WorkerPool<EventWorker>()
    let parts = try Blocks.map(stretches.count, threads: Limits.threadsDefault) { index in
      try workers.with(make: { try EventWorker(self) }) { try $0.count(stretches[index]) }
    }
    return try merged(parts, stretches, workers.all)
  }

  // MARK: Stretches of days

  /// Days of one period, or one day of several periods.
  struct Stretch {
    let days: [Int32]
    let periods: Range<Int>
    /// Whether users of the stretch are users of its periods: not where a period has several stretches.
    let isWhole: Bool
  }

  private var stretches: [Stretch] {
    if periods.count == 1 {
      let days = source.days(in: periods[0].days.lowerBound..<periods[0].days.upperBound + 1)
      return days.map { Stretch(days: [$0], periods: 0..<1, isWhole: false) }
    }
    var stretches: [Stretch] = []
    var index = 0
    while index < periods.count {
      let days = periods[index].days
      var end = index + 1
      // Hours and minutes: all of a day at once.
      while end < periods.count, periods[end].days == days { end += 1 }
      let found = Array(source.days(in: days.lowerBound..<days.upperBound + 1))
      if !found.isEmpty {
        stretches.append(Stretch(days: found, periods: index..<end, isWhole: true))
      }
      index = end
    }
    return stretches
  }

  // MARK: Putting the parts together

  private func merged(
    _ parts: [EventWorker.Part], _ stretches: [Stretch], _ workers: [EventWorker]
  ) throws -> Result {
    let slotCount = parts.map(\.slotCount).max() ?? 0
    let cellCount = slotCount * periods.count
    try control.charge(
      cellCount * measures.reduce(0) { $0 + 16 + $1.fields.count * MemoryLayout<FieldCell>.stride },
      for: "the points of each group")
    var result = Result(
      slotCount: slotCount, cells: measures.map { cells($0, slotCount) },
      users: measures.map { _ in [] }, eventsByGroup: measures.map { _ in [] }, tally: EventTally())
    for (part, stretch) in zip(parts, stretches) { add(part, stretch, &result) }
    if slots.byGroup == nil { addEventsByGroup(workers, &result) }
    for measure in measures.indices where measures[measure].countsUsers {
      var users = [UserSet](
        repeating: UserSet(userCount: source.snapshot.userCount), count: slotCount)
      for worker in workers {
        for (slot, set) in worker.allUsers(measure).enumerated() { users[slot].formUnion(set) }
      }
      result.cells[measure].allUsers = users.map { UInt64($0.count) }
      if periods.count == 1 { result.cells[measure].users = result.cells[measure].allUsers }
      result.users[measure] = users
    }
    return result
  }

  /// Events of groups with a slot stand in its cells, those of the others were counted apart.
  private func addEventsByGroup(_ workers: [EventWorker], _ result: inout Result) {
    for measure in measures.indices {
      var events = [UInt64](repeating: 0, count: result.slotCount)
      for (place, count) in result.cells[measure].events.enumerated() {
        events[place % result.slotCount] += count
      }
      for worker in workers {
        let others = worker.eventsByGroup[measure]
        events.grow(others.count)
        for group in others.indices { events[group] += others[group] }
      }
      result.eventsByGroup[measure] = events
    }
  }

  private func cells(_ measure: EventMeasure, _ slotCount: Int) -> EventCells {
    let count = slotCount * periods.count
    return EventCells(
      events: Array(repeating: 0, count: count),
      users: Array(repeating: 0, count: measure.countsUsers ? count : 0),
      allUsers: Array(repeating: 0, count: measure.countsUsers ? slotCount : 0),
      fields: measure.fields.map { _ in Array(repeating: FieldCell(), count: count) })
  }

  private func add(_ part: EventWorker.Part, _ stretch: Stretch, _ result: inout Result) {
    result.tally.merge(part.tally)
    let width = stretch.periods.count
    for (index, measure) in part.measures.enumerated() {
      for slot in 0..<part.slotCount {
        for place in 0..<width {
          let from = slot * width + place
          let to = (stretch.periods.lowerBound + place) * result.slotCount + slot
          if from < measure.events.count { result.cells[index].events[to] += measure.events[from] }
          if measures[index].countsUsers, stretch.isWhole, from < measure.users.count {
            result.cells[index].users[to] += UInt64(measure.users[from])
          }
          for field in measure.fields.indices where from < measure.fields[field].count {
            result.cells[index].fields[field][to].merge(measure.fields[field][from])
          }
        }
      }
    }
  }
}

extension EventScan.Result {
  /// The same with other slots: `old[slot]` is where each stood.
  func reordered(_ old: [Int]) -> EventScan.Result {
    var result = self
    result.slotCount = old.count
    func reorder<Value>(_ values: [Value], _ missing: Value) -> [Value] {
      if values.isEmpty { return [] }
      return (0..<values.count / slotCount).flatMap { period in
        old.map { $0 < slotCount ? values[period * slotCount + $0] : missing }
      }
    }
    for measure in cells.indices {
      result.cells[measure] = EventCells(
        events: reorder(cells[measure].events, 0), users: reorder(cells[measure].users, 0),
        allUsers: reorder(cells[measure].allUsers, 0),
        fields: cells[measure].fields.map { reorder($0, FieldCell()) })
      result.users[measure] = []
    }
    return result
  }
}

extension EventTally {
  mutating func merge(_ other: EventTally) {
    read += other.read
    excluded.merge(other.excluded) { $0 + $1 }
  }
}
