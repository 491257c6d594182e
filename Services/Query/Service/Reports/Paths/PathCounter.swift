/// The paths of the opens of a block of users, by user; and the same by a hash of the path, so that each part of them is
/// counted in a table that stays in a core's cache.
struct PathBlock<Key: PathKey>: Sendable {
  static var partitions: Int { 1 << partitionBits }
  private static var partitionBits: Int { 8 }

  let firstUser: UInt32
  private(set) var keys: [Key] = []
  private(set) var users: [UInt32] = []
  private var partitioned: [Key] = []
  /// By index of `partitioned`: 1 for the first open of its user on that path.
  private var isFirst: [UInt8] = []
  private var partitionEnds: [Int] = []

  var byteCount: Int { keys.count * (MemoryLayout<Key>.stride * 2 + 5) }

  /// - Parameter parts: of the same users; not empty.
  init(_ parts: [PathRecords<Key>]) {
    var records = parts[0]
    for part in parts.dropFirst() { records.append(part) }
    firstUser = records.firstUser
    sort(records)
    partition(firsts())
  }

  /// Puts the opens in the order of their users.
  private mutating func sort(_ records: PathRecords<Key>) {
    var ends = [Int](repeating: 0, count: Int(records.users.max() ?? 0) + 2)
    var users: [UInt32] = []
    keys = records.keys.withUnsafeBufferPointer { oldKeys in
      records.users.withUnsafeBufferPointer { oldUsers in
        ends.withUnsafeMutableBufferPointer { ends in
          for user in oldUsers { ends[Int(user) + 1] &+= 1 }
          for index in 1..<ends.count { ends[index] &+= ends[index - 1] }
          return [Key](unsafeUninitializedCapacity: oldKeys.count) { newKeys, filledKeys in
            filledKeys = oldKeys.count
            users = [UInt32](unsafeUninitializedCapacity: oldKeys.count) { newUsers, filledUsers in
              filledUsers = oldKeys.count
              for index in 0..<oldKeys.count {
                let user = Int(oldUsers[index])
                newKeys[ends[user]] = oldKeys[index]
                newUsers[ends[user]] = oldUsers[index]
                ends[user] &+= 1
              }
            }
          }
        }
      }
    }
    self.users = users
  }

  /// So many opens of one user are looked through for an equal one; more are put in order.
  private static var lookedThroughMax: Int { 32 }

  /// Which opens are their user's first on their path.
  private mutating func firsts() -> [UInt8] {
    var keys = self.keys
    self.keys = []
    let firsts = keys.withUnsafeMutableBufferPointer { keys in
      users.withUnsafeBufferPointer { users in
        [UInt8](unsafeUninitializedCapacity: keys.count) { firsts, filled in
          filled = keys.count
          var begin = 0
          while begin < keys.count {
            var end = begin &+ 1
            while end < keys.count, users[end] == users[begin] { end &+= 1 }
            Self.firsts(begin..<end, keys, firsts)
            begin = end
          }
        }
      }
    }
    self.keys = keys
    return firsts
  }

  /// The same of one user.
  @inline(__always)
  private static func firsts(
    _ range: Range<Int>, _ keys: UnsafeMutableBufferPointer<Key>,
    _ firsts: UnsafeMutableBufferPointer<UInt8>
  ) {
    if range.count > lookedThroughMax {
      // In the order of the paths equal ones are neighbours.
      var own = UnsafeMutableBufferPointer(rebasing: keys[range])
      own.sort(by: <)
      for index in range {
        firsts[index] = index == range.lowerBound || keys[index] != keys[index &- 1] ? 1 : 0
      }
      return
    }
    for index in range {
      var isFirst: UInt8 = 1
      var before = range.lowerBound
      while before < index {
        if keys[before] == keys[index] { isFirst = 0 }
        before &+= 1
      }
      firsts[index] = isFirst
    }
  }

  private mutating func partition(_ firsts: [UInt8]) {
    func partition(_ key: Key) -> Int { Int(key.hash >> UInt64(64 - Self.partitionBits)) }
    var ends = [Int](repeating: 0, count: Self.partitions + 1)
    var flags: [UInt8] = []
    partitioned = keys.withUnsafeBufferPointer { keys in
      firsts.withUnsafeBufferPointer { firsts in
        ends.withUnsafeMutableBufferPointer { ends in
          for key in keys { ends[partition(key) + 1] &+= 1 }
          for index in 1..<ends.count { ends[index] &+= ends[index - 1] }
          return [Key](unsafeUninitializedCapacity: keys.count) { target, filled in
            filled = keys.count
            flags = [UInt8](unsafeUninitializedCapacity: keys.count) { targetFlags, filledFlags in
              filledFlags = keys.count
              for index in 0..<keys.count {
                let number = partition(keys[index])
                target[ends[number]] = keys[index]
                targetFlags[ends[number]] = firsts[index]
                ends[number] &+= 1
              }
            }
          }
        }
      }
    }
    isFirst = flags
    partitionEnds = Array(ends.dropLast())
  }

  func range(_ partition: Int) -> Range<Int> {
    (partition == 0 ? 0 : partitionEnds[partition - 1])..<partitionEnds[partition]
  }

  func add(_ partition: Int, to table: inout PathTable<Key>) {
    partitioned.withUnsafeBufferPointer { keys in
      isFirst.withUnsafeBufferPointer { isFirst in
        table.add(keys, isFirst, range(partition))
      }
    }
  }
}

/// Makes the graph of the paths of all blocks.
struct PathCounter<Key: PathKey> {
  private let plan: PathPlan
  private let blocks: [PathBlock<Key>]
  private let limit: Int
  private let control: QueryControl
  private let threads = Limits.threadsDefault

  init(_ plan: PathPlan, _ blocks: [PathBlock<Key>], limit: Int, control: QueryControl) {
    self.plan = plan
    self.blocks = blocks
    self.limit = limit
    self.control = control
  }

  func graph() throws -> PathGraph {
    let cells = plan.layout.steps * plan.nodes.names.count
    try control.charge(cells * 8 * (threads + 1), for: "the nodes of each step")
    defer { control.release(cells * 8 * (threads + 1)) }
    let top = try topPaths()
    let groups = PathGroups(visits: try visits(), plan, limit: limit)
    let totals = try totals(groups)
    var graph = PathGraph()
    graph.paths = top.paths.map { path in
      PathGraph.Path(
        nodes: plan.layout.nodes(path.key).map { plan.nodes.names[Int($0)] },
        counts: PathCounts(opens: UInt64(path.opens), users: UInt64(path.users)))
    }
    graph.total = totals.total
    graph.otherOpens = totals.total.opens - graph.paths.reduce(0) { $0 + $1.counts.opens }
    graph.nodes = groups.nodes(totals)
    graph.edges = try groups.edges(totals)
    return graph
  }

  private func topPaths() throws -> TopPaths<Key> {
    let parts = try Blocks.map(PathBlock<Key>.partitions, threads: threads) { partition in
      try control.check()
      let count = blocks.reduce(0) { $0 + $1.range(partition).count }
      var table = PathTable<Key>(capacity: count)
      for block in blocks { block.add(partition, to: &table) }
      var top = TopPaths<Key>(limit: limit)
      table.add(to: &top)
      return top
    }
    var top = TopPaths<Key>(limit: limit)
    for part in parts { for path in part.paths { top.add(path) } }
    return top
  }

  /// By step and node.
  private func visits() throws -> [UInt32] {
    let nodeCount = plan.nodes.names.count
    let parts = try Blocks.map(threads, threads: threads) { thread in
      var visits = [UInt32](repeating: 0, count: plan.layout.steps * nodeCount)
      visits.withUnsafeMutableBufferPointer { visits in
        for number in stride(from: thread, to: blocks.count, by: threads) {
          addVisits(blocks[number].keys, nodeCount, visits)
        }
      }
      return visits
    }
    var total = parts[0]
    for part in parts.dropFirst() { for cell in part.indices { total[cell] += part[cell] } }
    return total
  }

  private func addVisits(
    _ keys: [Key], _ nodeCount: Int, _ visits: UnsafeMutableBufferPointer<UInt32>
  ) {
    if plan.end != 0 {
      for key in keys {
        PathSteps(key, plan).forEach { step, node in visits[step &* nodeCount &+ Int(node)] &+= 1 }
      }
      return
    }
    // All steps, whether or not the path goes so far: where it ends cannot be predicted. Node 0 is never asked for.
    let layout = plan.layout
    for key in keys {
      for step in 0..<layout.steps {
        let node = Int(key.bits(layout.shift(step), layout.mask))
        visits[step &* nodeCount &+ node] &+= 1
      }
    }
  }

  private func totals(_ groups: PathGroups) throws -> PathTotals {
    let parts = try Blocks.map(threads, threads: threads) { thread in
      var totals = PathTotals(groups)
      for number in stride(from: thread, to: blocks.count, by: threads) {
        try control.check()
        totals.add(blocks[number], plan, groups)
      }
      return totals
    }
    var total = parts[0]
    for part in parts.dropFirst() { total.merge(part) }
    return total
  }
}

/// The nodes of one path in the order of the steps.
struct PathSteps<Key: PathKey> {
  private let key: Key
  private let layout: PathLayout
  private let isBackward: Bool

  @inline(__always)
  init(_ key: Key, _ plan: PathPlan) {
    self.key = key
    layout = plan.layout
    isBackward = plan.end != 0
  }

  @inline(__always)
  func forEach(_ body: (_ step: Int, _ node: UInt32) -> Void) {
    var count = 0
    if isBackward {
      while count < layout.steps, key.bits(layout.shift(count), layout.mask) != 0 { count &+= 1 }
      for step in 0..<count { body(step, key.bits(layout.shift(count &- 1 &- step), layout.mask)) }
      return
    }
    while count < layout.steps {
      let node = key.bits(layout.shift(count), layout.mask)
      if node == 0 { return }
      body(count, node)
      count &+= 1
    }
  }
}
