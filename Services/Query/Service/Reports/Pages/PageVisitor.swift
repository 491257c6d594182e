import Events

struct PageCounts: WalkSummary {
  /// By code.
  private(set) var pages: [PageMetrics] = []
  private(set) var total = PageMetrics()
  /// Those that were wanted, in any order.
  private(set) var users: [UInt32] = []

  init() {}

  init(pages: [PageMetrics], total: PageMetrics, users: [UInt32]) {
    self.pages = pages
    self.total = total
    self.users = users
    for (code, page) in pages.enumerated() {
      self.pages[code].bounceable = page.entries
      self.total.visits += page.visits
      self.total.stayMilliseconds += page.stayMilliseconds
      self.total.entries += page.entries
      self.total.exits += page.exits
      self.total.shares += page.shares
      self.total.bounces += page.bounces
    }
  }

  mutating func merge(_ other: PageCounts) {
    total.add(other.total)
    users += other.users
    if pages.isEmpty {
      pages = other.pages
    } else {
      for (code, page) in other.pages.enumerated() { pages[code].add(page) }
    }
  }
}

/// Counts the page visits, shares, entries and exits of a range, by page.
struct PageVisitor: OpenVisitor {
  struct Open {
    var counts = false
    var entry = 0
    var exit = 0
    var views = 0
  }

  /// Whose users are listed. page nil: all pages together.
  struct Wanted: Sendable, Equatable {
    let kind: PageUsers
    let page: Int?
  }

  static var noOpen: Open { Open() }
  static var noVisit: Int { -1 }

  /// More than this many pages are not worth a bit for each user.
  private static let densePagesMax = 1 << 12
  private static let sparseBytesPerUser = 256

  static func bytesPerUser(_ pageCodes: Int) -> Int {
    (pageCodes <= densePagesMax ? (pageCodes + 63) / 64 * 8 : sparseBytesPerUser) + 32
  }

  private let base: UInt32
  private let userCount: Int
  private let pageCodes: Int
  private let wanted: Wanted?
  private let wordsPerUser: Int
  /// By user and page: whether it was visited. Empty where there are too many pages for that.
  private let visited: Scratch<UInt64>
  private let visitedPointer: UnsafeMutablePointer<UInt64>
  private var sparseVisited = PairSet()
  private var shared = PairSet()
  /// By user: 1 visited any page, 2 shared any.
  private let any: Scratch<UInt8>

  private var pages: Scratch<PageMetrics>?
  private var pagePointer: UnsafeMutablePointer<PageMetrics>?
  private var total = PageMetrics()
  private var users: [UInt32] = []
  private var day = WalkedDay.none
  private var test = RowTest.nothing
  private var isInRange = false
  private var user = 0

  init(_ users: Range<UInt32>, pageCodes: Int, wanted: Wanted?) {
    base = users.lowerBound
    userCount = users.count
    self.pageCodes = pageCodes
    self.wanted = wanted
    wordsPerUser = pageCodes <= Self.densePagesMax ? (pageCodes + 63) / 64 : 0
    visited = Scratch(repeating: 0, count: users.count * wordsPerUser)
    visitedPointer = visited.pointer
    any = Scratch(repeating: 0, count: users.count)
  }

  mutating func enter(_ day: WalkedDay, _ marks: DayMarks) {
    self.day = day
    test = marks.test
    isInRange = day.isInRange
  }

  /// The counts by page: made when they are first needed.
  @inline(__always)
  private mutating func table() -> UnsafeMutablePointer<PageMetrics> {
    if let pagePointer { return pagePointer }
    let made = Scratch(repeating: PageMetrics(), count: pageCodes)
    pages = made
    pagePointer = made.pointer
    return made.pointer
  }

  mutating func enter(user: UInt32, _ rows: Range<Int>) { self.user = Int(user - base) }

  mutating func takeSummary() -> PageCounts {
    defer {
      pages = nil
      pagePointer = nil
      total = PageMetrics()
      users = []
    }
    return PageCounts(pages: pages?.values ?? [], total: total, users: users)
  }

  // MARK: Page visits

  @inline(__always)
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) -> Int {
    let page = day.page(row)
    if open.views == 0 { open.entry = page }
    open.exit = page
    open.views += 1
    guard isInRange, test.holds(row, day) else { return -1 }
    visit(page)
    return page
  }

  @inline(__always)
  mutating func stay(_ visit: Int, _ milliseconds: Int64, _ open: inout Open) {
    if visit >= 0 { table()[visit].stayMilliseconds += milliseconds }
  }

  @inline(__always)
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {
    if code == WalkedDay.share, isInRange { share(row) }
  }

  /// A visit that a server sent counts, but is part of no open and has no stay.
  mutating func passive(_ row: Int) {
    switch day.event(row) {
    case WalkedDay.share: share(row)
    case WalkedDay.pageView: if test.holds(row, day) { visit(day.page(row)) }
    default: break
    }
  }

  @inline(__always)
  private mutating func visit(_ page: Int) {
    let pages = table()
    pages[page].visits += 1
    if wordsPerUser > 0 {
      let word = visitedPointer + (user * wordsPerUser + (page >> 6))
      let bit: UInt64 = 1 << UInt64(page & 63)
      if word.pointee & bit != 0 { return }
      word.pointee |= bit
    } else if !sparseVisited.insert(user, page) {
      return
    }
    pages[page].users += 1
    note(.visitors, page)
  }

  private mutating func share(_ row: Int) {
    guard test.holds(row, day) else { return }
    let page = day.page(row)
    let pages = table()
    pages[page].shares += 1
    guard shared.insert(user, page) else { return }
    pages[page].shareUsers += 1
    note(.sharers, page)
  }

  /// A user is new to a page.
  private mutating func note(_ kind: PageUsers, _ page: Int) {
    let bit: UInt8 = kind == .visitors ? 1 : 2
    let isFirst = any.pointer[user] & bit == 0
    if isFirst {
      any.pointer[user] |= bit
      if kind == .visitors { total.users += 1 } else { total.shareUsers += 1 }
    }
    guard let wanted, wanted.kind == kind else { return }
    if wanted.page == page || wanted.page == nil && isFirst { users.append(base + UInt32(user)) }
  }

  // MARK: Opens

  mutating func take(_ positions: Range<Int>, of opens: DayOpens) {
    let pages = table()
    for open in opens.opens(ofUsersAt: positions) {
      guard test.holds(Int(opens.firstRow.pointer[open]), day) else { continue }
      total.bounceable += 1
      let views = opens.views(of: open..<open + 1)
      if views.isEmpty { continue }
      let entry = Int(opens.viewPage.pointer[views.lowerBound])
      pages[entry].entries += 1
      pages[Int(opens.viewPage.pointer[views.upperBound - 1])].exits += 1
      if views.count == 1 { pages[entry].bounces += 1 }
    }
    for position in positions {
      user = Int(day.columns.users[position] &- base)
      let views = opens.views(of: opens.opens(ofUserAt: position))
      let firstRow = position == 0 ? 0 : Int(day.columns.userEnds[position - 1])
      if wanted == nil, wordsPerUser > 0 {
        takeViews(views, firstRow, of: opens, pages)
      } else {
        takeEachView(views, firstRow, of: opens, pages)
      }
    }
    takeShares(positions, of: opens)
  }

  private mutating func takeEachView(
    _ views: Range<Int>, _ firstRow: Int, of opens: DayOpens, _ pages: UnsafeMutablePointer<PageMetrics>
  ) {
    for view in views {
      guard test.holds(firstRow + Int(opens.viewRow.pointer[view]), day) else { continue }
      let page = Int(opens.viewPage.pointer[view])
      pages[page].stayMilliseconds += Int64(opens.viewStay.pointer[view])
      visit(page)
    }
  }

  /// The same without a branch: whether a user sees a page for the first time cannot be predicted.
  @inline(__always)
  private mutating func takeViews(
    _ views: Range<Int>, _ firstRow: Int, of opens: DayOpens, _ pages: UnsafeMutablePointer<PageMetrics>
  ) {
    let words = visitedPointer + user * wordsPerUser
    var isAny: UInt64 = 0
    for view in views {
      let counts: UInt64 = test.holds(firstRow &+ Int(opens.viewRow.pointer[view]), day) ? 1 : 0
      let page = Int(opens.viewPage.pointer[view])
      let bit = counts &<< UInt64(page & 63)
      let word = words[page &>> 6]
      words[page &>> 6] = word | bit
      let metrics = pages + page
      metrics.pointee.visits &+= counts
      metrics.pointee.users &+= word & bit == bit ? 0 : 1
      metrics.pointee.stayMilliseconds &+= counts == 0 ? 0 : Int64(opens.viewStay.pointer[view])
      isAny |= counts
    }
    if isAny != 0, any.pointer[user] & 1 == 0 {
      any.pointer[user] |= 1
      total.users += 1
    }
  }

  private mutating func takeShares(_ positions: Range<Int>, of opens: DayOpens) {
    let ends = day.columns.userEnds
    let begin = positions.lowerBound == 0 ? 0 : Int(ends[positions.lowerBound - 1])
    var position = positions.lowerBound
    for row in opens.shares(in: begin..<Int(ends[positions.upperBound - 1])) {
      while ends[position] <= row { position += 1 }
      user = Int(day.columns.users[position] &- base)
      share(Int(row))
    }
  }

  @inline(__always)
  mutating func begin(_ row: Int, at time: Int64) -> Open {
    guard isInRange else { return Open() }
    return Open(counts: test.holds(row, day))
  }

  @inline(__always)
  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd) {
    guard open.counts else { return }
    total.bounceable += 1
    guard open.views > 0 else { return }
    let pages = table()
    pages[open.entry].entries += 1
    pages[open.exit].exits += 1
    if open.views == 1 { pages[open.entry].bounces += 1 }
  }
}

/// Pairs of a user and something else, each counted once: open addressing.
struct PairSet {
  private(set) var count = 0
  /// The pair plus 1; 0: the slot is free.
  private var slots: [UInt64] = []

  /// - Returns: whether the pair is new.
  mutating func insert(_ first: Int, _ second: Int) -> Bool {
    if count * 2 >= slots.count { grow() }
    let key = UInt64(first) << 32 | UInt64(second) &+ 1
    guard place(key) else { return false }
    count += 1
    return true
  }

  private mutating func place(_ key: UInt64) -> Bool {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    while slots[slot] != 0 {
      if slots[slot] == key { return false }
      slot = (slot + 1) & mask
    }
    slots[slot] = key
    return true
  }

  private mutating func grow() {
    let old = slots
    slots = Array(repeating: 0, count: max(64, old.count * 2))
    for key in old where key != 0 { _ = place(key) }
  }
}
