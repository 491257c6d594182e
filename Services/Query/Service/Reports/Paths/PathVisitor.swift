/// The paths of opens of a block of users as they are found: of each open its path and its user.
struct PathRecords<Key: PathKey> {
  let firstUser: UInt32
  /// As many as there is room for.
  private var keys: [Key] = []
  /// From `firstUser` on.
  private var users: [UInt32] = []
  private var count = 0

  init(firstUser: UInt32) { self.firstUser = firstUser }

  mutating func append(_ key: Key, of user: UInt32) {
    makeRoom(for: 1)
    keys[count] = key
    users[count] = user - firstUser
    count += 1
  }

  /// Adds so many at most.
  ///
  /// - Parameter fill: writes them, the users from `firstUser` on, and says how many they were. It may write one more.
  mutating func append(
    _ most: Int, _ fill: (UnsafeMutablePointer<Key>, UnsafeMutablePointer<UInt32>) -> Int
  ) {
    makeRoom(for: most + 1)
    let count = count
    self.count += keys.withUnsafeMutableBufferPointer { keys in
      users.withUnsafeMutableBufferPointer { users in
        guard let keys = keys.baseAddress, let users = users.baseAddress else { return 0 }
        return fill(keys + count, users + count)
      }
    }
  }

  private mutating func makeRoom(for more: Int) {
    let missing = count + more - keys.count
    if missing <= 0 { return }
    let added = max(missing, keys.count)
    keys += repeatElement(Key.empty, count: added)
    users += repeatElement(0, count: added)
  }

  /// In the order of the users.
  ///
  /// - Parameter userCount: of the block.
  func block(_ userCount: Int) -> PathBlock<Key> {
    PathBlock(firstUser, userCount, keys[..<count], users[..<count])
  }
}

/// The paths of opens of a block of users, in the order of the users.
struct PathBlock<Key: PathKey>: Sendable {
  let firstUser: UInt32
  private(set) var keys: [Key] = []
  /// From `firstUser` on.
  private(set) var users: [UInt32] = []
  /// How many users they are.
  private(set) var userCount = 0

  var byteCount: Int { keys.count * (MemoryLayout<Key>.stride + 4) }

  /// - Parameter parts: of the same users; not empty.
  init(_ parts: [PathBlock]) {
    if parts.count == 1 {
      self = parts[0]
    } else {
      let users = parts.flatMap(\.users)
      self.init(
        parts[0].firstUser, Int(users.max() ?? 0) + 1, parts.flatMap(\.keys)[...], users[...])
    }
  }

  /// Cost: two passes over the opens. Those of a block are in the processor's cache while it is walked.
  fileprivate init(
    _ firstUser: UInt32, _ usersMax: Int, _ keys: ArraySlice<Key>, _ users: ArraySlice<UInt32>
  ) {
    self.firstUser = firstUser
    var ends = [UInt32](repeating: 0, count: usersMax + 1)
    keys.withUnsafeBufferPointer { keys in
      users.withUnsafeBufferPointer { users in
        ends.withUnsafeMutableBufferPointer { ends in
          for user in users { ends[Int(user) &+ 1] &+= 1 }
          for index in 1..<ends.count {
            userCount &+= ends[index] == 0 ? 0 : 1
            ends[index] &+= ends[index &- 1]
          }
          put(keys, users, ends)
        }
      }
    }
  }

  /// - Parameter ends: by user: the place of the next one.
  private mutating func put(
    _ oldKeys: UnsafeBufferPointer<Key>, _ oldUsers: UnsafeBufferPointer<UInt32>,
    _ ends: UnsafeMutableBufferPointer<UInt32>
  ) {
    let count = oldKeys.count
    users = [UInt32](unsafeUninitializedCapacity: count) { users, filledUsers in
      keys = [Key](unsafeUninitializedCapacity: count) { keys, filledKeys in
        for index in 0..<count {
          let user = oldUsers[index]
          let place = Int(ends[Int(user)])
          keys[place] = oldKeys[index]
          users[place] = user
          ends[Int(user)] &+= 1
        }
        filledKeys = count
      }
      filledUsers = count
    }
  }
}

struct PathSummary<Key: PathKey>: WalkSummary {
  private(set) var parts: [PathBlock<Key>] = []

  init() {}
  init(_ block: PathBlock<Key>) { if !block.keys.isEmpty { parts = [block] } }

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
  private let masks: [Key]
  private let userCount: Int
  private var records: PathRecords<Key>
  private var day: WalkedDay?
  private var pages = UnsafeBufferPointer<UInt32>(start: nil, count: 0)
  private var test = RowTest.nothing

  init(_ users: Range<UInt32>, _ plan: PathPlan, _ numbers: Scratch<UInt32>) {
    self.plan = plan
    self.numbers = numbers
    layout = plan.layout
    masks = layout.masks()
    isOfEvents = plan.nodes.isOfEvents
    userCount = users.count
    records = PathRecords(firstUser: users.lowerBound)
  }

  mutating func enter(_ day: WalkedDay, _ marks: DayMarks) {
    self.day = day
    pages = day.columns.page
    test = marks.test
  }

  mutating func takeSummary() -> PathSummary<Key> {
    defer { records = PathRecords(firstUser: records.firstUser) }
    return PathSummary(records.block(userCount))
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
          take(numbers.pointer[Int(opens.viewPage.pointer[view])], &open)
          if plan.end == 0, open.count == layout.steps { break }
        }
        note(open, of: user)
      }
    }
  }

  /// The same where paths are the first nodes of opens.
  private mutating func takeFirst(_ positions: Range<Int>, _ opens: DayOpens, _ day: WalkedDay) {
    // Each asked for once: what the loop reads lies behind pointers that it need not look up.
    let (test, firstUser, dayUsers) = (test, records.firstUser, day.columns.users)
    let (firstOpen, firstRow) = (opens.firstOpen.pointer, opens.firstRow.pointer)
    let (firstView, nodes, numbers) = (opens.firstView.pointer, opens.viewNode.pointer, numbers.pointer)
    let (steps, bits, firstShift) = (layout.steps, layout.bits, layout.shift(0))
    masks.withUnsafeBufferPointer { masks in
      records.append(opens.opens(ofUsersAt: positions).count) { keys, users in
        var count = 0
        var number = Int(firstOpen[positions.lowerBound])
        for position in positions {
          let user = dayUsers[position] &- firstUser
          let end = Int(firstOpen[position &+ 1])
          while number < end {
            let view = Int(firstView[number])
            var key = Key.empty
            var shift = firstShift
            // As many as are wanted, whosever they are: how many an open has cannot be predicted.
            for step in 0..<steps {
              key.put(numbers[Int(nodes[view &+ step])], shift)
              shift &-= bits
            }
            key = key & masks[min(Int(firstView[number &+ 1]) &- view, steps)]
            keys[count] = key
            users[count] = user
            count &+= test.holds(Int(firstRow[number]), day) && key != Key.empty ? 1 : 0
            number &+= 1
          }
        }
        return count
      }
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
    records.append(key, of: user)
  }

  private func inOrderOfTime(_ found: Key, _ count: Int) -> Key {
    var key = Key.empty
    for step in 0..<count {
      key.put(found.bits(layout.shift(step), layout.mask), layout.shift(count - 1 - step))
    }
    return key
  }
}
