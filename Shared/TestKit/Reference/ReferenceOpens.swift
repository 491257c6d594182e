/// SEMANTICS 2, "Opens", word by word.
package struct ReferenceOpen {
  /// In order; never empty.
  package var events: [ReferenceEvent]

  package var begin: Int64 { events[0].time }

  /// Distinct pages visited.
  package var depth: Int { Set(events.filter { $0.name == "$page_view" }.compactMap(\.page)).count }

  /// Of all page visits, ms.
  package var stay: Int64 { visits.reduce(0) { $0 + $1.stay } }

  /// The page visits, in order, and the stay of each, ms.
  package var visits: [(event: ReferenceEvent, stay: Int64)] {
    events.indices.filter { events[$0].name == "$page_view" }
      .map { (event: events[$0], stay: stay(ofVisitAt: $0)) }
  }

  private func stay(ofVisitAt index: Int) -> Int64 {
    let following = events[(index + 1)...]
    let nextVisit = following.firstIndex { $0.name == "$page_view" }
    let untilNextVisit = following[..<(nextVisit ?? events.endIndex)]
    let leave = untilNextVisit.first {
      $0.name == "$page_leave" && ($0.page == nil || $0.page == events[index].page)
    }
    if case .integer(let stay)? = leave?.fields["stay_ms"] { return stay }
    let isLastWithoutLeave = nextVisit == nil && leave == nil
    guard !isLastWithoutLeave, let next = following.first else { return 0 }
    return next.time - events[index].time
  }
}

/// How opens are cut, ms.
package struct ReferenceRules: Sendable {
  package var mergeUnder: Int64
  package var timeout: Int64

  package init(mergeUnder: Int64, timeout: Int64) {
    self.mergeUnder = mergeUnder
    self.timeout = timeout
  }

  /// The opens of one user.
  package func opens(_ events: [ReferenceEvent]) -> [ReferenceOpen] {
    // Events that a server sent neither begin an open nor keep one alive.
    let own = events.filter { !$0.isPassive }.sorted(by: ReferenceEvent.comesBefore)
    var opens: [ReferenceOpen] = []
    for (index, event) in own.enumerated() {
      if beginsOpen(event, after: Array(own[..<index])) {
        opens.append(ReferenceOpen(events: [event]))
      } else {
        opens[opens.count - 1].events.append(event)
      }
    }
    return opens
  }

  private func beginsOpen(_ event: ReferenceEvent, after earlier: [ReferenceEvent]) -> Bool {
    guard let previous = earlier.last else { return true }
    if event.name == "$launch" { return true }
    if event.time - previous.time > timeout { return true }
    guard event.name == "$foreground" else { return false }
    // In the background since the last $background, unless the app came back after it.
    let last = earlier.last { ["$background", "$foreground", "$launch"].contains($0.name) }
    guard let last, last.name == "$background" else { return false }
    return event.time - last.time > mergeUnder
  }
}
