/// How opens spread over the keys of SEMANTICS 2, by looking at every open.
package struct ReferenceDistribution: Sendable {
  package struct Item: Equatable, Sendable {
    package var opens = 0
    package var users: Set<String> = []
  }

  package private(set) var bySource: [Int: Item] = [:]
  package private(set) var byStay: [Int: Item] = [:]
  package private(set) var byDepth: [Int: Item] = [:]

  /// - Parameter sourceKey: of an event; nil: it has no scene.
  package init(
    _ events: [ReferenceEvent], period: Range<Int64>, rules: ReferenceRules,
    counts: (ReferenceEvent) -> Bool, matches: (ReferenceEvent) -> Bool,
    sourceKey: (ReferenceEvent) -> Int?
  ) {
    for (user, own) in Dictionary(grouping: events, by: \.user) {
      for open in rules.opens(own) where period.contains(open.begin) {
        guard counts(open.events[0]), matches(open.events[0]) else { continue }
        Self.add(user, &bySource[sourceKey(open.events[0]) ?? 0])
        Self.add(user, &byStay[Self.stayKey(open.stay)])
        Self.add(user, &byDepth[Self.depthKey(open.depth)])
      }
    }
  }

  private static func add(_ user: String, _ item: inout Item?) {
    var changed = item ?? Item()
    changed.opens += 1
    changed.users.insert(user)
    item = changed
  }

  /// "In whole seconds (floor), upper bounds inclusive."
  private static func stayKey(_ milliseconds: Int64) -> Int {
    let seconds = milliseconds / 1_000
    let table: [(key: Int, bound: Int64)] = [
      (1, 2), (2, 5), (3, 10), (4, 20), (5, 30), (6, 50), (7, 100),
    ]
    return table.first { seconds <= $0.bound }?.key ?? 8
  }

  private static func depthKey(_ pages: Int) -> Int {
    if pages <= 5 { return pages }
    return pages <= 10 ? 6 : 7
  }
}
