import Events

/// Which ways do users take within opens? (SEMANTICS 7)
package struct PathsQuery: Sendable {
  package var appID: String
  package var days: ClosedRange<Int>
  package var compareDays: ClosedRange<Int>?
  /// Nodes are these events; empty: page visits, by page.
  package var events: [String] = []
  /// Paths begin with the first such node of an open; nil: with the open's first node.
  package var start: String?
  /// Paths end with the last such node of an open.
  package var end: String?
  /// Nodes of a path at most.
  package var steps = Limits.pathStepsDefault
  /// Paths, and nodes of a step.
  package var limit = Limits.breakdownLimitDefault
  /// Of an open's first event.
  package var filter: FilterTree?
  package var traffic = TrafficChoice()

  package init(appID: String, days: ClosedRange<Int>) {
    self.appID = appID
    self.days = days
  }

  func check() throws(QueryError) {
    let stepsRange = Limits.pathStepsMin...Limits.pathStepsMax
    guard stepsRange.contains(steps) else {
      throw .invalid(
        "steps", "is \(steps), must be \(stepsRange.lowerBound)-\(stepsRange.upperBound)")
    }
    guard (1...Limits.breakdownLimitMax).contains(limit) else {
      throw .invalid("limit", "is \(limit), must be 1-\(Limits.breakdownLimitMax)")
    }
    guard start == nil || end == nil else { throw .invalid("end", "not together with start") }
    if events.isEmpty { return }
    try EventCodes.check(events, asked: "events")
    for (field, name) in [("start", start), ("end", end)] {
      guard name.map(events.contains) ?? true else {
        throw .invalid(field, "is none of the events")
      }
    }
  }
}

/// Opens and users on one path, at one node, or over one edge.
package struct PathCounts: Sendable, Equatable {
  package var opens: UInt64 = 0
  package var users: UInt64 = 0
}

package struct PathGraph: Sendable, Equatable {
  package struct Path: Sendable, Equatable {
    /// In order of time.
    package let nodes: [String]
    package let counts: PathCounts
  }

  package struct Node: Sendable, Equatable {
    /// From 1, in the direction in which steps are counted.
    package let step: Int
    /// nil: all that have no node of their own.
    package let name: String?
    package let visits: PathCounts
    package let exits: UInt64
  }

  package struct Edge: Sendable, Equatable {
    /// Of the node that it leaves.
    package let step: Int
    package let from: String?
    package let to: String?
    package let counts: PathCounts
  }

  package var paths: [Path] = []
  package var otherOpens: UInt64 = 0
  package var nodes: [Node] = []
  package var edges: [Edge] = []
  /// With a path.
  package var total = PathCounts()
}

package struct PathsAnswer: Sendable, Equatable {
  package let graph: PathGraph
  package let compare: PathGraph?
  package let info: AnswerInfo
}

/// Which number of users of an answer.
package enum PathCell: Sendable, Equatable {
  /// All with a path.
  case all
  /// In order of time.
  case path([String])
  /// nil: all that have no node of their own. step from 1.
  case node(step: Int, name: String?)
  case edge(step: Int, from: String, to: String)
}

extension QueryEngine {
  package func paths(_ query: PathsQuery, control: QueryControl) throws -> PathsAnswer {
    let run = try PathRun(query, engine: self, control: control)
    let (graph, tally) = try run.graph(query.days)
    let compared = try query.compareDays.map { try run.graph($0).graph }
    return PathsAnswer(
      graph: graph, compare: compared, info: run.scope.info(tally, query.days, query.compareDays))
  }

  /// The users behind a number, in the order in which the app first saw them; nil: the answer has no such number.
  package func pathUsers(
    _ query: PathsQuery, _ cell: PathCell, control: QueryControl
  ) throws -> [String]? {
    let run = try PathRun(query, engine: self, control: control)
    return try run.users(cell).users.map { run.scope.snapshot.app.texts(.users, $0) }
  }
}

/// The nodes of a question, numbered from 1 in the order of their names, so that paths can be put into that order by number.
struct PathNodes: Sendable {
  /// By number; 0 is no node.
  let names: [String]
  /// By code of a page or event: the number of its node, 0: it is none.
  let numbers: [UInt32]
  let isOfEvents: Bool

  init(_ query: PathsQuery, in snapshot: AppSnapshot) {
    isOfEvents = !query.events.isEmpty
    let kind: DictionaryKind = isOfEvents ? .events : .pages
    let count = snapshot.app.codeCount(kind)
    let codes =
      isOfEvents
      ? query.events.compactMap { snapshot.app.code(.events, of: $0) } : Array(1..<UInt32(count))
    let named = zip(codes, snapshot.app.texts(kind, codes)).sorted { $0.1 < $1.1 }
    var names = [""]
    var numbers = [UInt32](repeating: 0, count: count)
    for (code, name) in named where numbers[Int(code)] == 0 {
      numbers[Int(code)] = UInt32(names.count)
      names.append(name)
    }
    self.names = names
    self.numbers = numbers
  }

  /// 0: there is no such node.
  func number(_ name: String) -> UInt32 {
    let index = names.dropFirst().firstIndex(of: name)
    return UInt32(index ?? 0)
  }

  /// Bits that hold a number.
  var bits: Int { max(1, Int.bitWidth - (names.count - 1).leadingZeroBitCount) }
}
