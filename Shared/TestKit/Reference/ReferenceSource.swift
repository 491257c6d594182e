/// The metrics of a source by looking at every open.
package struct ReferenceSource: Sendable {
  package var opens = 0
  package var pageViews = 0
  package var users: Set<String> = []
  package var converted: Set<String> = []
  package var stayMilliseconds: Int64 = 0
  package var bounces = 0
  /// New users, and when their first open of the source began.
  package var newUsers: [String: Int64] = [:]

  /// - Parameters:
  ///   - isSource: whether an open that begins with an event is of the source.
  ///   - converts: whether an event is a conversion.
  package init(
    _ events: [ReferenceEvent], period: Range<Int64>, rules: ReferenceRules,
    counts: (ReferenceEvent) -> Bool, matches: (ReferenceEvent) -> Bool,
    isSource: (ReferenceEvent) -> Bool, converts: (ReferenceEvent) -> Bool
  ) {
    for (user, own) in Dictionary(grouping: events, by: \.user) {
      let firstActive = own.sorted(by: ReferenceEvent.comesBefore)
        .first { counts($0) && !$0.isPassive }
      for open in rules.opens(own) where period.contains(open.begin) {
        let first = open.events[0]
        guard counts(first), matches(first), isSource(first) else { continue }
        opens += 1
        users.insert(user)
        pageViews += open.visits.count { counts($0.event) }
        stayMilliseconds += open.stay
        if open.visits.count == 1 { bounces += 1 }
        if open.events.contains(where: { converts($0) && counts($0) }) { converted.insert(user) }
        if open.events.contains(where: { $0.offset == firstActive?.offset }) {
          newUsers[user] = open.begin
        }
      }
    }
  }
}
