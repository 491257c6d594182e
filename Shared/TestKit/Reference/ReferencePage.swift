/// The metrics of a page (SEMANTICS 2, "Per page") by looking at every event.
package struct ReferencePage: Equatable, Sendable {
  package var visits = 0
  package var users: Set<String> = []
  package var stayMilliseconds: Int64 = 0
  package var entries = 0
  package var exits = 0
  package var shares = 0
  package var sharers: Set<String> = []
  package var bounces = 0
  /// Opens that begin in the period.
  package var opens = 0

  /// - Parameters:
  ///   - isPage: whether an event's page is the one in question.
  ///   - period: [begin, end), ms since 1970.
  ///   - counts: whether an event counts at all: release channel and scene.
  ///   - matches: the filter.
  package init(
    _ events: [ReferenceEvent], isPage: (ReferenceEvent) -> Bool, period: Range<Int64>,
    rules: ReferenceRules, counts: (ReferenceEvent) -> Bool, matches: (ReferenceEvent) -> Bool
  ) {
    func isCounted(_ event: ReferenceEvent) -> Bool {
      period.contains(event.time) && counts(event) && matches(event)
    }
    let own = events.filter { isCounted($0) && isPage($0) }
    visits = own.count { $0.name == "$page_view" }
    users = Set(own.filter { $0.name == "$page_view" }.map(\.user))
    shares = own.count { $0.name == "$share" }
    sharers = Set(own.filter { $0.name == "$share" }.map(\.user))
    for ofUser in Dictionary(grouping: events, by: \.user).values {
      for open in rules.opens(ofUser) {
        let ofPage = open.visits.filter { isPage($0.event) && isCounted($0.event) }
        stayMilliseconds += ofPage.reduce(0) { $0 + $1.stay }
        // Opens are whole: which page comes first and last does not depend on the filter.
        guard isCounted(open.events[0]) else { continue }
        opens += 1
        if let entry = open.visits.first, isPage(entry.event) {
          entries += 1
          if open.visits.count == 1 { bounces += 1 }
        }
        if let exit = open.visits.last, isPage(exit.event) { exits += 1 }
      }
    }
  }
}
