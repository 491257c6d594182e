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
          visits: totals.nodes[step * groupCount + group],
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
          counts: edge))
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
        counts: $0.counts)
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
  let counts: PathCounts

  func comes(before other: RankedEdge) -> Bool {
    if step != other.step { return step < other.step }
    if counts.opens != other.counts.opens { return counts.opens > other.counts.opens }
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

/// Opens and users at a node or over an edge that were counted of late, in one word: to count is one load and one store. Users come one
/// after another, all of a user's opens together.
private struct RecentCounts: BitwiseCopyable {
  /// From the low bits up: who was counted last, 0: nobody; users; opens.
  private var word: UInt64 = 0

  private static let userBits: UInt64 = 32
  private static let countBits: UInt64 = 16
  static let opensMax = 1 << Int(countBits) - 1

  /// - Parameter user: not below the last one.
  @inline(__always)
  mutating func add(_ user: UInt32) {
    let distance = UInt64(user &- UInt32(truncatingIfNeeded: word))
    let users: UInt64 = distance == 0 ? 0 : 1
    word = word &+ distance &+ users &<< Self.userBits &+ 1 &<< (Self.userBits &+ Self.countBits)
  }

  /// Moves what was counted to a total; who was counted last stays.
  mutating func move(to total: inout PathCounts) {
    total.opens += word >> (Self.userBits + Self.countBits)
    total.users += word >> Self.userBits & (1 << Self.countBits - 1)
    word &= 1 << Self.userBits - 1
  }
}

/// What was counted of nodes and edges.
struct PathTotals: Sendable {
  /// By step and group. Of `PathGroups.none` they say nothing.
  private(set) var nodes: [PathCounts]
  /// By `places`. An open that ends before the last step has one to `PathGroups.none`.
  private(set) var edges: [PathCounts]
  private(set) var places: EdgePlaces
  /// The same, not yet in `nodes` and `edges`.
  private var recentNodes: [RecentCounts]
  private var recentEdges: [RecentCounts]
  private var recentOpens = 0

  init(_ groups: PathGroups) {
    let nodeCount = groups.steps * groups.groupCount
    places = EdgePlaces(steps: groups.steps, groupCount: groups.groupCount)
    nodes = Array(repeating: PathCounts(), count: nodeCount)
    edges = Array(repeating: PathCounts(), count: places.count)
    recentNodes = Array(repeating: RecentCounts(), count: nodeCount)
    recentEdges = Array(repeating: RecentCounts(), count: places.count)
  }

  /// How many opens end in a group of a step.
  func exits(_ step: Int, _ group: Int, _ groups: PathGroups) -> UInt64 {
    if step == groups.steps - 1 { return nodes[step * groups.groupCount + group].opens }
    return places.known(step, group, groups.none).map { edges[$0].opens } ?? 0
  }

  /// - Parameter block: in the order of its users, who come behind those of all blocks before.
  mutating func add<Key: PathKey>(_ block: PathBlock<Key>, _ plan: PathPlan, _ groups: PathGroups) {
    var begin = 0
    while begin < block.keys.count {
      let end = min(block.keys.count, begin + RecentCounts.opensMax - recentOpens)
      if !places.isDense || plan.end != 0 {
        addAny(block, begin..<end, plan, groups)
      } else {
        addForward(block, begin..<end, plan, groups)
      }
      recentOpens += end - begin
      if recentOpens == RecentCounts.opensMax { settle() }
      begin = end
    }
  }

  /// Must be called before anything is read.
  mutating func settle() {
    for number in nodes.indices { recentNodes[number].move(to: &nodes[number]) }
    for number in edges.indices { recentEdges[number].move(to: &edges[number]) }
    recentOpens = 0
  }

  private mutating func addForward<Key: PathKey>(
    _ block: PathBlock<Key>, _ range: Range<Int>, _ plan: PathPlan, _ groups: PathGroups
  ) {
    let (nodeCount, groupCount, layout) = (groups.nodeCount, groups.groupCount, plan.layout)
    let (mask, firstShift) = (layout.mask, layout.shift(0))
    let firstUser = block.firstUser + 1
    block.keys.withUnsafeBufferPointer { keys in
      block.users.withUnsafeBufferPointer { users in
        groups.groupOf.withUnsafeBufferPointer { groupOf in
          recentNodes.withUnsafeMutableBufferPointer { nodes in
            recentEdges.withUnsafeMutableBufferPointer { edges in
              for index in range {
                let user = firstUser &+ users[index]
                let key = keys[index]
                var shift = firstShift
                var last = Int(groupOf[Int(key.bits(shift, mask))])
                nodes[last].add(user)
                // All steps, whether or not the path goes so far: where it ends cannot be predicted.
                for step in 1..<layout.steps {
                  shift &-= layout.bits
                  let group = Int(groupOf[step &* nodeCount &+ Int(key.bits(shift, mask))])
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
  }

  private mutating func addAny<Key: PathKey>(
    _ block: PathBlock<Key>, _ range: Range<Int>, _ plan: PathPlan, _ groups: PathGroups
  ) {
    let firstUser = block.firstUser + 1
    for index in range {
      let user = firstUser + block.users[index]
      var last = 0
      var lastStep = 0
      PathSteps(block.keys[index], plan).forEach { step, node in
        let group = Int(groups.groupOf[step * groups.nodeCount + Int(node)])
        recentNodes[step * groups.groupCount + group].add(user)
        if step > 0 { addEdge(step - 1, last, group, user) }
        last = group
        lastStep = step
      }
      if lastStep < groups.steps - 1 { addEdge(lastStep, last, groups.none, user) }
    }
  }

  private mutating func addEdge(_ step: Int, _ from: Int, _ to: Int, _ user: UInt32) {
    let number = number(step, from, to)
    recentEdges[number].add(user)
  }

  private mutating func number(_ step: Int, _ from: Int, _ to: Int) -> Int {
    let number = places.number(step, from, to)
    if number >= edges.count {
      edges.append(PathCounts())
      recentEdges.append(RecentCounts())
    }
    return number
  }

  /// - Parameter other: of other users.
  mutating func merge(_ other: PathTotals) {
    for cell in nodes.indices { nodes[cell].add(other.nodes[cell]) }
    for (number, edge) in other.edges.enumerated() where edge.opens > 0 {
      let (step, from, to) = other.places.ends(of: number)
      edges[self.number(step, from, to)].add(edge)
    }
  }
}

extension PathCounts {
  fileprivate mutating func add(_ other: PathCounts) {
    opens += other.opens
    users += other.users
  }
}
