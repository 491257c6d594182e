import Events

/// The opens of a sealed day and their page visits, as columns: found by one walk over the day, and kept with it, so that reports
/// over opens need not look at each event again.
///
/// They hold good for users all of whose opens lie in the day (`isWhole`) and who come to it with none that goes on. The others, few,
/// are walked event by event each time.
///
/// A class: it is handed on for each block of users, and a copy would be a reference to each of its columns.
final class DayOpens: Sendable {
  /// By which opens are cut.
  let rules: SessionRules
  /// By position of the day's users: 1 where the opens are the user's whole day.
  let isWhole: Scratch<UInt8>
  /// The positions where it is 0, ascending.
  let walked: [UInt32]
  /// By position: when the app went to the background, ms of the day. nil: no mark of the day tells.
  let backgrounds: Scratch<UInt32>?
  /// By position: the number of the first open; one more at the end.
  let firstOpen: Scratch<UInt32>
  /// By open: the row of its first event.
  let firstRow: Scratch<UInt32>
  /// By open: the number of its first page visit; one more at the end.
  let firstView: Scratch<UInt32>
  /// By open: the sum of its page visits' stays, ms.
  let stay: Scratch<UInt32>
  /// By open: its distinct pages.
  let depth: Scratch<UInt16>
  /// By page visit: its row, from its user's first one of the day on.
  let viewRow: Scratch<UInt16>
  /// By page visit: its page.
  let viewPage: Scratch<UInt16>
  /// The nodes of the paths of opens, where the visits of an open stand: its pages without repeats of one after another and without
  /// visits that have none, in order, then 0. Some more at the end, so that one may read on behind an open.
  let viewNode: Scratch<UInt16>
  /// By page visit: its stay, ms.
  let viewStay: Scratch<UInt32>
  /// Rows of `$share`, ascending.
  let shareRows: [UInt32]

  /// Of `backgrounds`: no mark tells; the app came to the foreground.
  static let unknown = UInt32.max
  static let foreground = UInt32.max - 1

  /// Bytes of memory for each row of a day, at most about.
  static let bytesPerRow = 10

  /// Bytes of memory, about.
  var byteCount: Int {
    let perUser = firstOpen.count * 5 + walked.count * 4 + (backgrounds?.byteCount ?? 0)
    return perUser + firstRow.count * 14 + viewRow.count * 10 + shareRows.count * 4
  }

  /// Cost: one walk over the day.
  ///
  /// - Parameters:
  ///   - columns: with events, pages and stays.
  ///   - end: when the next day begins, ms since 1970.
  init(_ columns: DayColumns, end: Int64, rules: SessionRules) {
    var finder = OpenFinder(columns)
    var backgrounds: [Int64] = []
    backgrounds.reserveCapacity(columns.users.count)
    WalkedDay.of(columns, end: end, .inRange) { day in
      // A block at a time, so that what is remembered of its users stays in the processor's cache. The finder is copied in and
      // out: its columns are references.
      for users in Self.blocks(columns.users) {
        let positions = columns.positions(of: users)
        var walk = BlockWalk(users: users, visitor: finder, rules: rules, received: end)
        walk.walk(columns, day, (), opens: nil, followed: nil)
        finder = walk.visitor
        finder.exclude(walk.takeMissing(), columns.users)
        backgrounds += positions.map { walk.background(of: columns.users[$0]) }
      }
    }
    self.rules = rules
    let begin = columns.beginMilliseconds
    self.backgrounds =
      backgrounds.allSatisfy { $0 == BackgroundMark.unknown }
      ? nil : Scratch(backgrounds.map { Self.packed($0, begin) })
    isWhole = finder.isWhole.column()
    walked = (0..<finder.isWhole.count).filter { finder.isWhole[$0] == 0 }.map { UInt32($0) }
    let (opens, views) = (finder.firstRow.count, finder.viewRow.count)
    firstOpen = finder.firstOpen.column(UInt32(opens), more: 1)
    firstRow = finder.firstRow.column()
    firstView = Scratch(finder.firstView, first: opens, UInt32(views), more: 1)
    stay = Scratch(finder.stay, first: opens)
    depth = Scratch(finder.depth, first: opens)
    viewRow = finder.viewRow.column()
    viewPage = Scratch(finder.viewPage, first: views)
    viewNode = Scratch(finder.viewNode, first: views, 0, more: Limits.pathStepsMax)
    viewStay = Scratch(finder.viewStay, first: views)
    shareRows = finder.shareRows.column().values
  }

  private static func blocks(_ users: [UInt32]) -> [Range<UInt32>] {
    guard let first = users.first, let last = users.last else { return [] }
    return stride(from: Int(first), through: Int(last), by: Limits.walkBlockUsersMax).map { begin in
      UInt32(begin)..<UInt32(min(begin + Limits.walkBlockUsersMax, Int(last) + 1))
    }
  }

  private static func packed(_ background: Int64, _ begin: Int64) -> UInt32 {
    switch background {
    case BackgroundMark.unknown: unknown
    case BackgroundMark.foreground: foreground
    default: UInt32(background - begin)
    }
  }

  /// When an app went to the background, by one of `backgrounds`; nil: no mark of the day tells.
  @inline(__always)
  static func background(_ packed: UInt32, dayBegin: Int64) -> Int64? {
    if packed == unknown { return nil }
    return packed == foreground ? BackgroundMark.foreground : dayBegin &+ Int64(packed)
  }

  @inline(__always)
  func opens(ofUserAt position: Int) -> Range<Int> {
    Int(firstOpen.pointer[position])..<Int(firstOpen.pointer[position + 1])
  }

  @inline(__always)
  func opens(ofUsersAt positions: Range<Int>) -> Range<Int> {
    Int(firstOpen.pointer[positions.lowerBound])..<Int(firstOpen.pointer[positions.upperBound])
  }

  @inline(__always)
  func views(of opens: Range<Int>) -> Range<Int> {
    Int(firstView.pointer[opens.lowerBound])..<Int(firstView.pointer[opens.upperBound])
  }

  /// Rows of `$share` among some rows.
  func shares(in rows: Range<Int>) -> ArraySlice<UInt32> {
    let lower = shareRows.partitioningIndex { Int($0) >= rows.lowerBound }
    let upper = shareRows.partitioningIndex { Int($0) >= rows.upperBound }
    return shareRows[lower..<upper]
  }
}

/// A column that is not longer than is known.
private struct GrowingColumn<Element: BitwiseCopyable & FixedWidthInteger> {
  private let room: Scratch<Element>
  private(set) var count = 0

  init(most: Int) { room = Scratch(uninitialized: most) }

  @inline(__always)
  mutating func append(_ value: Element) {
    precondition(count < room.count)
    room.pointer[count] = value
    count &+= 1
  }

  /// Of what was appended.
  @inline(__always)
  subscript(_ index: Int) -> Element {
    get { room.pointer[index] }
    nonmutating set { room.pointer[index] = newValue }
  }

  func column(_ rest: Element = 0, more: Int = 0) -> Scratch<Element> {
    Scratch(room, first: count, rest, more: more)
  }
}

/// Notes the opens of one day after another user of it.
private struct OpenFinder: OpenVisitor {
  struct Open {
    var number = 0
    var pages = PageSet()
    /// Where the next node goes.
    var node = 0
    var lastPage = 0
  }

  struct Nothing: WalkSummary {
    mutating func merge(_ other: Nothing) {}
  }

  static var noOpen: Open { Open() }
  static var noVisit: Int { 0 }

  private(set) var isWhole: GrowingColumn<UInt8>
  private(set) var firstOpen: GrowingColumn<UInt32>
  private(set) var firstRow: GrowingColumn<UInt32>
  /// As long as `firstRow`.
  let firstView: Scratch<UInt32>
  let stay: Scratch<UInt32>
  let depth: Scratch<UInt16>
  private(set) var viewRow: GrowingColumn<UInt16>
  /// As long as `viewRow`.
  let viewPage: Scratch<UInt16>
  let viewNode: Scratch<UInt16>
  let viewStay: Scratch<UInt32>
  private(set) var shareRows: GrowingColumn<UInt32>
  private var largePages = LargePageSets()
  private var day = WalkedDay.none
  /// Of the user, on the day.
  private var userRow = 0

  /// - Parameter day: whose opens, and page visits, are not more than its rows.
  init(_ day: DayColumns) {
    isWhole = GrowingColumn(most: day.users.count)
    firstOpen = GrowingColumn(most: day.users.count)
    firstRow = GrowingColumn(most: day.count)
    firstView = Scratch(uninitialized: day.count)
    stay = Scratch(uninitialized: day.count)
    depth = Scratch(uninitialized: day.count)
    viewRow = GrowingColumn(most: day.count)
    viewPage = Scratch(uninitialized: day.count)
    viewNode = Scratch(uninitialized: day.count)
    viewStay = Scratch(uninitialized: day.count)
    shareRows = GrowingColumn(most: day.count)
  }

  mutating func enter(_ day: WalkedDay, _ marks: Void) { self.day = day }

  mutating func takeSummary() -> Nothing { Nothing() }

  mutating func enter(user: UInt32, _ rows: Range<Int>) {
    isWhole.append(1)
    firstOpen.append(UInt32(firstRow.count))
    userRow = rows.lowerBound
  }

  /// Users of whom it must be known what they did before the day.
  mutating func exclude(_ users: [UInt32], _ all: [UInt32]) {
    for user in users { isWhole[all.partitioningIndex { $0 >= user }] = 0 }
  }

  /// The user must be walked event by event.
  private mutating func excludeUser() { isWhole[isWhole.count - 1] = 0 }

  mutating func passive(_ row: Int) { excludeUser() }

  @inline(__always)
  mutating func begin(_ row: Int, at time: Int64) -> Open {
    let number = firstRow.count
    firstRow.append(UInt32(row))
    firstView.pointer[number] = UInt32(viewRow.count)
    stay.pointer[number] = 0
    depth.pointer[number] = 0
    return Open(number: number, node: viewRow.count)
  }

  @inline(__always)
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) -> Int {
    let page = day.page(row)
    if max(row - userRow, page) > Int(UInt16.max) { excludeUser() }
    let view = viewRow.count
    viewRow.append(UInt16(truncatingIfNeeded: row - userRow))
    viewPage.pointer[view] = UInt16(truncatingIfNeeded: page)
    viewStay.pointer[view] = 0
    viewNode.pointer[view] = 0
    // Written again and again where it is none: which visits repeat a page cannot be predicted.
    let isNode = page != 0 && page != open.lastPage
    viewNode.pointer[open.node] = isNode ? UInt16(truncatingIfNeeded: page) : 0
    open.node &+= isNode ? 1 : 0
    open.lastPage = page == 0 ? open.lastPage : page
    open.pages.insert(page, &largePages)
    return view
  }

  @inline(__always)
  mutating func stay(_ visit: Int, _ milliseconds: Int64, _ open: inout Open) {
    let sum = Int64(stay.pointer[open.number]) + milliseconds
    guard milliseconds >= 0, sum <= Int64(UInt32.max) else { return excludeUser() }
    viewStay.pointer[visit] = UInt32(milliseconds)
    stay.pointer[open.number] = UInt32(sum)
  }

  @inline(__always)
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {
    if code == WalkedDay.share { shareRows.append(UInt32(row)) }
  }

  @inline(__always)
  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd) {
    let pages = open.pages.finish(&largePages)
    if pages <= Int(UInt16.max) { depth.pointer[open.number] = UInt16(pages) } else { excludeUser() }
  }

  /// The open may go on the next day.
  mutating func suspend(_ open: inout Open) {
    _ = open.pages.finish(&largePages)
    excludeUser()
  }
}

/// What is known of a user's last mark, where it is no time.
enum BackgroundMark {
  /// No mark has been seen that tells.
  static let unknown = Int64.min
  /// Not in the background.
  static let foreground = Int64.min + 1
}
