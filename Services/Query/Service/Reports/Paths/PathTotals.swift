/// The nodes of each step that are given apart; the rest of a step is one group.
struct PathGroups: Sendable {
  let steps: Int
  let nodeCount: Int
  private let names: [String]
  /// By step: the nodes, those with the most visits first, ties by name.
  private(set) var chosen: [[UInt32]] = []
  /// By step: whether there are others.
  private var hasOther: [Bool] = []
  /// By step and node: its group in the step; of no node: `none`.
  private(set) var groupOf: [UInt16] = []
  /// Groups of a step at most: the chosen ones, the rest, and where the path has no node any more.
  let groupCount: Int
  /// The rest; no node any more.
  private let rest: Int
  let none: Int

  /// - Parameter visits: by step and node.
  init(visits: [UInt32], _ plan: PathPlan, limit: Int) {
    precondition(limit < UInt16.max - 1)
    steps = plan.layout.steps
    names = plan.nodes.names
    nodeCount = names.count
    rest = min(limit, nodeCount)
    none = rest + 1
    groupCount = none + 1
    groupOf = Array(repeating: UInt16(rest), count: visits.count)
    for step in 0..<steps {
      let first = step * nodeCount
      let seen = (1..<max(1, nodeCount)).filter { visits[first + $0] > 0 }
      // Numbers stand in the order of the names.
      let ranked = seen.sorted {
        visits[first + $0] != visits[first + $1] ? visits[first + $0] > visits[first + $1] : $0 < $1
      }
      chosen.append(ranked.prefix(limit).map { UInt32($0) })
      hasOther.append(ranked.count > limit)
      for (group, node) in ranked.prefix(limit).enumerated() {
        groupOf[first + node] = UInt16(group)
      }
      groupOf[first] = UInt16(none)
    }
  }

  /// nil: of the rest.
  private func name(_ step: Int, _ group: Int) -> String? {
    group < chosen[step].count ? names[Int(chosen[step][group])] : nil
  }

  func nodes(_ totals: PathTotals) -> [PathGraph.Node] {
    (0..<steps).flatMap { step in
      let groups = Array(chosen[step].indices) + (hasOther[step] ? [rest] : [])
      return groups.map { group in
        PathGraph.Node(
          step: step + 1, name: name(step, group),
          visits: totals.nodes[step * groupCount + group].counts,
          exits: totals.exits(step, group, self))
      }
    }
  }

  /// By step; those with the most opens first, ties by the names, the rest of a step last.
  ///
  /// - Throws: RESOURCE_EXHAUSTED where there are more than an answer may hold.
  func edges(_ totals: PathTotals) throws(QueryError) -> [PathGraph.Edge] {
    var edges: [RankedEdge] = []
    for (cell, edge) in totals.edges.enumerated() where edge.opens > 0 {
      let (step, from, to) = totals.places.ends(of: cell)
      if to == none { continue }
      edges.append(
        RankedEdge(
          step: step, from: from, to: to, fromNode: node(step, from), toNode: node(step + 1, to),
          counter: edge))
    }
    guard edges.count <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        "the graph would have \(edges.count) edges, at most \(Limits.answerPointsMax): ask for fewer steps or a lower limit")
    }
    edges.sort { $0.comes(before: $1) }
    return edges.map {
      PathGraph.Edge(
        step: $0.step + 1, from: name($0.step, $0.from), to: name($0.step + 1, $0.to),
        counts: $0.counter.counts)
    }
  }

  /// Numbers stand in the order of the names; the rest comes last.
  private func node(_ step: Int, _ group: Int) -> UInt32 {
    group < chosen[step].count ? chosen[step][group] : .max
  }
}

/// An edge with what puts it in its place among others.
private struct RankedEdge {
  let step: Int
  let from: Int
  let to: Int
  let fromNode: UInt32
  let toNode: UInt32
  let counter: PathTotals.Counter

  func comes(before other: RankedEdge) -> Bool {
    if step != other.step { return step < other.step }
    if counter.opens != other.counter.opens { return counter.opens > other.counter.opens }
    return (fromNode, toNode) < (other.fromNode, other.toNode)
  }
}

/// A number for each edge that may occur: by its place where there are few groups, else in the order in which they occur.
struct EdgePlaces: Sendable {
  private static let denseMax = 1 << 18

  let groupCount: Int
  let isDense: Bool
  private var numbers: [UInt64: Int] = [:]
  private var keys: [UInt64] = []

  init(steps: Int, groupCount: Int) {
    self.groupCount = groupCount
    isDense = (steps - 1) * groupCount * groupCount <= Self.denseMax
    denseCount = isDense ? (steps - 1) * groupCount * groupCount : 0
  }

  private let denseCount: Int
  var count: Int { isDense ? denseCount : keys.count }

  @inline(__always)
  mutating func number(_ step: Int, _ from: Int, _ to: Int) -> Int {
    isDense ? (step &* groupCount &+ from) &* groupCount &+ to : sparse(step, from, to)
  }

  /// nil: it has not occurred.
  func known(_ step: Int, _ from: Int, _ to: Int) -> Int? {
    isDense ? (step * groupCount + from) * groupCount + to : numbers[Self.key(step, from, to)]
  }

  private static func key(_ step: Int, _ from: Int, _ to: Int) -> UInt64 {
    UInt64(step) << 32 | UInt64(from) << 16 | UInt64(to)
  }

  private mutating func sparse(_ step: Int, _ from: Int, _ to: Int) -> Int {
    let key = Self.key(step, from, to)
    if let known = numbers[key] { return known }
    numbers[key] = keys.count
    keys.append(key)
    return keys.count - 1
  }

  func ends(of number: Int) -> (step: Int, from: Int, to: Int) {
    if isDense {
      return (number / groupCount / groupCount, number / groupCount % groupCount, number % groupCount)
    }
    let key = keys[number]
    return (Int(key >> 32), Int(key >> 16 & 0xffff), Int(key & 0xffff))
  }
}

/// What was counted of nodes and edges. Users come one after another, all of a user's opens together.
struct PathTotals: Sendable {
  struct Counter: Sendable {
    private(set) var opens: UInt32 = 0
    private var users: UInt32 = 0
    /// Who was counted last; 0: nobody.
    private var user: UInt32 = 0

    var counts: PathCounts { PathCounts(opens: UInt64(opens), users: UInt64(users)) }

    @inline(__always)
    fileprivate mutating func add(_ user: UInt32) {
      opens &+= 1
      users &+= self.user == user ? 0 : 1
      self.user = user
    }

    fileprivate mutating func merge(_ other: Counter) {
      opens += other.opens
      users += other.users
    }
  }

  /// By step and group.
  private(set) var nodes: [Counter]
  /// By `places`. An open that ends before the last step has one to `PathGroups.none`.
  private(set) var edges: [Counter]
  private(set) var places: EdgePlaces
  private var whole = Counter()
  var total: PathCounts { whole.counts }

  init(_ groups: PathGroups) {
    nodes = Array(repeating: Counter(), count: groups.steps * groups.groupCount)
    places = EdgePlaces(steps: groups.steps, groupCount: groups.groupCount)
    edges = Array(repeating: Counter(), count: places.count)
  }

  /// How many opens end in a group of a step.
  func exits(_ step: Int, _ group: Int, _ groups: PathGroups) -> UInt64 {
    if step == groups.steps - 1 { return nodes[step * groups.groupCount + group].counts.opens }
    return places.known(step, group, groups.none).map { edges[$0].counts.opens } ?? 0
  }

  mutating func add<Key: PathKey>(_ block: PathBlock<Key>, _ plan: PathPlan, _ groups: PathGroups) {
    if !places.isDense || plan.end != 0 { return addAny(block, plan, groups) }
    let (nodeCount, groupCount, layout) = (groups.nodeCount, groups.groupCount, plan.layout)
    var whole = self.whole
    block.keys.withUnsafeBufferPointer { keys in
      block.users.withUnsafeBufferPointer { users in
        groups.groupOf.withUnsafeBufferPointer { groupOf in
          nodes.withUnsafeMutableBufferPointer { nodes in
            edges.withUnsafeMutableBufferPointer { edges in
              for index in 0..<keys.count {
                let user = block.firstUser &+ users[index]
                let key = keys[index]
                whole.add(user)
                var last = Int(groupOf[Int(key.bits(layout.shift(0), layout.mask))])
                nodes[last].add(user)
                // All steps, whether or not the path goes so far: where it ends cannot be predicted.
                for step in 1..<layout.steps {
                  let node = Int(key.bits(layout.shift(step), layout.mask))
                  let group = Int(groupOf[step &* nodeCount &+ node])
                  nodes[step &* groupCount &+ group].add(user)
                  edges[((step &- 1) &* groupCount &+ last) &* groupCount &+ group].add(user)
                  last = group
                }
              }
            }
          }
        }
      }
    }
    self.whole = whole
  }

  private mutating func addAny<Key: PathKey>(
    _ block: PathBlock<Key>, _ plan: PathPlan, _ groups: PathGroups
  ) {
    for index in block.keys.indices {
      let user = block.firstUser + block.users[index]
      whole.add(user)
      var last = 0
      var lastStep = 0
      PathSteps(block.keys[index], plan).forEach { step, node in
        let group = Int(groups.groupOf[step * groups.nodeCount + Int(node)])
        nodes[step * groups.groupCount + group].add(user)
        if step > 0 { addEdge(step - 1, last, group, user) }
        last = group
        lastStep = step
      }
      if lastStep < groups.steps - 1 { addEdge(lastStep, last, groups.none, user) }
    }
  }

  private mutating func addEdge(_ step: Int, _ from: Int, _ to: Int, _ user: UInt32) {
    let number = places.number(step, from, to)
    if number >= edges.count { edges.append(Counter()) }
    edges[number].add(user)
  }

  mutating func merge(_ other: PathTotals) {
    whole.merge(other.whole)
    for cell in nodes.indices { nodes[cell].merge(other.nodes[cell]) }
    for (number, edge) in other.edges.enumerated() where edge.opens > 0 {
      let (step, from, to) = other.places.ends(of: number)
      let own = places.number(step, from, to)
      if own >= edges.count { edges.append(Counter()) }
      edges[own].merge(edge)
    }
  }
}
