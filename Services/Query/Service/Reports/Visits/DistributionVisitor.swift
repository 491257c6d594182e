import Events

struct DistributionCounts: WalkSummary {
  /// By slot (`DistributionIndex.firstSlot`).
  private(set) var opens: [UInt64] = []
  private(set) var visitUsers: [UInt64] = []
  /// Of the slot that was wanted, in any order.
  private(set) var users: [UInt32] = []

  init() {}

  init(opens: [UInt64], visitUsers: [UInt64], users: [UInt32]) {
    self.opens = opens
    self.visitUsers = visitUsers
    self.users = users
  }

  mutating func merge(_ other: DistributionCounts) {
    users += other.users
    guard !opens.isEmpty else {
      opens = other.opens
      visitUsers = other.visitUsers
      return
    }
    for (slot, count) in other.opens.enumerated() { opens[slot] += count }
    for (slot, count) in other.visitUsers.enumerated() { visitUsers[slot] += count }
  }
}

struct DistributionMarks: Sendable {
  let day: DayMarks
  /// By context: the source key of its scene, 0: none.
  let sources: Scratch<UInt8>
}

/// Counts the opens that begin in a range, and their users, by source, stay and depth at once.
struct DistributionVisitor: OpenVisitor {
  struct Open {
    /// -1: the open does not count.
    var source = -1
    /// ms.
    var stay: Int64 = 0
    var pages = PageSet()
  }

  static var noOpen: Open { Open() }
  static var noVisit: Void { () }

  /// A bit for each slot.
  private static let wordsPerUser = 2
  static let bytesPerUser = wordsPerUser * 8

  private let base: UInt32
  private let wanted: Int?
  private let seen: Scratch<UInt64>
  private let seenPointer: UnsafeMutablePointer<UInt64>
  private var opens = Scratch<UInt64>(repeating: 0, count: DistributionIndex.slotCount)
  private var visitUsers = Scratch<UInt64>(repeating: 0, count: DistributionIndex.slotCount)
  private var users: [UInt32] = []
  private var largePages = LargePageSets()
  private var day = WalkedDay.none
  private var sources: UnsafeMutablePointer<UInt8>?
  private var test = RowTest.nothing

  /// - Parameter wanted: the slot whose users are listed.
  init(_ users: Range<UInt32>, wanted: Int?) {
    base = users.lowerBound
    self.wanted = wanted
    seen = Scratch(repeating: 0, count: users.count * Self.wordsPerUser)
    seenPointer = seen.pointer
  }

  mutating func enter(_ day: WalkedDay, _ marks: DistributionMarks) {
    self.day = day
    test = marks.day.test
    sources = marks.sources.pointer
  }

  mutating func takeSummary() -> DistributionCounts {
    defer {
      opens = Scratch(repeating: 0, count: DistributionIndex.slotCount)
      visitUsers = Scratch(repeating: 0, count: DistributionIndex.slotCount)
      users = []
    }
    return DistributionCounts(opens: opens.values, visitUsers: visitUsers.values, users: users)
  }

  @inline(__always)
  mutating func begin(_ row: Int, at time: Int64) -> Open {
    guard day.isInRange, let sources, test.holds(row, day) else { return Open() }
    return Open(source: Int(sources[day.context(row)]))
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
    guard open.source >= 0 else { return }
    add(open.source, user)
    add(DistributionIndex.stay.firstSlot + DistributionIndex.stayKey(open.stay), user)
    add(DistributionIndex.depth.firstSlot + DistributionIndex.depthKey(pages), user)
  }

  mutating func take(_ positions: Range<Int>, of opens: DayOpens) {
    guard let sources else { return }
    for position in positions {
      let user = day.columns.users[position]
      for open in opens.opens(ofUserAt: position) {
        let row = Int(opens.firstRow.pointer[open])
        guard test.holds(row, day) else { continue }
        add(Int(sources[day.context(row)]), user)
        let stay = DistributionIndex.stayKey(UInt32(opens.stay.pointer[open]))
        add(DistributionIndex.stay.firstSlot + stay, user)
        let depth = DistributionIndex.depthKey(Int(opens.depth.pointer[open]))
        add(DistributionIndex.depth.firstSlot + depth, user)
      }
    }
  }

  @inline(__always)
  private mutating func add(_ slot: Int, _ user: UInt32) {
    opens.pointer[slot] += 1
    // Slots of the sources fill the first word, the others the second.
    let word = seenPointer + (Int(user - base) * Self.wordsPerUser + (slot >> 6))
    let bit: UInt64 = 1 << UInt64(slot & 63)
    let isNew = word.pointee & bit == 0
    word.pointee |= bit
    // Without a branch where no users are listed: it could not be predicted.
    visitUsers.pointer[slot] &+= isNew ? 1 : 0
    if let wanted, isNew, slot == wanted { users.append(user) }
  }
}
