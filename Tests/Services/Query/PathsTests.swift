import Events
import Query
import TestKit
import Testing

@Suite struct PathsTests {
  @Test(arguments: 0..<250) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 7_270_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<4 {
      var query = randomQuery(data, &random)
      let comment = Comment(rawValue: "seed \(seed) \(query)")
      let answer = try harness.engine.paths(query, control: QueryControl())
      try compare(answer.graph, reference(query, data), query, harness, comment)
      checkSums(answer.graph, comment)
      guard let days = query.compareDays else { continue }
      query.days = days
      try compare(try #require(answer.compare), reference(query, data), query, harness, comment)
    }
  }

  private func randomQuery(_ data: RandomData, _ random: inout SeededRandom) -> PathsQuery {
    let begin = Int(data.origin / 86_400_000) - 1 + random.below(6)
    var query = PathsQuery(appID: "shop", days: begin...begin + random.below(7))
    if random.oneIn(4) { query.compareDays = begin - 1...begin + random.below(4) }
    if random.oneIn(3) { query.events = ["$page_view", "catalog", "$share", "never_seen"] }
    let nodes = query.events.isEmpty ? ["pages/a", "pages/b", "pages/never"] : query.events
    switch random.below(3) {
    case 0: query.start = random.pick(nodes)
    case 1: query.end = random.pick(nodes)
    default: break
    }
    query.steps = 2 + random.below(9)
    query.limit = random.pick([1, 2, 3, 50])
    if random.oneIn(3) { query.filter = RandomFilters.tree(&random) }
    query.traffic = TrafficChoice(includesExcludedScenes: random.below(2) == 0)
    return query
  }

  private func reference(_ query: PathsQuery, _ data: RandomData) -> ReferencePaths {
    guard let calendar = AppCalendar(data.zone) else { preconditionFailure("no zone \(data.zone)") }
    return ReferencePaths(
      data.events, range: calendar.range(ofDays: query.days), rules: data.rules,
      names: query.events, start: query.start, end: query.end, steps: query.steps
    ) { event in
      event.channel == "release" && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
        && (query.filter.map { RandomFilters.matches($0, event) } ?? true)
    }
  }

  // MARK: Answers

  private func compare(
    _ graph: PathGraph, _ reference: ReferencePaths, _ query: PathsQuery, _ harness: EngineHarness,
    _ comment: Comment
  ) throws {
    #expect(graph.total.opens == UInt64(reference.total.opens), comment)
    #expect(graph.total.users == UInt64(reference.total.users.count), comment)
    let ranked = reference.paths.sorted { a, b in
      a.value.opens != b.value.opens
        ? a.value.opens > b.value.opens : a.key.lexicographicallyPrecedes(b.key)
    }
    #expect(graph.paths.map(\.nodes) == ranked.prefix(query.limit).map(\.key), comment)
    for path in graph.paths {
      let own = reference.paths[path.nodes]
      #expect(path.counts.opens == own.map { UInt64($0.opens) }, comment)
      #expect(path.counts.users == own.map { UInt64($0.users.count) }, comment)
      try checkUsers(.path(path.nodes), own?.users, query, harness, comment)
    }
    let rest = ranked.dropFirst(query.limit).reduce(0) { $0 + $1.value.opens }
    #expect(graph.otherOpens == UInt64(rest), comment)
    try compareNodes(graph, reference, query, harness, comment)
    compareEdges(graph, reference, comment)
    try checkUsers(.all, reference.total.users, query, harness, comment)
  }

  private func compareNodes(
    _ graph: PathGraph, _ reference: ReferencePaths, _ query: PathsQuery, _ harness: EngineHarness,
    _ comment: Comment
  ) throws {
    for step in 1...query.steps {
      let own = reference.nodes.filter { $0.key.step == step }.sorted { a, b in
        a.value.opens != b.value.opens ? a.value.opens > b.value.opens : a.key.node < b.key.node
      }
      let shown = graph.nodes.filter { $0.step == step }
      let names = own.prefix(query.limit).map { Optional($0.key.node) }
      #expect(shown.map(\.name) == names + (own.count > query.limit ? [nil] : []), comment)
      for node in shown {
        let behind = own.filter { node.name == nil ? !names.contains($0.key.node) : $0.key.node == node.name }
        let users = behind.reduce(into: Set<String>()) { $0.formUnion($1.value.users) }
        #expect(node.visits.opens == UInt64(behind.reduce(0) { $0 + $1.value.opens }), comment)
        #expect(node.exits == UInt64(behind.reduce(0) { $0 + $1.value.exits }), comment)
        #expect(node.visits.users == UInt64(users.count), comment)
        if step < 3 { try checkUsers(.node(step: step, name: node.name), users, query, harness, comment) }
      }
    }
  }

  private func compareEdges(_ graph: PathGraph, _ reference: ReferencePaths, _ comment: Comment) {
    func shown(_ step: Int, _ name: String) -> String? {
      graph.nodes.contains { $0.step == step && $0.name == name } ? name : nil
    }
    var expected: [String: (opens: Int, users: Set<String>)] = [:]
    for (move, counts) in reference.edges {
      let ends = [shown(move.step, move.from), shown(move.step + 1, move.to)]
      expected["\(move.step) \(ends)", default: (0, [])].opens += counts.opens
      expected["\(move.step) \(ends)", default: (0, [])].users.formUnion(counts.users)
    }
    #expect(graph.edges.count == expected.count, comment)
    for edge in graph.edges {
      let own = expected["\(edge.step) \([edge.from, edge.to])"]
      #expect(edge.counts.opens == own.map { UInt64($0.opens) }, comment)
      #expect(edge.counts.users == own.map { UInt64($0.users.count) }, comment)
    }
  }

  /// SEMANTICS 7: edges out of a node sum to its visits minus exits; and those into it to its visits.
  private func checkSums(_ graph: PathGraph, _ comment: Comment) {
    for node in graph.nodes {
      let out = graph.edges.filter { $0.step == node.step && $0.from == node.name }
      #expect(out.reduce(0) { $0 + $1.counts.opens } == node.visits.opens - node.exits, comment)
      guard node.step > 1 else { continue }
      let into = graph.edges.filter { $0.step == node.step - 1 && $0.to == node.name }
      #expect(into.reduce(0) { $0 + $1.counts.opens } == node.visits.opens, comment)
    }
    let begun = graph.nodes.filter { $0.step == 1 }.reduce(0) { $0 + $1.visits.opens }
    #expect(begun == graph.total.opens, comment)
    #expect(graph.nodes.reduce(0) { $0 + $1.exits } == graph.total.opens, comment)
  }

  private func checkUsers(
    _ cell: PathCell, _ users: Set<String>?, _ query: PathsQuery, _ harness: EngineHarness,
    _ comment: Comment
  ) throws {
    let listed = try harness.engine.pathUsers(query, cell, control: QueryControl())
    switch cell {
    case .all where users?.isEmpty ?? true: #expect(listed == [], comment)
    default:
      #expect(listed.map { Set($0) } == users, comment)
      #expect(listed?.count == users?.count, comment)
    }
  }

  // MARK: By hand

  @Test func `more pages than a word holds, and every step`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    // 300 pages take 9 bits, ten steps of them 90.
    let rows = (0..<300).map { index in
      var event = ReferenceEvent(
        user: "u\(index / 10)", time: Int64(index % 10) * 1_000, sequence: 0, offset: UInt64(index),
        name: "$page_view")
      event.page = "pages/\(index)"
      return event
    }
    for batch in stride(from: 0, to: 300, by: 10) {
      try harness.apply([Array(rows[batch..<batch + 10])], receivedMilliseconds: 0)
    }
    var query = PathsQuery(appID: "shop", days: 0...0)
    query.steps = 10
    query.limit = 1_000
    let graph = try harness.engine.paths(query, control: QueryControl()).graph
    #expect(graph.paths.count == 30)
    let wanted = Set((0..<30).map { user in (0..<10).map { "pages/\(user * 10 + $0)" } })
    #expect(Set(graph.paths.map(\.nodes)) == wanted)
    #expect(graph.edges.count == 270)
    query.end = "pages/29"
    let ended = try harness.engine.paths(query, control: QueryControl()).graph
    #expect(ended.paths.map(\.nodes) == [(20..<30).map { "pages/\($0)" }])
  }

  @Test(arguments: [(5, 50), (10, 1_000)])
  func `more paths than are counted together, each as rare as any other`(_ steps: Int, _ limit: Int) throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    // Every user goes twice from one of 190 pages to another, or to the same again; nobody as anybody else.
    let pages = 190
    func name(_ page: Int) -> String { "pages/\(100 + page)" }
    for from in 0..<pages {
      let rows = (0..<4 * pages).map { index in
        var event = ReferenceEvent(
          user: "u\(from)-\(index / 4)", time: Int64(index % 4 / 2 * 7_200_000 + index % 2 * 1_000),
          sequence: 0, offset: UInt64(from * 4 * pages + index), name: "$page_view")
        event.page = name(index % 2 == 0 ? from : index / 4)
        return event
      }
      try harness.apply([rows], receivedMilliseconds: 0)
    }
    var query = PathsQuery(appID: "shop", days: 0...0)
    (query.steps, query.limit) = (steps, limit)
    let graph = try harness.engine.paths(query, control: QueryControl()).graph
    let ways = (0..<pages).flatMap { from in
      (0..<pages).map { from == $0 ? [name(from)] : [name(from), name($0)] }
    }
    let inOrder = ways.sorted { $0.lexicographicallyPrecedes($1) }
    #expect(graph.paths.map(\.nodes) == Array(inOrder.prefix(limit)))
    #expect(graph.paths.allSatisfy { $0.counts.opens == 2 && $0.counts.users == 1 })
    #expect(graph.otherOpens == UInt64(2 * (pages * pages - limit)))
    let users = UInt64(pages * pages)
    #expect([graph.total.opens, graph.total.users] == [2 * users, users])
    for node in graph.nodes where node.name != nil {
      let visitors = UInt64(node.step == 1 ? pages : pages - 1)
      #expect([node.visits.opens, node.visits.users] == [2 * visitors, visitors])
      #expect(node.exits == (node.step == 1 ? 2 : 2 * visitors))
    }
    let moves = UInt64(pages * (pages - 1))
    #expect(graph.edges.reduce(0) { $0 + $1.counts.opens } == 2 * moves)
    #expect(graph.edges.reduce(0) { $0 + $1.counts.users } == moves)
    checkSums(graph, "limit \(limit)")
  }

  @Test(arguments: ["steps", "limit", "end", "start", "events"])
  func `what cannot be meant is refused by name`(_ field: String) throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var query = PathsQuery(appID: "shop", days: 0...0)
    switch field {
    case "steps": query.steps = 11
    case "limit": query.limit = 1_001
    case "end":
      query.start = "pages/a"
      query.end = "pages/b"
    case "start":
      query.events = ["buy"]
      query.start = "sell"
    default: query.events = ["Not A Name"]
    }
    do {
      _ = try harness.engine.paths(query, control: QueryControl())
      Issue.record("\(field) was answered")
    } catch let error as QueryError {
      #expect(error.kind == .invalidArgument)
      #expect(error.description.hasPrefix(field), "\(error)")
    }
  }
}
