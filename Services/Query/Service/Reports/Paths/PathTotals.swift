/// The nodes of each step that are given apart; the rest of a step is one group.
struct PathGroups: Sendable {
  let steps: Int
  let nodeCount: Int
  private let names: [String]
  /// By step: the nodes, those with the most visits first, ties by name.
  private(set) var chosen: [[UInt32]] = []
  /// By step: whether there are others.
  private var hasOther: [Bool] = []
  /// By step and node: its group in the step.
  private(set) var groupOf: [UInt16] = []
  /// Groups of a step at most: the chosen ones and the rest.
  let groupCount: Int

  /// - Parameter visits: by step and node.
  init(visits: [UInt32], _ plan: PathPlan, limit: Int) {
    precondition(limit < UInt16.max)
    steps = plan.layout.steps
    names = plan.nodes.names
    nodeCount = names.count
    groupCount = min(limit, nodeCount) + 1
    groupOf = Array(repeating: UInt16(groupCount - 1), count: visits.count)
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
    }
  }

  /// nil: of the rest.
  private func name(_ step: Int, _ group: Int) -> String? {
    group < chosen[step].count ? names[Int(chosen[step][group])] : nil
  }

  func nodes(_ totals: PathTotals) -> [PathGraph.Node] {
    (0..<steps).flatMap { step in
      let groups = Array(chosen[step].indices) + (hasOther[step] ? [groupCount - 1] : [])
      return groups.map { group in
        let cell = step * groupCount + group
        return PathGraph.Node(
          step: step + 1, name: name(step, group), visits: totals.nodes[cell].counts,
          exits: totals.exits[cell])
      }
    }
  }

  /// By step; those with the most opens first, ties by the names, the rest of a step last.
  ///
  /// - Throws: RESOURCE_EXHAUSTED where there are more than an answer may hold.
  func edges(_ totals: PathTotals) throws(QueryError) -> [PathGraph.Edge] {
    let count = totals.edges.count { $0.counts.opens > 0 }
    guard count <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        "the graph would have \(count) edges, at most \(Limits.answerPointsMax): ask for fewer steps or a lower limit")
    }
    var edges: [PathGraph.Edge] = []
    for (cell, edge) in totals.edges.enumerated() where edge.counts.opens > 0 {
      let (step, from, to) = totals.places.ends(of: cell)
      edges.append(
        PathGraph.Edge(
          step: step + 1, from: name(step, from), to: name(step + 1, to), counts: edge.counts))
    }
    return edges.sorted(by: PathGraph.Edge.comesBefore)
  }
}

extension PathGraph.Edge {
  static func comesBefore(_ a: PathGraph.Edge, _ b: PathGraph.Edge) -> Bool {
    if a.step != b.step { return a.step < b.step }
    if a.counts.opens != b.counts.opens { return a.counts.opens > b.counts.opens }
    if a.from != b.from { return isBefore(a.from, b.from) }
    return isBefore(a.to, b.to)
  }

  private static func isBefore(_ a: String?, _ b: String?) -> Bool {
    guard let a else { return false }
    return b.map { a < $0 } ?? true
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

  private mutating func sparse(_ step: Int, _ from: Int, _ to: Int) -> Int {
    let key = UInt64(step) << 32 | UInt64(from) << 16 | UInt64(to)
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
    var counts = PathCounts()
    /// Who was counted last; 0: nobody.
    fileprivate var user: UInt32 = 0

    @inline(__always)
    fileprivate mutating func add(_ user: UInt32) {
      counts.opens &+= 1
      counts.users &+= self.user == user ? 0 : 1
      self.user = user
    }

    fileprivate mutating func merge(_ other: Counter) {
      counts.opens += other.counts.opens
      counts.users += other.counts.users
    }
  }

  /// By step and group.
  private(set) var nodes: [Counter]
  private(set) var exits: [UInt64]
  /// By `places`.
  private(set) var edges: [Counter]
  private(set) var places: EdgePlaces
  private var whole = Counter()
  var total: PathCounts { whole.counts }

  init(_ groups: PathGroups) {
    let cells = groups.steps * groups.groupCount
    nodes = Array(repeating: Counter(), count: cells)
    exits = Array(repeating: 0, count: cells)
    places = EdgePlaces(steps: groups.steps, groupCount: groups.groupCount)
    edges = Array(repeating: Counter(), count: places.count)
  }

  mutating func add<Key: PathKey>(_ block: PathBlock<Key>, _ plan: PathPlan, _ groups: PathGroups) {
    if !places.isDense { return addSparse(block, plan, groups) }
    let (nodeCount, groupCount) = (groups.nodeCount, groups.groupCount)
    var whole = self.whole
    groups.groupOf.withUnsafeBufferPointer { groupOf in
      nodes.withUnsafeMutableBufferPointer { nodes in
        exits.withUnsafeMutableBufferPointer { exits in
          edges.withUnsafeMutableBufferPointer { edges in
            for index in block.keys.indices {
              let user = block.firstUser &+ block.users[index]
              whole.add(user)
              var last = 0
              var lastStep = 0
              PathSteps(block.keys[index], plan).forEach { step, node in
                let group = Int(groupOf[step &* nodeCount &+ Int(node)])
                nodes[step &* groupCount &+ group].add(user)
                if step > 0 {
                  edges[((step &- 1) &* groupCount &+ last) &* groupCount &+ group].add(user)
                }
                last = group
                lastStep = step
              }
              exits[lastStep &* groupCount &+ last] &+= 1
            }
          }
        }
      }
    }
    self.whole = whole
  }

  private mutating func addSparse<Key: PathKey>(
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
      exits[lastStep * groups.groupCount + last] += 1
    }
  }

  private mutating func addEdge(_ step: Int, _ from: Int, _ to: Int, _ user: UInt32) {
    let number = places.number(step, from, to)
    if number >= edges.count { edges.append(Counter()) }
    edges[number].add(user)
  }

  mutating func merge(_ other: PathTotals) {
    whole.merge(other.whole)
    for cell in nodes.indices {
      nodes[cell].merge(other.nodes[cell])
      exits[cell] += other.exits[cell]
    }
    for (number, edge) in other.edges.enumerated() where edge.counts.opens > 0 {
      let (step, from, to) = other.places.ends(of: number)
      let own = places.number(step, from, to)
      if own >= edges.count { edges.append(Counter()) }
      edges[own].merge(edge)
    }
  }
}
