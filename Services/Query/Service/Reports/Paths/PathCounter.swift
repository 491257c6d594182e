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
    let bytes = (cells * 8 + PathSurvey.bucketBytes) * (threads + 1)
    try control.charge(bytes, for: "the nodes of each step")
    defer { control.release(bytes) }
    let survey = try survey()
    let top = try topPaths(survey)
    let groups = PathGroups(visits: survey.visits, plan, limit: limit)
    let totals = try totals(groups)
    var graph = PathGraph()
    graph.paths = top.paths.map { path in
      PathGraph.Path(
        nodes: plan.layout.nodes(path.key).map { plan.nodes.names[Int($0)] }, counts: path.counts)
    }
    for block in blocks {
      graph.total.opens += UInt64(block.keys.count)
      graph.total.users += UInt64(block.userCount)
    }
    graph.otherOpens = graph.total.opens - graph.paths.reduce(0) { $0 + $1.counts.opens }
    graph.nodes = groups.nodes(totals)
    graph.edges = try groups.edges(totals)
    return graph
  }

  private func survey() throws -> PathSurvey {
    let parts = try Blocks.map(threads, threads: threads) { thread in
      var survey = PathSurvey(plan)
      for number in stride(from: thread, to: blocks.count, by: threads) {
        try control.check()
        survey.add(blocks[number].keys, plan)
      }
      return survey
    }
    var survey = parts[0]
    for part in parts.dropFirst() { survey.merge(part) }
    return survey
  }

  /// Counts only paths whose buckets have as many opens as the last of the first ones may have: nearly all others need not be told
  /// apart. Where that was thought too many, once more with what was found.
  private func topPaths(_ survey: PathSurvey) throws -> TopPaths<Key> {
    var least = survey.likelyLeast(limit)
    while true {
      var top = TopPaths<Key>(limit: limit)
      for wanted in survey.rounds(least) { try count(wanted).add(to: &top) }
      if top.leastOpens >= least { return top }
      least = top.leastOpens
    }
  }

  /// The paths of some buckets.
  private func count(_ isWanted: [UInt8]) throws -> PathTable<Key> {
    let parts = try Blocks.map(threads, threads: threads) { thread in
      var table = PathTable<Key>()
      var charged = 0
      for number in stride(from: thread, to: blocks.count, by: threads) {
        try control.check()
        table.add(blocks[number], isWanted)
        try control.charge(table.byteCount - charged, for: "different paths")
        charged = table.byteCount
      }
      return (table: table, charged: charged)
    }
    var table = parts[0].table
    for part in parts.dropFirst() { table.merge(part.table) }
    control.release(parts.reduce(0) { $0 + $1.charged })
    return table
  }

  private func totals(_ groups: PathGroups) throws -> PathTotals {
    let parts = try Blocks.map(threads, threads: threads) { thread in
      var totals = PathTotals(groups)
      for number in stride(from: thread, to: blocks.count, by: threads) {
        try control.check()
        totals.add(blocks[number], plan, groups)
      }
      totals.settle()
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
