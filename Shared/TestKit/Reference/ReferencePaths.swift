/// Paths within opens (SEMANTICS 7), open by open.
package struct ReferencePaths {
  package struct Counts: Equatable {
    package var opens = 0
    package var users: Set<String> = []
    package var exits = 0

    mutating func add(_ user: String) {
      opens += 1
      users.insert(user)
    }
  }

  package struct Place: Hashable {
    package let step: Int
    package let node: String
  }

  package struct Move: Hashable {
    package let step: Int
    package let from: String
    package let to: String
  }

  /// By nodes in order of time.
  package private(set) var paths: [[String]: Counts] = [:]
  package private(set) var nodes: [Place: Counts] = [:]
  package private(set) var edges: [Move: Counts] = [:]
  package private(set) var total = Counts()

  /// - Parameters:
  ///   - names: events that are nodes; empty: pages.
  ///   - counts: of an open's first event.
  package init(
    _ events: [ReferenceEvent], range: Range<Int64>, rules: ReferenceRules, names: [String],
    start: String?, end: String?, steps: Int, counts: (ReferenceEvent) -> Bool
  ) {
    for (user, own) in Dictionary(grouping: events, by: \.user) {
      for open in rules.opens(own) where range.contains(open.begin) && counts(open.events[0]) {
        let nodes = Self.collapsed(open.events.compactMap { Self.node($0, names) })
        let path = Self.path(nodes, start, end, steps)
        if !path.isEmpty { add(path, user, isBackward: end != nil) }
      }
    }
  }

  private static func node(_ event: ReferenceEvent, _ names: [String]) -> String? {
    if names.isEmpty { return event.name == "$page_view" ? event.page : nil }
    return names.contains(event.name) ? event.name : nil
  }

  private static func collapsed(_ nodes: [String]) -> [String] {
    nodes.enumerated().filter { $0 == 0 || nodes[$0 - 1] != $1 }.map { $1 }
  }

  private static func path(
    _ nodes: [String], _ start: String?, _ end: String?, _ steps: Int
  ) -> [String] {
    if let start {
      guard let first = nodes.firstIndex(of: start) else { return [] }
      return Array(nodes[first...].prefix(steps))
    }
    if let end {
      guard let last = nodes.lastIndex(of: end) else { return [] }
      return Array(nodes[...last].suffix(steps))
    }
    return Array(nodes.prefix(steps))
  }

  private mutating func add(_ path: [String], _ user: String, isBackward: Bool) {
    total.add(user)
    paths[path, default: Counts()].add(user)
    let inSteps = isBackward ? path.reversed() : path
    for (index, node) in inSteps.enumerated() {
      let place = Place(step: index + 1, node: node)
      nodes[place, default: Counts()].add(user)
      if index == inSteps.count - 1 {
        nodes[place, default: Counts()].exits += 1
      } else {
        edges[Move(step: index + 1, from: node, to: inSteps[index + 1]), default: Counts()].add(user)
      }
    }
  }
}
