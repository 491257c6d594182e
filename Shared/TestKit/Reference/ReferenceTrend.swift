/// The ten trend metrics (SEMANTICS 2) of one period, by looking at every event.
package struct ReferenceTrend: Equatable, Sendable {
  package var visitTotal = 0
  package var sessionCount = 0
  package var visitPageViews = 0
  package var visitUsers = 0
  package var visitNewUsers = 0
  package var sharePageViews = 0
  package var shareUsers = 0
  package var stayMilliseconds: Int64 = 0
  package var depth = 0
  package var eventCount = 0

  /// - Parameters:
  ///   - period: [begin, end), ms since 1970.
  ///   - counts: whether an event counts at all: release channel and scene.
  ///   - matches: the filter and the value of the breakdown.
  package init(
    _ events: [ReferenceEvent], period: Range<Int64>, rules: ReferenceRules,
    counts: (ReferenceEvent) -> Bool, matches: (ReferenceEvent) -> Bool
  ) {
    let counted = events.filter { counts($0) && matches($0) }
    let inPeriod = counted.filter { period.contains($0.time) }
    let active = Set(inPeriod.filter { !$0.isPassive }.map(\.user))
    let shares = inPeriod.filter { $0.name == "$share" }
    eventCount = inPeriod.count
    visitPageViews = inPeriod.count { $0.name == "$page_view" }
    sharePageViews = shares.count
    shareUsers = Set(shares.map(\.user)).count
    visitUsers = active.count
    visitTotal = Set(counted.filter { !$0.isPassive && $0.time < period.upperBound }.map(\.user)).count
    // New is a matter of the user, whatever the filter.
    visitNewUsers = active.count { user in
      let times = events.filter { $0.user == user && counts($0) && !$0.isPassive }.map(\.time)
      return times.min().map { period.contains($0) } ?? false
    }
    // Opens are cut from all events; those count whose first event does.
    for own in Dictionary(grouping: events, by: \.user).values {
      for open in rules.opens(own) where period.contains(open.begin) {
        guard counts(open.events[0]), matches(open.events[0]) else { continue }
        sessionCount += 1
        stayMilliseconds += open.stay
        depth += open.depth
      }
    }
  }
}
