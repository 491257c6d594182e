/// Counts stretches of days, one at a time, on one thread.
///
/// `@unchecked Sendable`: a pool hands it from thread to thread under a lock; between, one thread alone holds it.
final class EventWorker: @unchecked Sendable {
  /// What a stretch counted: by slot and period of the stretch.
  struct Part: Sendable {
    var slotCount = 0
    var measures: [Counts]
    var tally = EventTally()
  }

  struct Counts: Sendable {
    /// `slot * width + period`; shorter where nothing was met.
    var events: [UInt64] = []
    var users: [UInt32] = []
    var fields: [[FieldCell]]

    var byteCount: Int {
      fields.reduce(events.count * 12) { sum, cells in
        cells.reduce(sum) { $0 + $1.byteCount + MemoryLayout<FieldCell>.stride }
      }
    }
  }

  private let scan: EventScan
  private let selectors: [EventSelector]
  private let groups: GroupReader?
  /// By measure and slot.
  private var allUsers: [[UserSet]]
  /// By measure and number of the group: events of groups that have no slot.
  private(set) var eventsByGroup: [[UInt64]]
  private var charged = 0
  /// Above every slot of a group, where it was chosen which has which.
  private let chosenSlots: Int?

  /// Per cell, the user who was met last in the day, 0: nobody. Rows go by user, so each user is met in one piece.
  private var lastUser: [[UInt32]]
  private var met = MetUsers()

  init(_ scan: EventScan) throws {
    self.scan = scan
    let snapshot = scan.source.snapshot
    selectors = try scan.measures.map { measure in
      try EventSelector(
        measure.choice, asked: measure.asked, filters: scan.filters,
        drivers: measure.drivers, required: measure.required, traffic: scan.traffic, in: snapshot)
    }
    groups = scan.groups?.reader()
    chosenSlots = scan.slots.byGroup.map { Int(max($0.max() ?? -1, scan.slots.rest)) + 1 }
    allUsers = scan.measures.map { _ in [] }
    eventsByGroup = allUsers.map { _ in [] }
    lastUser = scan.measures.map { _ in [] }
  }

  func allUsers(_ measure: Int) -> [UserSet] { allUsers[measure] }

  func count(_ stretch: EventScan.Stretch) throws -> Part {
    var part = Part(
      measures: scan.measures.map { Counts(fields: $0.fields.map { _ in [] }) })
    var periodUsers: [[UserSet]] = scan.measures.map { _ in [] }
    for number in stretch.days {
      if try countFacts(number, stretch, &part, &periodUsers[0]) { continue }
      if try countRuns(number, stretch, &part, &periodUsers[0]) { continue }
      let rare = try rare(number)
      let day = try rare ?? scan.source.load(number).withRowContexts
      let cells = CellOfTime(
        day, end: scan.source.begin(of: number + 1), Array(scan.periods[stretch.periods]))
      let selections = try selectors.map {
        try $0.select(day, scan.source, isPart: rare != nil, explains: selectors.count > 1)
      }
      part.tally.merge(tally(selections, day))
      for (index, selection) in selections.enumerated() {
        try count(
          selection.rows, day, nil, cells, index, stretch, &part, &periodUsers[index])
      }
      try scan.groups?.check()
      try charge(periodUsers)
    }
    if stretch.days.count > 1 {
      for index in part.measures.indices {
        part.measures[index].users = periodUsers[index].map { UInt32($0.count) }
      }
    }
    for measure in part.measures.indices {
      for field in part.measures[measure].fields.indices {
        for cell in part.measures[measure].fields[field].indices {
          part.measures[measure].fields[field][cell].sample.settle()
        }
      }
    }
    try scan.control.charge(
      part.measures.reduce(0) { $0 + $1.byteCount }, for: "the values of each group")
    return part
  }

  /// Of several measures, a row that one of them counts is counted, whatever the others leave out.
  private func tally(_ selections: [EventSelector.Selection], _ day: DayColumns) -> EventTally {
    if selections.count == 1 { return selections[0].tally }
    var tally = EventTally()
    var isNoted = [Bool](repeating: false, count: day.count)
    func note(_ rows: [UInt32], _ body: (UInt32) -> Void) {
      for row in rows where !isNoted[Int(row)] {
        isNoted[Int(row)] = true
        body(row)
      }
    }
    for selection in selections { note(selection.rows) { _ in tally.read += 1 } }
    for selection in selections {
      note(selection.looked) { _ in tally.excluded[.filter, default: 0] += 1 }
      note(selection.uncounted) { row in
        guard let reason = selectors[0].reason(day, row) else { return }
        tally.excluded[reason, default: 0] += 1
      }
    }
    return tally
  }

  private func charge(_ periodUsers: [[UserSet]]) throws {
    var bytes = eventsByGroup.reduce(0) { $0 + $1.count * 8 }
    for sets in allUsers + periodUsers { for set in sets { bytes += set.byteCount + 40 } }
    try scan.control.charge(bytes - charged, for: "the users of each group")
    charged = bytes
  }

  // MARK: One day

  private func rare(_ number: Int32) throws -> DayColumns? {
    scan.isOfRuns || selectors.count > 1 ? nil : try selectors[0].part(number, scan.source)
  }

  /// Runs of a whole day instead of its rows, where nothing but users and contexts is asked of them.
  private func countRuns(
    _ number: Int32, _ stretch: EventScan.Stretch, _ part: inout Part,
    _ periodUsers: inout [UserSet]
  ) throws -> Bool {
    guard scan.isOfRuns, stretch.periods.count == 1,
      scan.periods[stretch.periods.lowerBound].holds(number, of: scan.source),
      let runs = try selectors[0].runs(number, scan.source)
    else { return false }
    let rows = try selectors[0].select(runs.day, scan.source, isPart: true).rows
    let events = rows.reduce(0) { $0 &+ Int(runs.counts[Int($1)]) }
    part.tally.read += UInt64(events)
    if events < runs.total { part.tally.excluded[.filter, default: 0] += UInt64(runs.total - events) }
    try count(rows, runs.day, runs.counts, .wholeDay, 0, stretch, &part, &periodUsers)
    try scan.groups?.check()
    try charge([periodUsers])
    return true
  }

  /// Every event of a whole day: what is known of the day says it, unless some event that counts is passive.
  private func countFacts(
    _ number: Int32, _ stretch: EventScan.Stretch, _ part: inout Part,
    _ periodUsers: inout [UserSet]
  ) throws -> Bool {
    guard scan.isOfFacts, stretch.periods.count == 1,
      scan.periods[stretch.periods.lowerBound].holds(number, of: scan.source)
    else { return false }
    let facts = try scan.source.facts(number)
    let events = scan.traffic.eventsByActivity(facts.flagCounts)
    guard events.passive == 0 else { return false }
    part.tally.add(flagCounts: facts.flagCounts, scan.traffic)
    guard events.active > 0 else { return true }
    part.slotCount = 1
    part.measures[0].grow(1)
    part.measures[0].events[0] += UInt64(events.active)
    guard scan.measures[0].countsUsers else { return true }
    let users = facts.active(scan.traffic.classes)
    grow(&allUsers[0], 1)
    users.withUnsafeBufferPointer { allUsers[0][0].insert($0) }
    if stretch.days.count == 1 {
      part.measures[0].users[0] = UInt32(users.count)
    } else {
      grow(&periodUsers, 1)
      users.withUnsafeBufferPointer { periodUsers[0].insert($0) }
    }
    try charge([])
    return true
  }

  /// - Parameter weights: events of each row; nil: one.
  private func count(
    _ rows: [UInt32], _ day: DayColumns, _ weights: [UInt32]?, _ cells: CellOfTime, _ index: Int,
    _ stretch: EventScan.Stretch, _ part: inout Part, _ periodUsers: inout [UserSet]
  ) throws {
    if rows.isEmpty { return }
    var places = slots(rows, day, weights, index)
    let slotCount = slotCount
    part.slotCount = max(part.slotCount, slotCount)
    let width = stretch.periods.count
    if !cells.isWholeDay { cells.spread(&places, rows, day, width: width) }
    part.measures[index].grow(slotCount * width)
    let isOneDay = stretch.days.count == 1
    if scan.measures[index].countsUsers {
      countWithUsers(
        rows, places, day, weights, index, width, &part.measures[index], isOneDay, &periodUsers)
    } else if let weights {
      part.measures[index].addEvents(rows, places, weights)
    } else {
      part.measures[index].addEvents(places)
    }
    for (field, measured) in scan.measures[index].fields.enumerated() {
      measured.values.addUp(
        rows, places, day, measured.needs, into: &part.measures[index].fields[field])
    }
  }

  /// Above every slot that a row of the days so far has.
  private var slotCount: Int {
    guard let groups = scan.groups else { return 1 }
    return chosenSlots ?? min(groups.count, scan.slots.count)
  }

  /// The slot of each row, -1 where it has none; notes each group's events.
  private func slots(
    _ rows: [UInt32], _ day: DayColumns, _ weights: [UInt32]?, _ index: Int
  ) -> [Int32] {
    guard let groups else { return Array(repeating: 0, count: rows.count) }
    var numbers = groups.read(rows, day)
    if let byGroup = scan.slots.byGroup {
      for place in numbers.indices {
        let group = Int(numbers[place])
        numbers[place] = group < byGroup.count ? byGroup[group] : scan.slots.rest
      }
      return numbers
    }
    guard let all = scan.groups?.count, all > scan.slots.count,
      let highest = numbers.max(), highest >= scan.slots.count
    else { return numbers }
    eventsByGroup[index].grow(Int(highest) + 1)
    for place in numbers.indices where numbers[place] >= scan.slots.count {
      eventsByGroup[index][Int(numbers[place])] += weights.map { UInt64($0[Int(rows[place])]) } ?? 1
      numbers[place] = scan.slots.rest
    }
    return numbers
  }

  private func countWithUsers(
    _ rows: [UInt32], _ places: [Int32], _ day: DayColumns, _ weights: [UInt32]?, _ index: Int,
    _ width: Int, _ counts: inout Counts, _ isOneDay: Bool, _ periodUsers: inout [UserSet]
  ) {
    let slotCount = counts.events.count / width
    grow(&allUsers[index], slotCount)
    if !isOneDay { grow(&periodUsers, slotCount) }
    // Taken out, so that each is one buffer of its own in the loop.
    var last = lastUser[index]
    (lastUser[index], met.count) = ([], 0)
    last.removeAll(keepingCapacity: true)
    last += repeatElement(0, count: counts.events.count)
    met.makeRoom(rows.count)
    counts.count(rows, places, day, weights, &last, &met)
    lastUser[index] = last
    met.forEachSlot(slotCount, width: width) { slot, users in
      allUsers[index][slot].insert(users)
      if !isOneDay { periodUsers[slot].insert(users) }
    }
  }

  private func grow(_ sets: inout [UserSet], _ count: Int) {
    while sets.count < count {
      sets.append(UserSet(userCount: scan.source.snapshot.userCount))
    }
  }
}

/// Which users of a day were met in which places. Keeps its memory from day to day.
private struct MetUsers {
  var count = 0
  private var places: [UInt32] = []
  private var users: [UInt32] = []
  private var bySlot: [UInt32] = []

  mutating func makeRoom(_ count: Int) {
    guard places.count <= count else { return }
    places = Array(repeating: 0, count: count + 1)
    users = places
    bySlot = places
  }

  mutating func withPointers<Result>(
    _ body: (UnsafeMutableBufferPointer<UInt32>, UnsafeMutableBufferPointer<UInt32>) -> Result
  ) -> Result {
    places.withUnsafeMutableBufferPointer { places in
      users.withUnsafeMutableBufferPointer { users in body(places, users) }
    }
  }

  /// Calls `body` for each slot that has users, with them: ascending, and one that is in several places of the slot several
  /// times.
  mutating func forEachSlot(
    _ slotCount: Int, width: Int, _ body: (Int, UnsafeBufferPointer<UInt32>) -> Void
  ) {
    guard count > 0 else { return }
    if slotCount == 1 {
      users.withUnsafeBufferPointer { body(0, UnsafeBufferPointer(rebasing: $0[..<count])) }
      return
    }
    if width > 1 { for index in 0..<count { places[index] /= UInt32(width) } }
    var ends = [Int](repeating: 0, count: slotCount + 1)
    places.withUnsafeBufferPointer { slots in
      for index in 0..<count { ends[Int(slots[index]) + 1] &+= 1 }
      for slot in 1...slotCount { ends[slot] += ends[slot - 1] }
      users.withUnsafeBufferPointer { users in
        ends.withUnsafeMutableBufferPointer { ends in
          bySlot.withUnsafeMutableBufferPointer { bySlot in
            for index in 0..<count {
              let slot = Int(slots[index])
              bySlot[ends[slot]] = users[index]
              ends[slot] &+= 1
            }
          }
        }
      }
    }
    bySlot.withUnsafeBufferPointer { users in
      for slot in 0..<slotCount {
        let range = (slot == 0 ? 0 : ends[slot - 1])..<ends[slot]
        if !range.isEmpty { body(slot, UnsafeBufferPointer(rebasing: users[range])) }
      }
    }
  }
}

extension EventWorker.Counts {
  fileprivate mutating func grow(_ count: Int) {
    let missing = count - events.count
    if missing <= 0 { return }
    events += repeatElement(0, count: missing)
    users += repeatElement(0, count: missing)
    for field in fields.indices { fields[field] += repeatElement(FieldCell(), count: missing) }
  }

  /// Counts each row in its place, and each user of the day once in a place.
  fileprivate mutating func count(
    _ rows: [UInt32], _ places: [Int32], _ day: DayColumns, _ weights: [UInt32]?,
    _ last: inout [UInt32], _ met: inout MetUsers
  ) {
    if let weights {
      weights.withUnsafeBufferPointer { weights in
        day.rowUsers.withUnsafeBufferPointer { users in
          count(rows, places, &last, &met, { UInt64(weights[Int($0)]) }, { users[Int($0)] })
        }
      }
    } else if day.rowUsers.isEmpty {
      day.withPointers { day in
        var position = 0
        var end = day.userEnds[0]
        count(rows, places, &last, &met, { _ in 1 }) { row in
          while end <= row {
            position &+= 1
            end = day.userEnds[position]
          }
          return day.users[position]
        }
      }
    } else {
      day.rowUsers.withUnsafeBufferPointer { users in
        count(rows, places, &last, &met, { _ in 1 }, { users[Int($0)] })
      }
    }
  }

  /// - Parameters:
  ///   - weight: events of a row.
  ///   - user: of a row; no user has the code 0. Asked for rows in their order.
  @inline(__always)
  private mutating func count(
    _ rows: [UInt32], _ places: [Int32], _ last: inout [UInt32], _ met: inout MetUsers,
    _ weight: (UInt32) -> UInt64, _ user: (UInt32) -> UInt32
  ) {
    met.count = rows.withUnsafeBufferPointer { rows in
      places.withUnsafeBufferPointer { places in
        last.withUnsafeMutableBufferPointer { last in
          events.withUnsafeMutableBufferPointer { events in
            users.withUnsafeMutableBufferPointer { users in
              met.withPointers { metPlaces, metUsers in
                var count = 0
                for index in 0..<rows.count {
                  let user = user(rows[index])
                  let place = Int(places[index])
                  if place < 0 { continue }
                  let isNew = last[place] == user ? 0 : 1
                  last[place] = user
                  events[place] &+= weight(rows[index])
                  users[place] &+= UInt32(isNew)
                  // Without a branch: overwritten by the next one unless it is new.
                  metPlaces[count] = UInt32(truncatingIfNeeded: place)
                  metUsers[count] = user
                  count &+= isNew
                }
                return count
              }
            }
          }
        }
      }
    }
  }

  fileprivate mutating func addEvents(_ rows: [UInt32], _ places: [Int32], _ weights: [UInt32]) {
    for (row, place) in zip(rows, places) where place >= 0 {
      events[Int(place)] &+= UInt64(weights[Int(row)])
    }
  }

  fileprivate mutating func addEvents(_ places: [Int32]) {
    events.withUnsafeMutableBufferPointer { events in
      for place in places where place >= 0 { events[Int(place)] &+= 1 }
    }
  }
}

extension Array where Element == UInt64 {
  /// Makes it so long at least.
  mutating func grow(_ count: Int) {
    if count > self.count { self += repeatElement(0, count: count - self.count) }
  }
}

/// Which of a stretch's periods a row belongs to.
struct CellOfTime {
  /// One period that holds the whole day.
  let isWholeDay: Bool
  /// By minute of the day, counted in elapsed time: the period, -1 outside of all.
  private var byMinute: [Int32] = []

  static let wholeDay = CellOfTime()

  private init() { isWholeDay = true }

  init(_ day: DayColumns, end: Int64, _ periods: [Period]) {
    isWholeDay =
      periods.count == 1 && periods[0].milliseconds.lowerBound <= day.beginMilliseconds
      && end <= periods[0].milliseconds.upperBound
    if isWholeDay { return }
    let minutes = Int((end - day.beginMilliseconds + 59_999) / 60_000)
    byMinute = Array(repeating: -1, count: minutes)
    for (index, period) in periods.enumerated() {
      // Periods begin on whole minutes: zones differ from UTC by such since long before there were mini programs.
      let begin = Int(period.milliseconds.lowerBound - day.beginMilliseconds) / 60_000
      let end = Int(period.milliseconds.upperBound - day.beginMilliseconds + 59_999) / 60_000
      for minute in max(begin, 0)..<max(begin, 0, min(end, minutes)) {
        byMinute[minute] = Int32(index)
      }
    }
  }

  /// Turns slots into cells: `slot * width + period`.
  func spread(_ slots: inout [Int32], _ rows: [UInt32], _ day: DayColumns, width: Int) {
    for index in slots.indices where slots[index] >= 0 {
      let period = byMinute[Int(day.time[Int(rows[index])]) / 60_000]
      slots[index] = period < 0 ? -1 : slots[index] * Int32(width) + period
    }
  }
}

extension Period {
  /// Whether it holds all of a day.
  fileprivate func holds(_ day: Int32, of source: DaySource) -> Bool {
    milliseconds.lowerBound <= source.begin(of: day)
      && source.begin(of: day + 1) <= milliseconds.upperBound
  }
}

extension TrafficChoice {
  /// Events that count, by whether they make their user active.
  fileprivate func eventsByActivity(_ flagCounts: [Int]) -> (active: Int, passive: Int) {
    let counted = countedByFlags
    var events = (active: 0, passive: 0)
    for flags in 0..<256 where counted[flags] && flagCounts[flags] > 0 {
      if RowFlags(rawValue: UInt8(flags)).isPassive {
        events.passive += flagCounts[flags]
      } else {
        events.active += flagCounts[flags]
      }
    }
    return events
  }
}
