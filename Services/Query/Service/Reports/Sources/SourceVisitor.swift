import Events

struct SourceMarks: Sendable {
  let day: DayMarks
  /// By row: 1 where the event converts.
  let conversion: Scratch<UInt8>?
}

/// A user whose first active event ever began an open of a source.
struct NewUser: Sendable {
  let user: UInt32
  let day: Int32
  let series: Int32
}

struct SourceCounts: WalkSummary {
  /// By period and series; period 0 is the whole range, series 0 are all sources.
  private var cells: [SourceMetrics] = []
  /// In any order.
  private(set) var newUsers: [NewUser] = []
  /// Those that were wanted, in any order.
  private(set) var users: [UInt32] = []

  init() {}

  init(_ cells: [SourceMetrics], newUsers: [NewUser], users: [UInt32]) {
    self.cells = cells
    self.newUsers = newUsers
    self.users = users
  }

  func cell(_ period: Int, _ series: Int, _ seriesCount: Int) -> SourceMetrics {
    cells.isEmpty ? SourceMetrics() : cells[period * seriesCount + series]
  }

  mutating func merge(_ other: SourceCounts) {
    newUsers += other.newUsers
    users += other.users
    if cells.isEmpty {
      cells = other.cells
    } else {
      for (index, cell) in other.cells.enumerated() { cells[index].add(cell) }
    }
  }
}

/// Counts the opens of each source, what was done in them, and their users, by period.
struct SourceVisitor: OpenVisitor {
  struct Open {
    /// Its period, from 1 on, 0: there are no periods. -1: the open does not count.
    var period = -1
    var series = 0
    var views = 0
    /// Views whose traffic counts.
    var countedViews = 0
    /// ms.
    var stay: Int64 = 0
    var isConverted = false
  }

  struct Wanted: Sendable {
    let kind: SourceUsers
    /// 0: the whole range.
    let period: Int
    let series: Int
  }

  struct Configuration: Sendable {
    let seriesCount: Int
    let periods: PeriodTable?
    let listsNewUsers: Bool
    let wanted: Wanted?
  }

  static var noOpen: Open { Open() }
  static var noVisit: Void { () }

  static func bytesPerUser(_ seriesCount: Int) -> Int { seriesCount * 8 + 8 }

  private let base: UInt32
  private let configuration: Configuration
  private let seriesCount: Int
  private let firstActive: [Int64]
  /// By user and series: the latest period with an open, plus 1; 0: none yet.
  private let visited: Scratch<Int32>
  /// The same of opens with a conversion.
  private let converted: Scratch<Int32>
  private var cells: Scratch<SourceMetrics>?
  private var newUsers: [NewUser] = []
  private var users: [UInt32] = []

  private var day = WalkedDay.none
  private var test = RowTest.nothing
  private var values: RowValues.Look?
  private var conversion: UnsafeMutablePointer<UInt8>?
  private var user: UInt32 = 0
  private var firstRow = 0

  init(_ users: Range<UInt32>, _ configuration: Configuration, _ firstActive: [Int64]) {
    base = users.lowerBound
    self.configuration = configuration
    self.firstActive = firstActive
    seriesCount = configuration.seriesCount
    visited = Scratch(repeating: 0, count: users.count * configuration.seriesCount)
    converted = Scratch(repeating: 0, count: users.count * configuration.seriesCount)
  }

  mutating func enter(_ day: WalkedDay, _ marks: SourceMarks) {
    self.day = day
    test = marks.day.test
    values = marks.day.values?.look
    conversion = marks.conversion?.pointer
  }

  /// The cells that are counted into: made when they are first needed.
  @inline(__always)
  private mutating func table() -> UnsafeMutablePointer<SourceMetrics> {
    if let cells { return cells.pointer }
    let periods = (configuration.periods?.ranges.count ?? 0) + 1
    let made = Scratch(repeating: SourceMetrics(), count: periods * seriesCount)
    cells = made
    return made.pointer
  }

  mutating func enter(user: UInt32, _ rows: Range<Int>) {
    self.user = user
    firstRow = rows.lowerBound
  }

  mutating func takeSummary() -> SourceCounts {
    defer {
      cells = nil
      newUsers = []
      users = []
    }
    return SourceCounts(cells?.values ?? [], newUsers: newUsers, users: users)
  }

  // MARK: Opens

  mutating func begin(_ row: Int, at time: Int64) -> Open {
    guard day.isInRange, test.holds(row, day) else { return Open() }
    var open = Open()
    open.period = 0
    if let periods = configuration.periods {
      let period = periods.find(time, from: periods.first(ofDay: day.number))
      // A list of users may be of an hour alone.
      if periods.ranges.pointer[period].begin <= time, time < periods.ranges.pointer[period].end {
        open.period = period + 1
      }
    }
    open.series = values?(row, day) ?? 0
    let isNew = isFirstActive(row, time)
    note(open, 0, isNew: isNew)
    if open.series > 0 { note(open, open.series, isNew: isNew) }
    if isNew, configuration.listsNewUsers {
      newUsers.append(NewUser(user: user, day: day.number, series: Int32(open.series)))
    }
    return open
  }

  /// Whether the event is the user's first active one ever: of several at one time, the first that counts.
  private func isFirstActive(_ row: Int, _ time: Int64) -> Bool {
    guard firstActive[Int(user - base)] == time else { return false }
    var before = row - 1
    while before >= firstRow, day.time(before) == time {
      if test.counts(before, day), !day.isPassive(before) { return false }
      before -= 1
    }
    return true
  }

  /// Counts the user of an open that begins.
  private mutating func note(_ open: Open, _ series: Int, isNew: Bool) {
    let cells = table()
    let latest = visited.pointer + (Int(user - base) * seriesCount + series)
    let (isFirst, isFirstOfPeriod) = (latest.pointee == 0, latest.pointee != Int32(open.period + 1))
    latest.pointee = Int32(open.period + 1)
    if isFirst {
      cells[series].visitUsers += 1
      list(.active, 0, series)
    }
    if isNew {
      cells[series].visitNewUsers += 1
      list(.new, 0, series)
    }
    guard open.period > 0 else { return }
    let cell = cells + (open.period * seriesCount + series)
    if isFirstOfPeriod {
      cell.pointee.visitUsers += 1
      list(.active, open.period, series)
    }
    if isNew {
      cell.pointee.visitNewUsers += 1
      list(.new, open.period, series)
    }
  }

  private mutating func list(_ kind: SourceUsers, _ period: Int, _ series: Int) {
    guard let wanted = configuration.wanted, wanted.kind == kind, wanted.period == period,
      wanted.series == series
    else { return }
    users.append(user)
  }

  @inline(__always)
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) {
    open.views += 1
    if test.counts(row, day) { open.countedViews += 1 }
  }

  @inline(__always)
  mutating func stay(_ visit: Void, _ milliseconds: Int64, _ open: inout Open) {
    open.stay += milliseconds
  }

  @inline(__always)
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {
    guard let conversion, conversion[row] != 0, test.counts(row, day) else { return }
    open.isConverted = true
  }

  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd) {
    guard open.period >= 0 else { return }
    add(open, user, 0)
    if open.series > 0 { add(open, user, open.series) }
  }

  private mutating func add(_ open: Open, _ user: UInt32, _ series: Int) {
    let cells = table()
    add(open, to: cells + series)
    if open.period > 0 { add(open, to: cells + (open.period * seriesCount + series)) }
    if open.isConverted { convert(open, user, series, cells) }
  }

  private func add(_ open: Open, to cell: UnsafeMutablePointer<SourceMetrics>) {
    cell.pointee.sessionCount += 1
    cell.pointee.pageViews += UInt64(open.countedViews)
    cell.pointee.stayMilliseconds += open.stay
    if open.views == 1 { cell.pointee.bounces += 1 }
  }

  /// Opens end in the order in which they begin, so their periods ascend.
  private mutating func convert(
    _ open: Open, _ user: UInt32, _ series: Int, _ cells: UnsafeMutablePointer<SourceMetrics>
  ) {
    self.user = user
    let latest = converted.pointer + (Int(user - base) * seriesCount + series)
    let (isFirst, isFirstOfPeriod) = (latest.pointee == 0, latest.pointee != Int32(open.period + 1))
    latest.pointee = Int32(open.period + 1)
    if isFirst {
      cells[series].conversionUsers += 1
      list(.converted, 0, series)
    }
    if open.period > 0, isFirstOfPeriod {
      cells[open.period * seriesCount + series].conversionUsers += 1
      list(.converted, open.period, series)
    }
  }
}
