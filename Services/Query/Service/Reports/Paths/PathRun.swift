import Events

/// Plans and runs one question about paths.
struct PathRun {
  let query: PathsQuery
  let scope: ReportScope
  private let plan: PathPlan

  init(_ query: PathsQuery, engine: QueryEngine, control: QueryControl) throws {
    try query.check()
    self.query = query
    scope = try ReportScope(
      query.appID, engine, filter: query.filter, traffic: query.traffic, control: control,
      columns: [.event, .page, .time])
    let nodes = PathNodes(query, in: scope.snapshot)
    guard nodes.bits <= Limits.pathNodeBitsMax else {
      throw QueryError(
        .resourceExhausted,
        "the app has \(nodes.names.count - 1) pages, at most \((1 << Limits.pathNodeBitsMax) - 1) can be nodes: ask for paths of events")
    }
    plan = PathPlan(query, nodes)
  }

  func graph(_ days: ClosedRange<Int>) throws -> (graph: PathGraph, tally: EventTally) {
    try plan.layout.keyBits <= UInt64.bitWidth
      ? graph(days, UInt64.self) : graph(days, WidePathKey.self)
  }

  private func graph<Key: PathKey>(
    _ days: ClosedRange<Int>, _: Key.Type
  ) throws -> (graph: PathGraph, tally: EventTally) {
    let (blocks, tally) = try blocks(days, Key.self)
    let graph = try scope.control.operation("count", rows: blocks.reduce(0) { $0 + $1.keys.count }) {
      try PathCounter(plan, blocks, limit: query.limit, control: scope.control).graph()
    }
    scope.control.release(blocks.reduce(0) { $0 + $1.byteCount })
    return (graph, tally)
  }

  /// The paths of all opens of a range.
  private func blocks<Key: PathKey>(
    _ days: ClosedRange<Int>, _: Key.Type
  ) throws -> (blocks: [PathBlock<Key>], tally: EventTally) {
    let marker = DayMarker(scope.filter, scope.traffic)
    let numbers = Scratch(plan.nodes.numbers)
    let plan = plan
    var walk = OpenWalk<PathVisitor<Key>>(
      source: scope.source, days: days, control: scope.control,
      prepare: { marker.marks($0, $1) }, make: { PathVisitor($0, plan, numbers) })
    walk.takesWholeOpens = !plan.nodes.isOfEvents
    walk.markBytesPerRow = scope.maskBytesPerRow
    let parts = try walk.run().parts
    // Those of several batches of days, and the same put together.
    let bytes = parts.reduce(0) { $0 + $1.byteCount }
    try scope.control.charge(bytes * 2, for: "the path of each open")
    defer { scope.control.release(bytes) }
    let grouped = Dictionary(grouping: parts, by: \.firstUser).sorted { $0.key < $1.key }
    let blocks = try scope.control.operation("order paths", "by user") {
      try Blocks.map(grouped.count, threads: Limits.threadsDefault) { [control = scope.control] number in
        try control.check()
        return PathBlock(grouped[number].value)
      }
    }
    return (blocks, marker.tally)
  }

  // MARK: Users

  /// The users behind a number, ascending; nil: the answer has no such number.
  func users(_ cell: PathCell) throws -> (users: [UInt32]?, info: AnswerInfo) {
    try plan.layout.keyBits <= UInt64.bitWidth
      ? users(cell, UInt64.self) : users(cell, WidePathKey.self)
  }

  private func users<Key: PathKey>(
    _ cell: PathCell, _: Key.Type
  ) throws -> (users: [UInt32]?, info: AnswerInfo) {
    let (blocks, tally) = try blocks(query.days, Key.self)
    let info = scope.info(tally, query.days)
    let graph = try PathCounter(plan, blocks, limit: query.limit, control: scope.control).graph()
    guard graph.has(cell) else { return (nil, info) }
    let test = test(cell, graph)
    var users: [UInt32] = []
    for block in blocks {
      for (index, key) in block.keys.enumerated() {
        let user = block.firstUser + block.users[index]
        if users.last != user, test(plan.steps(of: key)) { users.append(user) }
      }
    }
    return (users, info)
  }

  /// Whether a path, its nodes in the order of the steps, is behind a number.
  private func test(_ cell: PathCell, _ graph: PathGraph) -> ([UInt32]) -> Bool {
    let nodes = plan.nodes
    switch cell {
    case .all: return { _ in true }
    case .path(let names):
      let inOrder = names.map(nodes.number)
      let wanted = plan.end == 0 ? inOrder : inOrder.reversed()
      return { $0 == wanted }
    case .node(let step, let name?):
      let node = nodes.number(name)
      return { $0.count >= step && $0[step - 1] == node }
    case .node(let step, nil):
      let own = Set(graph.nodes.filter { $0.step == step }.compactMap { $0.name.map(nodes.number) })
      return { $0.count >= step && !own.contains($0[step - 1]) }
    case .edge(let step, let from, let to):
      let edge = [nodes.number(from), nodes.number(to)]
      return { $0.count > step && Array($0[step - 1...step]) == edge }
    }
  }
}

extension PathPlan {
  /// The nodes of a path in the order of the steps.
  func steps(of key: some PathKey) -> [UInt32] {
    let nodes = layout.nodes(key)
    return end == 0 ? nodes : nodes.reversed()
  }
}

extension PathGraph {
  func has(_ cell: PathCell) -> Bool {
    switch cell {
    case .all: true
    case .path(let names): paths.contains { $0.nodes == names }
    case .node(let step, let name): nodes.contains { $0.step == step && $0.name == name }
    case .edge(let step, let from, let to):
      edges.contains { $0.step == step && $0.from == from && $0.to == to }
    }
  }
}
