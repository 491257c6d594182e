import Events

struct TrendCounts: WalkSummary {
  private var cells: [TrendMetrics] = []
  /// By series: users active before the range.
  private(set) var before: [UInt64] = []
  /// Those that were wanted, in any order.
  private(set) var users: [UInt32] = []
  /// By period: the latest event of the opens that begin in it, 0 where there are none.
  private var lastOfOpens: [Int64] = []

  init() {}

  init(_ cells: [TrendMetrics], before: [UInt64], users: [UInt32], lastOfOpens: [Int64]) {
    self.cells = cells
    self.lastOfOpens = lastOfOpens
    self.before = before
    self.users = users
  }

  func metrics(_ count: Int) -> [TrendMetrics] {
    cells.isEmpty ? Array(repeating: TrendMetrics(), count: count) : cells
  }

  func lastOfOpens(_ count: Int) -> [Int64] {
    lastOfOpens.isEmpty ? Array(repeating: 0, count: count) : lastOfOpens
  }

  mutating func merge(_ other: TrendCounts) {
    users += other.users
    if lastOfOpens.isEmpty {
      lastOfOpens = other.lastOfOpens
    } else {
      for (period, last) in other.lastOfOpens.enumerated() {
        lastOfOpens[period] = max(lastOfOpens[period], last)
      }
    }
    if cells.isEmpty {
      cells = other.cells
    } else {
      for (index, cell) in other.cells.enumerated() { cells[index].add(cell) }
    }
    if before.isEmpty {
      before = other.before
    } else {
      for (index, users) in other.before.enumerated() { before[index] += users }
    }
  }
}

extension TrendMetrics {
  /// Adds what was counted of other users.
  mutating func add(_ other: TrendMetrics) {
    visitTotal += other.visitTotal
    sessionCount += other.sessionCount
    visitPageViews += other.visitPageViews
    visitUsers += other.visitUsers
    visitNewUsers += other.visitNewUsers
    sharePageViews += other.sharePageViews
    shareUsers += other.shareUsers
    stayMilliseconds += other.stayMilliseconds
    depth += other.depth
    eventCount += other.eventCount
  }
}

/// Which users of a trend are listed: those behind one of its numbers.
package struct TrendWanted: Sendable {
  package enum Kind: Sendable, CaseIterable {
    case visitTotal, visitUsers, visitNewUsers, shareUsers
  }

  let kind: Kind
  let period: Int
  let series: Int
}

/// Counts the cells of a trend for a block of users. `visitTotal` of a cell: users who came in it for the first time.
struct TrendVisitor: OpenVisitor {
  struct Open {
    /// Where it counts; -1: nowhere.
    var cell = -1
    var series = 0
    /// ms.
    var stay: Int64 = 0
    var pages = PageSet()
  }

  static var noOpen: Open { Open() }
  static var noVisit: Void { () }

  static func bytesPerUser(_ seriesCount: Int) -> Int { seriesCount * 8 + 8 }

  private let base: UInt32
  private let seriesCount: Int
  private let wanted: TrendWanted?
  private var users: [UInt32] = []
  private let periods: PeriodTable
  private let firstActive: [Int64]

  /// By user and series: the latest period in which the user was active, plus 1; 0: never yet; -1: before the range.
  private let activePeriods: Scratch<Int32>
  /// The same of shares.
  private let sharePeriods: Scratch<Int32>
  private var cells: Scratch<TrendMetrics>?
  private var lastOfOpens: Scratch<Int64>?
  private var cellPointer: UnsafeMutablePointer<TrendMetrics>?
  private var before: [UInt64] = []

  private var largePages = LargePageSets()
  private var day = WalkedDay.none
  private var test = RowTest.nothing
  private var values: RowValues.Look?
  private var firstPeriod = 0
  private var isInRange = false

  /// Of the user and the period that the walk is at. Of the whole, what a user did is added up first; of a series each
  /// event is counted by itself.
  private var user = 0
  private var period = 0
  private var periodEnd: Int64 = 0
  private var events: UInt64 = 0
  private var views: UInt64 = 0
  private var shares: UInt64 = 0
  private var isActive = false

  init(
    _ users: Range<UInt32>, seriesCount: Int, periods: PeriodTable, firstActive: [Int64],
    wanted: TrendWanted?
  ) {
    base = users.lowerBound
    self.seriesCount = seriesCount
    self.wanted = wanted
    self.periods = periods
    self.firstActive = firstActive
    activePeriods = Scratch(repeating: 0, count: users.count * seriesCount)
    sharePeriods = Scratch(repeating: 0, count: users.count * seriesCount)
  }

  // MARK: Days and users

  mutating func enter(_ day: WalkedDay, _ marks: DayMarks) {
    self.day = day
    test = marks.test
    values = marks.values?.look
    isInRange = day.isInRange
    if isInRange { firstPeriod = periods.first(ofDay: day.number) }
    if before.isEmpty { before = Array(repeating: 0, count: seriesCount) }
  }

  /// The cells that are counted into: made when they are first needed.
  @inline(__always)
  private mutating func table() -> UnsafeMutablePointer<TrendMetrics> {
    if let cellPointer { return cellPointer }
    let made = Scratch(repeating: TrendMetrics(), count: periods.ranges.count * seriesCount)
    cells = made
    lastOfOpens = Scratch(repeating: 0, count: periods.ranges.count)
    cellPointer = made.pointer
    return made.pointer
  }

  mutating func enter(user: UInt32, _ rows: Range<Int>) {
    self.user = Int(user - base)
    period = firstPeriod
    periodEnd = periods.ranges.pointer[firstPeriod].end
  }

  mutating func leaveUser() { if events > 0 { flush() } }

  mutating func takeSummary() -> TrendCounts {
    defer {
      cells = nil
      lastOfOpens = nil
      cellPointer = nil
      before = []
      users = []
    }
    return TrendCounts(
      cells?.values ?? [], before: before, users: users, lastOfOpens: lastOfOpens?.values ?? [])
  }

  // MARK: Events

  @inline(__always)
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {
    if isInRange { count(row, code, at: time, isActive: true) }
  }

  mutating func passive(_ row: Int) {
    count(row, day.event(row), at: day.time(row), isActive: false)
  }

  @inline(__always)
  private mutating func count(_ row: Int, _ code: Int, at time: Int64, isActive: Bool) {
    guard test.holds(row, day) else { return }
    if time >= periodEnd { move(to: time) }
    events += 1
    if code == WalkedDay.pageView { views += 1 }
    if code == WalkedDay.share { shares += 1 }
    self.isActive = self.isActive || isActive
    if let values {
      let series = values(row, day)
      if series > 0 { add(series, code, isActive: isActive) }
    }
  }

  private mutating func move(to time: Int64) {
    if events > 0 { flush() }
    period = periods.find(time, from: period)
    periodEnd = periods.ranges.pointer[period].end
  }

  private mutating func flush() {
    let cell = table() + period * seriesCount
    cell.pointee.eventCount += events
    cell.pointee.visitPageViews += views
    cell.pointee.sharePageViews += shares
    if shares > 0 { noteShare(0, cell) }
    if isActive { noteActive(0, cell) }
    events = 0
    views = 0
    shares = 0
    isActive = false
  }

  private mutating func add(_ series: Int, _ code: Int, isActive: Bool) {
    let cell = table() + (period * seriesCount + series)
    cell.pointee.eventCount += 1
    if code == WalkedDay.pageView { cell.pointee.visitPageViews += 1 }
    if code == WalkedDay.share {
      cell.pointee.sharePageViews += 1
      noteShare(series, cell)
    }
    if isActive { noteActive(series, cell) }
  }

  @inline(__always)
  private mutating func noteShare(_ series: Int, _ cell: UnsafeMutablePointer<TrendMetrics>) {
    let latest = sharePeriods.pointer + (user * seriesCount + series)
    if latest.pointee == Int32(period + 1) { return }
    latest.pointee = Int32(period + 1)
    cell.pointee.shareUsers += 1
    list(.shareUsers, series)
  }

  @inline(__always)
  private mutating func noteActive(_ series: Int, _ cell: UnsafeMutablePointer<TrendMetrics>) {
    let latest = activePeriods.pointer + (user * seriesCount + series)
    if latest.pointee == Int32(period + 1) { return }
    if latest.pointee == 0 {
      cell.pointee.visitTotal += 1
      listTotal(series, period)
    }
    latest.pointee = Int32(period + 1)
    cell.pointee.visitUsers += 1
    list(.visitUsers, series)
    let range = periods.ranges.pointer[period]
    let first = firstActive[user]
    if first >= range.begin && first < range.end {
      cell.pointee.visitNewUsers += 1
      list(.visitNewUsers, series)
    }
  }

  private mutating func list(_ kind: TrendWanted.Kind, _ series: Int) {
    guard let wanted, wanted.kind == kind, wanted.series == series, wanted.period == period else {
      return
    }
    users.append(base + UInt32(user))
  }

  /// - Parameter period: in which the user came for the first time; -1: before the range.
  private mutating func listTotal(_ series: Int, _ period: Int) {
    guard let wanted, wanted.kind == .visitTotal, wanted.series == series, period <= wanted.period
    else { return }
    users.append(base + UInt32(user))
  }

  mutating func history(_ row: Int) {
    guard test.holds(row, day), !day.isPassive(row) else { return }
    noteBefore(0)
    if let series = values?(row, day), series > 0 { noteBefore(series) }
  }

  private mutating func noteBefore(_ series: Int) {
    let latest = activePeriods.pointer + (user * seriesCount + series)
    guard latest.pointee == 0 else { return }
    latest.pointee = -1
    before[series] += 1
    listTotal(series, -1)
  }

  // MARK: Opens

  @inline(__always)
  mutating func begin(_ row: Int, at time: Int64) -> Open {
    guard isInRange, test.holds(row, day) else { return Open() }
    if time >= periodEnd { move(to: time) }
    return Open(cell: period * seriesCount, series: values.map { $0(row, day) } ?? 0)
  }

  @inline(__always)
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) {
    open.pages.insert(day.page(row), &largePages)
  }

  @inline(__always)
  mutating func stay(_ visit: Void, _ milliseconds: Int64, _ open: inout Open) {
    open.stay += milliseconds
  }

  @inline(__always)
  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd) {
    let pages = open.pages.finish(&largePages)
    guard open.cell >= 0 else { return }
    add(open, pages, to: table() + open.cell)
    if let lastOfOpens {
      let last = lastOfOpens.pointer + open.cell / seriesCount
      last.pointee = max(last.pointee, end.lastMilliseconds)
    }
    if open.series > 0 { add(open, pages, to: table() + (open.cell + open.series)) }
  }

  @inline(__always)
  private func add(_ open: Open, _ pages: Int, to cell: UnsafeMutablePointer<TrendMetrics>) {
    cell.pointee.sessionCount += 1
    cell.pointee.stayMilliseconds += open.stay
    cell.pointee.depth += UInt64(pages)
  }
}
