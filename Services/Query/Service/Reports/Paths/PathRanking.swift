/// A first look at all paths: how often each node is visited at each step, and how many opens took a path of each bucket, which are
/// at least as many as took any one of its paths.
struct PathSurvey: Sendable {
  private static let bucketBits = 16
  static var bucketBytes: Int { 4 << bucketBits }

  /// By step and node.
  private(set) var visits: [UInt32]
  private var buckets: [UInt32]

  init(_ plan: PathPlan) {
    visits = Array(repeating: 0, count: plan.layout.steps * plan.nodes.names.count)
    buckets = Array(repeating: 0, count: 1 << Self.bucketBits)
  }

  @inline(__always)
  static func bucket(_ key: some PathKey) -> Int {
    Int(truncatingIfNeeded: key.hash &>> UInt64(64 &- bucketBits))
  }

  mutating func add(_ keys: [some PathKey], _ plan: PathPlan) {
    if plan.end != 0 { return addBackward(keys, plan) }
    let (layout, nodeCount) = (plan.layout, plan.nodes.names.count)
    let (mask, firstShift) = (layout.mask, layout.shift(0))
    visits.withUnsafeMutableBufferPointer { visits in
      buckets.withUnsafeMutableBufferPointer { buckets in
        for key in keys {
          buckets[Self.bucket(key)] &+= 1
          // All steps, whether or not the path goes so far: where it ends cannot be predicted. Of no node there are none.
          var shift = firstShift
          for step in 0..<layout.steps {
            visits[step &* nodeCount &+ Int(key.bits(shift, mask))] &+= 1
            shift &-= layout.bits
          }
        }
      }
    }
  }

  private mutating func addBackward(_ keys: [some PathKey], _ plan: PathPlan) {
    let nodeCount = plan.nodes.names.count
    for key in keys {
      buckets[Self.bucket(key)] += 1
      PathSteps(key, plan).forEach { step, node in visits[step * nodeCount + Int(node)] += 1 }
    }
  }

  mutating func merge(_ other: PathSurvey) {
    for cell in visits.indices { visits[cell] &+= other.visits[cell] }
    for bucket in buckets.indices { buckets[bucket] &+= other.buckets[bucket] }
  }

  /// How many opens the last of so many first paths has, about, or fewer: twice as many buckets have at least as many.
  func likelyLeast(_ limit: Int) -> UInt32 {
    var sizes = [Int](repeating: 0, count: UInt32.bitWidth + 1)
    for opens in buckets { sizes[UInt32.bitWidth - opens.leadingZeroBitCount] += 1 }
    var found = 0
    for bits in (1...UInt32.bitWidth).reversed() {
      found += sizes[bits]
      if found >= limit * 2 { return 1 << UInt32(bits - 1) }
    }
    return 1
  }

  /// The buckets with so many opens at least, as 1 by bucket; apart in such parts that the paths of one have their place in memory.
  func rounds(_ least: UInt32) -> [[UInt8]] {
    let none = [UInt8](repeating: 0, count: buckets.count)
    var rounds: [[UInt8]] = []
    var opens = Int.max / 2
    for (bucket, count) in buckets.enumerated() where count >= least {
      if opens + Int(count) > Limits.pathOpensTogetherMax {
        rounds.append(none)
        opens = 0
      }
      rounds[rounds.count - 1][bucket] = 1
      opens += Int(count)
    }
    return rounds
  }
}

/// How many opens and users took each path: open addressing.
struct PathTable<Key: PathKey>: Sendable {
  private var slots = [Slot](repeating: Slot(), count: 2 * chunkMax)
  private var count = 0

  private static var chunkMax: Int { 1 << 10 }

  private struct Slot {
    var key = Key.empty
    var opens: UInt32 = 0
    var users: UInt32 = 0
    /// Who was counted last, plus 1.
    var user: UInt32 = 0
  }

  var byteCount: Int { slots.count * MemoryLayout<Slot>.stride }

  /// Adds the paths of the wanted buckets.
  ///
  /// - Parameter block: in the order of its users, who are in no other.
  mutating func add(_ block: PathBlock<Key>, _ isWanted: [UInt8]) {
    var found = [UInt32](repeating: 0, count: Self.chunkMax)
    for begin in stride(from: 0, to: block.keys.count, by: Self.chunkMax) {
      while (count + Self.chunkMax) * 2 > slots.count { grow() }
      add(block, begin..<min(begin + Self.chunkMax, block.keys.count), isWanted, &found)
    }
  }

  private mutating func add(
    _ block: PathBlock<Key>, _ range: Range<Int>, _ isWanted: [UInt8], _ found: inout [UInt32]
  ) {
    count += slots.withUnsafeMutableBufferPointer { slots in
      block.keys.withUnsafeBufferPointer { keys in
        block.users.withUnsafeBufferPointer { users in
          found.withUnsafeMutableBufferPointer { found in
            isWanted.withUnsafeBufferPointer { isWanted in
              var foundCount = 0
              // Noted first: which of them are wanted cannot be predicted.
              for index in range {
                found[foundCount] = UInt32(truncatingIfNeeded: index)
                foundCount &+= Int(isWanted[PathSurvey.bucket(keys[index])])
              }
              var added = 0
              for number in 0..<foundCount {
                let index = Int(found[number])
                let slot = Self.slot(keys[index], slots)
                let user = block.firstUser &+ users[index] &+ 1
                added &+= slots[slot].opens == 0 ? 1 : 0
                slots[slot].key = keys[index]
                slots[slot].opens &+= 1
                slots[slot].users &+= slots[slot].user == user ? 0 : 1
                slots[slot].user = user
              }
              return added
            }
          }
        }
      }
    }
  }

  /// Where a path is, or has its place.
  @inline(__always)
  private static func slot(_ key: Key, _ slots: UnsafeMutableBufferPointer<Slot>) -> Int {
    let mask = slots.count &- 1
    var slot = Int(truncatingIfNeeded: key.hash) & mask
    while slots[slot].opens != 0, slots[slot].key != key { slot = (slot &+ 1) & mask }
    return slot
  }

  private mutating func grow() {
    let old = slots
    slots = Array(repeating: Slot(), count: old.count * 2)
    slots.withUnsafeMutableBufferPointer { slots in
      for slot in old where slot.opens != 0 { slots[Self.slot(slot.key, slots)] = slot }
    }
  }

  /// - Parameter other: of other users.
  mutating func merge(_ other: PathTable) {
    for slot in other.slots where slot.opens != 0 {
      if (count + 1) * 2 > slots.count { grow() }
      slots.withUnsafeMutableBufferPointer { slots in
        let own = Self.slot(slot.key, slots)
        count += slots[own].opens == 0 ? 1 : 0
        slots[own].key = slot.key
        slots[own].opens += slot.opens
        slots[own].users += slot.users
      }
    }
  }

  /// Adds the paths that may be among the first to them.
  func add(to top: inout TopPaths<Key>) {
    slots.withUnsafeBufferPointer { slots in
      // Nearly all have too few opens, as slots without a path have none: one test that can be predicted.
      var least = top.leastOpens
      for slot in slots where slot.opens >= least {
        top.add(PathTotal(key: slot.key, opens: slot.opens, users: slot.users))
        least = top.leastOpens
      }
    }
  }
}

struct PathTotal<Key: PathKey>: Sendable {
  let key: Key
  let opens: UInt32
  let users: UInt32

  var counts: PathCounts { PathCounts(opens: UInt64(opens), users: UInt64(users)) }

  /// More opens first, then by the nodes' names.
  @inline(__always)
  func comes(before other: PathTotal) -> Bool {
    opens != other.opens ? opens > other.opens : key < other.key
  }
}

/// The first so many of many.
struct TopPaths<Key: PathKey>: Sendable {
  private(set) var paths: [PathTotal<Key>] = []
  private let limit: Int

  /// One with fewer is not among them.
  var leastOpens: UInt32 { paths.count == limit ? paths[limit - 1].opens : 1 }

  init(limit: Int) { self.limit = limit }

  mutating func add(_ path: PathTotal<Key>) {
    if paths.count == limit {
      if !path.comes(before: paths[limit - 1]) { return }
      paths.removeLast()
    }
    paths.insert(path, at: paths.partitioningIndex { path.comes(before: $0) })
  }
}
