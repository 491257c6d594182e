/// The paths of a block's opens: of each open its path and its user.
struct PathRecords<Key: PathKey>: Sendable {
  let firstUser: UInt32
  var keys: [Key] = []
  /// From `firstUser` on.
  var users: [UInt32] = []

  var byteCount: Int { keys.count * (MemoryLayout<Key>.stride + 4) }

  mutating func append(_ other: PathRecords) {
    keys += other.keys
    users += other.users
  }

  /// Adds so many at most.
  ///
  /// - Parameter fill: writes them, the users from `firstUser` on, and says how many they were. It may write one more.
  mutating func append(
    _ count: Int, _ fill: (UnsafeMutablePointer<Key>, UnsafeMutablePointer<UInt32>) -> Int
  ) {
    let before = keys.count
    keys += repeatElement(Key.empty, count: count + 1)
    users += repeatElement(0, count: count + 1)
    let added = keys.withUnsafeMutableBufferPointer { keys in
      users.withUnsafeMutableBufferPointer { users in
        guard let keys = keys.baseAddress, let users = users.baseAddress else { return 0 }
        return fill(keys + before, users + before)
      }
    }
    keys.removeLast(count + 1 - added)
    users.removeLast(count + 1 - added)
  }
}

struct PathSummary<Key: PathKey>: WalkSummary {
  private(set) var parts: [PathRecords<Key>] = []

  init() {}
  init(_ records: PathRecords<Key>) { if !records.keys.isEmpty { parts = [records] } }

  mutating func merge(_ other: PathSummary) { parts += other.parts }
}

/// What a question about paths looks for.
struct PathPlan: Sendable {
  let layout: PathLayout
  let nodes: PathNodes
  /// 0: none was asked for. `UInt32.max`: one that never happened.
  let start: UInt32
  let end: UInt32

  static let neverHappened = UInt32.max

  init(_ query: PathsQuery, _ nodes: PathNodes) {
    func number(_ name: String?) -> UInt32 {
      guard let name else { return 0 }
      let number = nodes.number(name)
      return number == 0 ? Self.neverHappened : number
    }
    self.nodes = nodes
    layout = PathLayout(steps: query.steps, bits: nodes.bits)
    start = number(query.start)
    end = number(query.end)
  }
}

/// Follows the nodes of each open.
struct PathVisitor<Key: PathKey>: OpenVisitor {
  struct Open {
    var counts = false
    /// Nodes so far; with `end` the latest ones, the newest first.
    var key = Key.empty
    var count = 0
    var lastNode: UInt32 = 0
    /// With `end`: the path that ends with the latest such node.
    var found = Key.empty
    var foundCount = 0
  }

  static var measuresStays: Bool { false }
  static var noOpen: Open { Open() }
  static var noVisit: Bool { false }

  private let plan: PathPlan
  private let layout: PathLayout
  private let isOfEvents: Bool
  private let numbers: Scratch<UInt32>
  private var records: PathRecords<Key>
  private var day: WalkedDay?
  private var pages = UnsafeBufferPointer<UInt32>(start: nil, count: 0)
  private var test = RowTest.nothing

  init(_ users: Range<UInt32>, _ plan: PathPlan, _ numbers: Scratch<UInt32>) {
    self.plan = plan
    self.numbers = numbers
    layout = plan.layout
    isOfEvents = plan.nodes.isOfEvents
    records = PathRecords(firstUser: users.lowerBound)
  }

  mutating func enter(_ day: WalkedDay, _ marks: DayMarks) {
    self.day = day
    pages = day.columns.page
    test = marks.test
  }

  mutating func takeSummary() -> PathSummary<Key> {
    defer { records = PathRecords(firstUser: records.firstUser) }
    return PathSummary(records)
  }

  @inline(__always)
  mutating func begin(_ row: Int, at time: Int64) -> Open {
    guard let day, day.isInRange else { return Open() }
    return Open(counts: test.holds(row, day))
  }

  @inline(__always)
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) -> Bool {
    guard !isOfEvents, open.counts else { return false }
    take(numbers.pointer[Int(pages[row])], &open)
    return false
  }

  @inline(__always)
  mutating func stay(_ visit: Bool, _ milliseconds: Int64, _ open: inout Open) {}

  @inline(__always)
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {
    if isOfEvents, open.counts { take(numbers.pointer[code], &open) }
  }

  mutating func take(_ positions: Range<Int>, of opens: DayOpens) {
    guard let day else { return }
    if plan.start == 0, plan.end == 0 { return takeFirst(positions, opens, day) }
    for position in positions {
      let user = day.columns.users[position]
      for number in opens.opens(ofUserAt: position)
      where test.holds(Int(opens.firstRow.pointer[number]), day) {
        var open = Open()
        for view in opens.views(of: number..<number + 1) {
          take(numbers.pointer[Int(pages[Int(opens.viewRow.pointer[view])])], &open)
          if plan.end == 0, open.count == layout.steps { break }
        }
        note(open, of: user)
      }
    }
  }

  /// The same where paths are the first nodes of opens.
  private mutating func takeFirst(_ positions: Range<Int>, _ opens: DayOpens, _ day: WalkedDay) {
    let (test, firstUser) = (test, records.firstUser)
    let nodes = PathNodeLook(
      numbers: numbers.pointer, pages: pages, viewRow: opens.viewRow.pointer, layout: layout)
    records.append(opens.opens(ofUsersAt: positions).count) { keys, users in
      var count = 0
      for position in positions {
        let user = day.columns.users[position] &- firstUser
        for number in opens.opens(ofUserAt: position) {
          let views = opens.views(of: number..<number &+ 1)
          if views.isEmpty { continue }
          let key: Key = nodes.first(of: views)
          keys[count] = key
          users[count] = user
          count &+= test.holds(Int(opens.firstRow.pointer[number]), day) && key != Key.empty ? 1 : 0
        }
      }
      return count
    }
  }

  /// The next node of an open. Repeats of one after another count once.
  @inline(__always)
  private func take(_ node: UInt32, _ open: inout Open) {
    if node == 0 || node == open.lastNode { return }
    open.lastNode = node
    if plan.end != 0 {
      open.key = open.key.moved(down: layout.bits)
      open.key.put(node, layout.shift(0))
      open.count = min(open.count &+ 1, layout.steps)
      if node == plan.end { (open.found, open.foundCount) = (open.key, open.count) }
      return
    }
    if open.count == layout.steps { return }
    if open.count == 0, plan.start != 0, node != plan.start { return }
    open.key.put(node, layout.shift(open.count))
    open.count &+= 1
  }

  @inline(__always)
  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd) {
    if open.counts { note(open, of: user) }
  }

  @inline(__always)
  private mutating func note(_ open: Open, of user: UInt32) {
    let key = plan.end == 0 ? open.key : inOrderOfTime(open.found, open.foundCount)
    if key == Key.empty { return }
    records.keys.append(key)
    records.users.append(user &- records.firstUser)
  }

  private func inOrderOfTime(_ found: Key, _ count: Int) -> Key {
    var key = Key.empty
    for step in 0..<count {
      key.put(found.bits(layout.shift(step), layout.mask), layout.shift(count - 1 - step))
    }
    return key
  }
}

/// The nodes of page visits, for paths that are the first nodes of opens.
private struct PathNodeLook {
  let numbers: UnsafeMutablePointer<UInt32>
  let pages: UnsafeBufferPointer<UInt32>
  let viewRow: UnsafeMutablePointer<UInt32>
  let layout: PathLayout

  /// The path of an open's page visits, of which there must be some.
  @inline(__always)
  func first<Key: PathKey>(of views: Range<Int>) -> Key {
    var path = (key: Key.empty, length: 0, last: UInt32(0))
    // So many at least, as the last one counts once however often it comes: how many an open has cannot be predicted.
    var view = views.lowerBound
    for _ in 0..<layout.steps {
      add(min(view, views.upperBound &- 1), &path)
      view &+= 1
    }
    while view < views.upperBound, path.length < layout.steps {
      add(view, &path)
      view &+= 1
    }
    return path.key
  }

  @inline(__always)
  private func add<Key: PathKey>(_ view: Int, _ path: inout (key: Key, length: Int, last: UInt32)) {
    let node = numbers[Int(pages[Int(viewRow[view])])]
    let isNext = (node == 0 ? 0 : 1) & (node == path.last ? 0 : 1)
    path.key.put(node &* UInt32(truncatingIfNeeded: isNext), layout.shift(path.length))
    path.length &+= isNext
    path.last = node == 0 ? path.last : node
  }
}
