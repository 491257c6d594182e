import Events
import Synchronization

/// Events that a series, a cohort or a condition speaks of: any of some names, with a filter.
package struct EventChoice: Sendable, Hashable {
  /// None: every event.
  package var events: [String]
  package var filter: FilterTree?

  package init(_ events: [String] = [], filter: FilterTree? = nil) {
    self.events = events
    self.filter = filter
  }

  /// - Parameters:
  ///   - asked: how the question calls the choice, for messages.
  ///   - names: how many names it may have.
  func check(asked: String, names: ClosedRange<Int>) throws(QueryError) {
    guard names.contains(events.count) else {
      throw .invalid(
        "\(asked).events",
        "\(events.count) given, must be \(names.lowerBound)-\(names.upperBound)")
    }
    try EventCodes.checkNames(events, asked: "\(asked).events")
  }
}

/// A choice made ready for an app: gives the rows of a day that it speaks of. Filters on the context are decided once per
/// context, the others for the rows in question only.
///
/// `@unchecked Sendable`: its filters remember what they decided, so one thread alone may use it at a time (`WorkerPool`).
final class EventSelector: @unchecked Sendable {
  /// Rows that match, and how many were looked at but left out, by reason.
  struct Selection {
    var rows: [UInt32] = []
    var tally = EventTally()
    /// Rows of traffic that counts before the filters, and rows of other traffic: where they were asked for.
    var looked: [UInt32] = []
    var uncounted: [UInt32] = []
  }

  /// By code of the event: 1 where it is named. nil: every event.
  private let named: [UInt8]?
  /// The same as a set.
  private let codes: Set<UInt32>
  /// Only rows that have one of these fields; empty: all.
  private let drivers: Set<UInt32>
  /// Only rows for which this holds are looked at.
  private let required: FilterProgram?
  private let filters: [FilterProgram]
  private let contextFilters: [FilterProgram]
  private let traffic: TrafficChoice
  private let counted: [UInt8]
  /// Columns that a scan must read.
  let fieldCodes: Set<UInt32>

  /// - Parameters:
  ///   - filters: all of them must match, besides the choice's own; with the names that messages call them by.
  ///   - drivers: fields of which a row must have one to be looked at; empty: rows need none.
  ///   - required: a context's field that a row must have to be looked at.
  init(
    _ choice: EventChoice, asked: String, filters others: [(tree: FilterTree, asked: String)] = [],
    drivers: Set<UInt32> = [], required: String? = nil, traffic: TrafficChoice,
    in snapshot: AppSnapshot
  ) throws(QueryError) {
    self.required = try required.map { field throws(QueryError) in
      try FilterProgram(.condition(FilterCondition(field, .exists)), in: snapshot)
    }
    let table = choice.events.isEmpty ? nil : Self.table(choice.events, snapshot)
    named = table
    codes = Set((table ?? []).enumerated().filter { $1 != 0 }.map { UInt32($0.offset) })
    self.drivers = drivers
    self.traffic = traffic
    counted = traffic.countedByFlags.map { $0 ? 1 : 0 }
    var filters: [FilterProgram] = []
    var contextFilters: [FilterProgram] = []
    let own = choice.filter.map { [(tree: $0, asked: "\(asked).filter")] } ?? []
    for (tree, asked) in others + own {
      let program = try FilterProgram(tree, in: snapshot, asked: asked)
      if try tree.isOfContext(snapshot) {
        contextFilters.append(program)
      } else {
        filters.append(program)
      }
    }
    self.filters = filters
    self.contextFilters = contextFilters
    fieldCodes = filters.reduce(drivers) { $0.union($1.fieldCodes) }
  }

  private static func table(_ events: [String], _ snapshot: AppSnapshot) -> [UInt8] {
    snapshot.app.tables.withLock { tables in
      var table = [UInt8](repeating: 0, count: tables[.events].count)
      for event in events {
        if let code = tables[.events].existing(event) { table[Int(code)] = 1 }
      }
      return table
    }
  }

  /// Of a day only the rows of the named events, where they are few; nil: the whole day is to be looked at.
  func part(_ day: Int32, _ source: DaySource) throws -> DayColumns? {
    named == nil ? nil : try source.part(day, of: codes)
  }

  /// The runs of a day that have the events, where all traffic of the day counts; nil: its rows must be looked at.
  func runs(_ day: Int32, _ source: DaySource) throws -> EventRuns? {
    guard let flagCounts = try source.sealedFlagCounts(day), isAllCounted(flagCounts) else { return nil }
    return try source.runs(of: named == nil ? nil : codes, named: named, day)
  }

  private func isAllCounted(_ flagCounts: [Int]) -> Bool {
    flagCounts.indices.allSatisfy { flagCounts[$0] == 0 || counted[$0] != 0 }
  }

  /// The rows of a day that match, ascending.
  ///
  /// - Parameters:
  ///   - source: from which the day is: it knows the rows of rare events.
  ///   - isPart: whether the day holds the rows of the named events only.
  ///   - explains: whether to give the rows that were looked at but left out, too.
  func select(
    _ day: DayColumns, _ source: DaySource, isPart: Bool = false, explains: Bool = false
  ) throws -> Selection {
    var (rows, looked) = try candidates(day, source, isPart: isPart)
    var selection = Selection()
    if looked != rows.count { noteUncounted(day, &selection, explains: explains) }
    if let required { keep(&rows, day, by: required) }
    if explains { selection.looked = rows }
    let before = rows.count
    for filter in contextFilters { filter.keep(&rows, day) }
    for filter in filters { keep(&rows, day, by: filter) }
    selection.tally.read = UInt64(rows.count)
    if before > rows.count { selection.tally.excluded[.filter] = UInt64(before - rows.count) }
    selection.rows = rows
    return selection
  }

  // MARK: Candidates

  /// Rows of the named events whose traffic counts, and how many there are of any traffic.
  private func candidates(
    _ day: DayColumns, _ source: DaySource, isPart: Bool
  ) throws -> (rows: [UInt32], looked: Int) {
    // As a rule all traffic of a day counts: nothing need be looked at then.
    let isAllCounted = try source.sealedFlagCounts(day.day).map(isAllCounted) ?? false
    guard drivers.isEmpty else { return driven(day, isAllCounted, isPart: isPart) }
    if isPart {
      let all: [UInt32] = .numbers(below: day.count)
      return (isAllCounted ? all : counting(all, day), all.count)
    }
    if named != nil, let rows = source.knownRows(of: codes, day.day) {
      return (isAllCounted ? rows : counting(rows, day), rows.count)
    }
    let (rows, looked) = scanned(day, isAllCounted)
    // Kept for the next question where they are few.
    if named != nil, looked <= day.count / Limits.rareEventShare {
      _ = try source.rows(of: codes, day.day)
    }
    return (rows, looked)
  }

  private func scanned(_ day: DayColumns, _ isAllCounted: Bool) -> (rows: [UInt32], looked: Int) {
    if isAllCounted, let named {
      let rows = [UInt32](unsafeUninitializedCapacity: day.count + 1) { rows, count in
        count = day.withPointers { $0.rows(0..<day.count, wanted: named, into: rows) }
      }
      return (rows, rows.count)
    }
    var looked = day.count
    let rows = [UInt32](unsafeUninitializedCapacity: day.count + 1) { rows, count in
      day.flags.withUnsafeBufferPointer { flags in
        counted.withUnsafeBufferPointer { counted in
          guard let named else {
            count = Self.compact(into: rows, flags, counted)
            return
          }
          named.withUnsafeBufferPointer { named in
            day.event.withUnsafeBufferPointer { events in
              (count, looked) = Self.compact(into: rows, flags, counted, events, named)
            }
          }
        }
      }
    }
    return (rows, looked)
  }

  /// Branch-free: a row that does not count is overwritten by the next one.
  private static func compact(
    into rows: UnsafeMutableBufferPointer<UInt32>, _ flags: UnsafeBufferPointer<UInt8>,
    _ counted: UnsafeBufferPointer<UInt8>
  ) -> Int {
    var kept = 0
    for row in 0..<flags.count {
      rows[kept] = UInt32(truncatingIfNeeded: row)
      kept &+= Int(counted[Int(flags[row])])
    }
    return kept
  }

  private static func compact<Code: FixedWidthInteger>(
    into rows: UnsafeMutableBufferPointer<UInt32>, _ flags: UnsafeBufferPointer<UInt8>,
    _ counted: UnsafeBufferPointer<UInt8>, _ events: UnsafeBufferPointer<Code>,
    _ named: UnsafeBufferPointer<UInt8>
  ) -> (kept: Int, looked: Int) {
    var kept = 0
    var looked = 0
    for row in 0..<flags.count {
      let isNamed = named[Int(events[row])]
      rows[kept] = UInt32(truncatingIfNeeded: row)
      looked &+= Int(isNamed)
      kept &+= Int(isNamed & counted[Int(flags[row])])
    }
    return (kept, looked)
  }

  /// Those of some rows whose traffic counts.
  private func counting(_ rows: [UInt32], _ day: DayColumns) -> [UInt32] {
    day.flags.withUnsafeBufferPointer { flags in
      counted.withUnsafeBufferPointer { counted in
        Self.compact(rows) { counted[Int(flags[Int($0)])] }
      }
    }
  }

  /// The same, looking only at rows that have one of the fields: few as a rule.
  private func driven(
    _ day: DayColumns, _ isAllCounted: Bool, isPart: Bool
  ) -> (rows: [UInt32], looked: Int) {
    var rows = drivenRows(day)
    if let named, !isPart {
      rows = day.event.withUnsafeBufferPointer { events in
        named.withUnsafeBufferPointer { named in
          Self.compact(rows) { named[Int(events[Int($0)])] }
        }
      }
    }
    return (isAllCounted ? rows : counting(rows, day), rows.count)
  }

  /// The rows for which `holds` gives 1. Without a branch.
  @inline(__always)
  private static func compact(_ rows: [UInt32], _ holds: (UInt32) -> UInt8) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: rows.count + 1) { kept, filled in
      filled = rows.withUnsafeBufferPointer { rows in
        var count = 0
        for row in rows {
          kept[count] = row
          count &+= Int(holds(row))
        }
        return count
      }
    }
  }

  private func drivenRows(_ day: DayColumns) -> [UInt32] {
    let columns = drivers.compactMap { day.fields[$0]?.rows }
    if columns.count == 1 { return columns[0] }
    return Set(columns.joined()).sorted()
  }

  /// Looked at, but of traffic that does not count: rare, so a pass of its own.
  private func noteUncounted(
    _ day: DayColumns, _ selection: inout Selection, explains: Bool
  ) {
    let all: [UInt32] = drivers.isEmpty ? .numbers(below: day.count) : drivenRows(day)
    var rows = all.filter { row in
      counted[Int(day.flags[Int(row)])] == 0
        && named.map { $0[Int(day.event[Int(row)])] != 0 } ?? true
    }
    if let required { keep(&rows, day, by: required) }
    for row in rows {
      guard let reason = reason(day, row) else { continue }
      selection.tally.excluded[reason, default: 0] += 1
    }
    if explains { selection.uncounted = rows }
  }

  /// Why a row's traffic does not count; nil: it does.
  func reason(_ day: DayColumns, _ row: UInt32) -> OmissionReason? {
    traffic.exclusion(RowFlags(rawValue: day.flags[Int(row)]).traffic)
  }

  // MARK: Filters

  private func keep(_ rows: inout [UInt32], _ day: DayColumns, by filter: FilterProgram) {
    if rows.isEmpty { return }
    let isSparse = rows.count * 2 < day.count
    let mask = filter.mask(isSparse ? day.part(rows, fields: filter.fieldCodes) : day)
    var kept = 0
    for (index, row) in rows.enumerated() where mask[isSparse ? index : Int(row)] != 0 {
      rows[kept] = row
      kept += 1
    }
    rows.removeLast(rows.count - kept)
  }
}

extension FilterTree {
  /// Whether the context alone decides it.
  func isOfContext(_ snapshot: AppSnapshot) throws(QueryError) -> Bool {
    switch self {
    case .and(let parts), .or(let parts):
      for part in parts where try !part.isOfContext(snapshot) { return false }
      return true
    case .not(let part): return try part.isOfContext(snapshot)
    case .condition(let condition):
      return try FieldSource(condition.field, in: snapshot, asked: "filter").isOfContext
    }
  }
}

extension FieldSource {
  var isOfContext: Bool {
    switch self {
    case .context, .source: true
    case .event, .page, .user, .releaseChannel, .fields: false
    }
  }
}

extension DayColumns {
  /// Only these rows, ascending, with these fields.
  func part(_ rows: [UInt32], fields wanted: Set<UInt32>) -> DayColumns {
    var part = DayColumns(day: day, beginMilliseconds: beginMilliseconds)
    part.takeContexts(of: self)
    part.exclusion = exclusion
    part.has = has.subtracting(.contextRuns)
    if has.contains(.contextRuns), !has.contains(.context) {
      part.context = contextRuns.contexts(of: rows)
      part.has.insert(.context)
    }
    if has.contains(.time) { part.time = rows.map { time[Int($0)] } }
    if has.contains(.event) { part.event = rows.map { event[Int($0)] } }
    if has.contains(.page) { part.page = rows.map { page[Int($0)] } }
    if has.contains(.context) { part.context = rows.map { context[Int($0)] } }
    part.flags = rows.map { flags[Int($0)] }
    part.setUsers(of: self, rows)
    for field in wanted {
      guard let column = fields[field] else { continue }
      part.fields[field] = column.part(rows)
    }
    return part
  }

  private mutating func setUsers(of whole: DayColumns, _ rows: [UInt32]) {
    rowUsers.reserveCapacity(rows.count)
    var position = 0
    for (index, row) in rows.enumerated() {
      while whole.userEnds[position] <= row { position += 1 }
      if users.last != whole.users[position] {
        users.append(whole.users[position])
        userEnds.append(0)
      }
      userEnds[userEnds.count - 1] = UInt32(index + 1)
      rowUsers.append(whole.users[position])
    }
  }
}

extension FieldColumn {
  /// Of these rows, ascending, under their positions among them.
  func part(_ wanted: [UInt32]) -> FieldColumn {
    var part = FieldColumn()
    forEach(in: wanted) { index, value in
      part.rows.append(UInt32(index))
      part.values.append(value)
    }
    return part
  }

  /// Calls `body` with the position and the value of each of these rows, ascending, that has the field. The shorter of the two
  /// lists leads; in the other the place is searched where it is far longer.
  @inline(__always)
  func forEach(in wanted: [UInt32], _ body: (Int, UInt64) -> Void) {
    rows.withUnsafeBufferPointer { rows in
      values.withUnsafeBufferPointer { values in
        wanted.withUnsafeBufferPointer { wanted in
          var index = 0
          for place in 0..<rows.count {
            let row = rows[place]
            if index < wanted.count, wanted[index] < row {
              index = Self.advance(wanted, from: index, to: row)
            }
            if index == wanted.count { return }
            if wanted[index] == row {
              body(index, values[place])
              index += 1
            }
          }
        }
      }
    }
  }

  /// The first position from `index` on whose row is not below another: by doubling steps, then halving.
  ///
  /// - Precondition: `rows[index]` is below it.
  private static func advance(
    _ rows: UnsafeBufferPointer<UInt32>, from index: Int, to row: UInt32
  ) -> Int {
    var low = index
    var step = 1
    while low + step < rows.count, rows[low + step] < row {
      low += step
      step *= 2
    }
    var high = min(low + step, rows.count)
    // rows[low] < row, and high is the end or not below it.
    while low + 1 < high {
      let middle = (low + high) / 2
      if rows[middle] < row { low = middle } else { high = middle }
    }
    return high
  }
}
