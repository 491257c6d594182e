import Events

/// The opens of a sealed day and their page visits, as columns: found by one walk over the day, and kept with it, so that reports
/// over opens need not look at each event again.
///
/// They hold good for users all of whose opens lie in the day (`isWhole`) and who come to it with none that goes on. The others, few,
/// are walked event by event each time.
struct DayOpens: Sendable {
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
  /// By page visit: its row.
  let viewRow: Scratch<UInt32>
  /// By page visit: its stay, ms.
  let viewStay: Scratch<UInt32>
  /// Rows of `$share`, ascending.
  let shareRows: [UInt32]

  /// Of `backgrounds`: no mark tells; the app came to the foreground.
  static let unknown = UInt32.max
  static let foreground = UInt32.max - 1

  /// Bytes of memory for each row of a day, at most about.
  static let bytesPerRow = 9

  /// Bytes of memory, about.
  var byteCount: Int {
    let perUser = firstOpen.count * 5 + walked.count * 4 + (backgrounds?.byteCount ?? 0)
    return perUser + firstRow.count * 14 + viewRow.count * 8 + shareRows.count * 4
  }

  /// Cost: one walk over the day.
  ///
  /// - Parameters:
  ///   - columns: with events, pages and stays.
  ///   - end: when the next day begins, ms since 1970.
  init(_ columns: DayColumns, end: Int64, rules: SessionRules) {
    var finder = OpenFinder()
    var backgrounds: [Int64] = []
    backgrounds.reserveCapacity(columns.users.count)
    WalkedDay.of(columns, end: end, .inRange) { day in
      // A block at a time, so that what is remembered of its users stays in the processor's cache.
      for users in Self.blocks(columns.users) {
        let positions = columns.positions(of: users)
        // Moved in and out, so that its columns are not copied.
        var moved = OpenFinder()
        swap(&moved, &finder)
        var walk = BlockWalk(users: users, visitor: moved, rules: rules, received: end)
        moved = OpenFinder()
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
    isWhole = Scratch(finder.isWhole)
    walked = finder.isWhole.indices.filter { finder.isWhole[$0] == 0 }.map { UInt32($0) }
    firstOpen = Scratch(finder.firstOpen + [UInt32(finder.firstRow.count)])
    firstRow = Scratch(finder.firstRow)
    firstView = Scratch(finder.firstView + [UInt32(finder.viewRow.count)])
    stay = Scratch(finder.stay)
    depth = Scratch(finder.depth)
    viewRow = Scratch(finder.viewRow)
    viewStay = Scratch(finder.viewStay)
    shareRows = finder.shareRows
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

  /// When the app of the user at a position went to the background; nil: no mark of the day tells.
  @inline(__always)
  func background(_ position: Int, dayBegin: Int64) -> Int64? {
    guard let packed = backgrounds?.pointer[position], packed != Self.unknown else { return nil }
    return packed == Self.foreground ? BackgroundMark.foreground : dayBegin + Int64(packed)
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

/// Notes the opens of one day after another user of it.
private struct OpenFinder: OpenVisitor {
  struct Open {
    var number = 0
    var pages = PageSet()
  }

  struct Nothing: WalkSummary {
    mutating func merge(_ other: Nothing) {}
  }

  static var noOpen: Open { Open() }
  static var noVisit: Int { 0 }

  private(set) var isWhole: [UInt8] = []
  private(set) var firstOpen: [UInt32] = []
  private(set) var firstRow: [UInt32] = []
  private(set) var firstView: [UInt32] = []
  private(set) var stay: [UInt32] = []
  private(set) var depth: [UInt16] = []
  private(set) var viewRow: [UInt32] = []
  private(set) var viewStay: [UInt32] = []
  private(set) var shareRows: [UInt32] = []
  private var largePages = LargePageSets()
  private var day = WalkedDay.none

  mutating func enter(_ day: WalkedDay, _ marks: Void) { self.day = day }

  mutating func takeSummary() -> Nothing { Nothing() }

  mutating func enter(user: UInt32, _ rows: Range<Int>) {
    isWhole.append(1)
    firstOpen.append(UInt32(firstRow.count))
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
    firstRow.append(UInt32(row))
    firstView.append(UInt32(viewRow.count))
    stay.append(0)
    depth.append(0)
    return Open(number: firstRow.count - 1)
  }

  @inline(__always)
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) -> Int {
    viewRow.append(UInt32(row))
    viewStay.append(0)
    open.pages.insert(day.page(row), &largePages)
    return viewRow.count - 1
  }

  @inline(__always)
  mutating func stay(_ visit: Int, _ milliseconds: Int64, _ open: inout Open) {
    let sum = Int64(stay[open.number]) + milliseconds
    guard milliseconds >= 0, sum <= Int64(UInt32.max) else { return excludeUser() }
    viewStay[visit] = UInt32(milliseconds)
    stay[open.number] = UInt32(sum)
  }

  @inline(__always)
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {
    if code == WalkedDay.share { shareRows.append(UInt32(row)) }
  }

  @inline(__always)
  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd) {
    let pages = open.pages.finish(&largePages)
    if pages <= Int(UInt16.max) { depth[open.number] = UInt16(pages) } else { excludeUser() }
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
