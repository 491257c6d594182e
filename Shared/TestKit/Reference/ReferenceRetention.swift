/// One cell of a retention (SEMANTICS 4) by looking at every event.
package struct ReferenceRetention {
  package let events: [ReferenceEvent]
  /// Release channel and scene.
  package let counts: (ReferenceEvent) -> Bool
  /// nil: any active event.
  package let cohortEvent: ((ReferenceEvent) -> Bool)?
  package let isNew: Bool
  package let returnEvent: ((ReferenceEvent) -> Bool)?
  /// Of the event by which a user is in the cohort.
  package let matches: (ReferenceEvent) -> Bool

  package init(
    _ events: [ReferenceEvent], counts: @escaping (ReferenceEvent) -> Bool, isNew: Bool,
    cohortEvent: ((ReferenceEvent) -> Bool)?, returnEvent: ((ReferenceEvent) -> Bool)?,
    matches: @escaping (ReferenceEvent) -> Bool
  ) {
    self.events = events.filter(counts).sorted(by: ReferenceEvent.comesBefore)
    self.counts = counts
    self.isNew = isNew
    self.cohortEvent = cohortEvent
    self.returnEvent = returnEvent
    self.matches = matches
  }

  /// The users of the cohort of a period, each with the event that makes it one of them.
  package func cohort(_ period: Range<Int64>) -> [String: ReferenceEvent] {
    var cohort: [String: ReferenceEvent] = [:]
    for user in Set(events.map(\.user)) {
      let own = events.filter { $0.user == user }
      let possible = own.filter { cohortEvent?($0) ?? !$0.isPassive }
      let first = isNew ? possible.first : possible.first { period.contains($0.time) }
      guard let first, period.contains(first.time), matches(first) else { continue }
      cohort[user] = first
    }
    return cohort
  }

  /// Who of some users did the return event in a stretch of time.
  package func returned(_ users: Set<String>, _ time: Range<Int64>) -> Set<String> {
    let back = events.filter {
      time.contains($0.time) && (returnEvent?($0) ?? !$0.isPassive)
    }
    return users.intersection(back.map(\.user))
  }
}
