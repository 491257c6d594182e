import Events
package import Messages
package import RPC

/// Answers which ways users take.
package final class PathsService: PathsHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func getPaths(
    _ request: ProtoGetPathsRequest, context: CallContext
  ) async throws -> ProtoGetPathsResponse {
    try await runner.answer(request, context)
  }
}

extension ProtoGetPathsRequest: UserListing {
  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetPathsResponse {
    ProtoGetPathsResponse(try engine.paths(PathsQuery(self, appID: appID), control: control))
  }

  /// `users` of the graph; with `nodes` and no `key` of a path; with `key`, the step, and one node or `other` of a node; with
  /// `key` and two nodes, from and to, of an edge.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    let asked = try PathCell(cell)
    let run = try PathRun(PathsQuery(self, appID: appID), engine: engine, control: control)
    let (users, info) = try run.users(asked)
    guard let users else {
      throw QueryError.invalid("cell.nodes", "the answer has no such path, node or edge")
    }
    return UserList(users: users, app: run.scope.snapshot.app, info: info)
  }
}

extension PathCell {
  init(_ cell: ProtoUserCell) throws(QueryError) {
    try cell.check([.nodes, .key, .group])
    guard cell.metric == "users" else { throw cell.unknownMetric("users") }
    guard cell.group.isEmpty else { throw .invalid("cell.group", "paths have none") }
    let step = Int(cell.key)
    switch (step, cell.other, cell.nodes.count) {
    case (0, false, 0): self = .all
    case (0, false, _): self = .path(cell.nodes)
    case (0, true, _): throw .invalid("cell.other", "needs the step in key")
    case (_, true, 0): self = .node(step: step, name: nil)
    case (_, false, 1): self = .node(step: step, name: cell.nodes[0])
    case (_, false, 2): self = .edge(step: step, from: cell.nodes[0], to: cell.nodes[1])
    default:
      throw .invalid(
        "cell.nodes", "\(cell.nodes.count) given: of a step one node, or the two of an edge, or none with other")
    }
  }
}

extension PathsQuery {
  init(_ request: ProtoGetPathsRequest, appID: String) throws {
    self.init(appID: appID, days: try DayRange(request.range, field: "range").days)
    if request.hasCompareRange {
      compareDays = try DayRange(request.compareRange, field: "compare_range").days
    }
    events = request.events
    start = request.start.isEmpty ? nil : request.start
    end = request.end.isEmpty ? nil : request.end
    if request.steps != 0 { steps = Int(request.steps) }
    if request.limit != 0 { limit = Int(request.limit) }
    if request.hasFilter { filter = try FilterTree(request.filter, asked: "filter") }
    traffic = try TrafficChoice(
      request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes)
  }
}

extension ProtoGetPathsResponse {
  init(_ answer: PathsAnswer) {
    self.init()
    graph = ProtoPathGraph(answer.graph)
    if let compare = answer.compare { self.compare = ProtoPathGraph(compare) }
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoPathGraph {
  init(_ graph: PathGraph) {
    self.init()
    paths = graph.paths.map { path in
      var proto = ProtoPath()
      proto.nodes = path.nodes
      proto.opens = path.counts.opens
      proto.users = path.counts.users
      return proto
    }
    otherOpens = graph.otherOpens
    nodes = graph.nodes.map { node in
      var proto = ProtoPathNode()
      proto.step = UInt32(node.step)
      proto.name = node.name ?? ""
      proto.other = node.name == nil
      proto.visits = node.visits.opens
      proto.users = node.visits.users
      proto.exits = node.exits
      return proto
    }
    edges = graph.edges.map { edge in
      var proto = ProtoPathEdge()
      proto.step = UInt32(edge.step)
      proto.from = edge.from ?? ""
      proto.fromOther = edge.from == nil
      proto.to = edge.to ?? ""
      proto.toOther = edge.to == nil
      proto.opens = edge.counts.opens
      proto.users = edge.counts.users
      return proto
    }
    opens = graph.total.opens
    users = graph.total.users
  }
}

// MARK: CSV

extension ProtoGetPathsResponse: CSVReport {
  /// `kind` is `total`, `path`, `node` or `edge`; `nodes` are set apart by ` > `.
  var csvColumns: [String] {
    ["series", "kind", "step", "nodes", "from", "to", "other", "opens", "users", "exits"]
  }

  var csvRows: [[CSVCell?]] {
    graph.csvRows("graph") + (hasCompare ? compare.csvRows("compare") : [])
  }
}

extension ProtoPathGraph {
  fileprivate func csvRows(_ series: String) -> [[CSVCell?]] {
    func row(
      _ kind: String, step: UInt32? = nil, nodes: String? = nil, from: String? = nil,
      to: String? = nil, other: Bool = false, opens: UInt64, users: UInt64?, exits: UInt64? = nil
    ) -> [CSVCell?] {
      [
        .text(series), .text(kind), step.map { .integer(Int64($0)) }, nodes.map { .text($0) },
        from.map { .text($0) }, to.map { .text($0) }, .boolean(other), .integer(Int64(opens)),
        users.map { .integer(Int64($0)) }, exits.map { .integer(Int64($0)) },
      ]
    }
    return [row("total", opens: opens, users: users)]
      + paths.map {
        row("path", nodes: $0.nodes.joined(separator: " > "), opens: $0.opens, users: $0.users)
      }
      + (otherOpens > 0 ? [row("path", other: true, opens: otherOpens, users: nil)] : [])
      + nodes.map {
        row(
          "node", step: $0.step, nodes: $0.other ? nil : $0.name, other: $0.other, opens: $0.visits,
          users: $0.users, exits: $0.exits)
      }
      + edges.map {
        row(
          "edge", step: $0.step, from: $0.fromOther ? nil : $0.from, to: $0.toOther ? nil : $0.to,
          other: $0.fromOther || $0.toOther, opens: $0.opens, users: $0.users)
      }
  }
}
