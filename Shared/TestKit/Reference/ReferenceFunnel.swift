/// An ordered funnel (SEMANTICS 6) by trying every chain.
package struct ReferenceFunnel {
  /// How far a user came.
  package struct Outcome {
    /// Times of the steps along the first chain that reaches furthest.
    package var times: [Int64]
    /// The event of step 1 of that chain.
    package var first: ReferenceEvent
  }

  /// By user; users who never did step 1 are absent.
  package private(set) var outcomes: [String: Outcome] = [:]

  /// - Parameters:
  ///   - range: step 1 must happen in it.
  ///   - window: nil: any later time within the range.
  ///   - steps: whether an event does the step.
  package init(
    _ events: [ReferenceEvent], range: Range<Int64>, window: Int64?,
    counts: (ReferenceEvent) -> Bool, steps: [(ReferenceEvent) -> Bool]
  ) {
    for (user, own) in Dictionary(grouping: events.filter(counts), by: \.user) {
      let sorted = own.sorted(by: ReferenceEvent.comesBefore)
        .filter { window != nil || range.contains($0.time) }
      outcomes[user] = Self.outcome(sorted, range, window, steps)
    }
  }

  private static func outcome(
    _ events: [ReferenceEvent], _ range: Range<Int64>, _ window: Int64?,
    _ steps: [(ReferenceEvent) -> Bool]
  ) -> Outcome? {
    var best: Outcome?
    for start in events.indices where range.contains(events[start].time) && steps[0](events[start]) {
      let limit = window.map { events[start].time + $0 } ?? Int64.max
      let length = longest(events, after: start, step: 1, limit, steps) + 1
      if length > best?.times.count ?? 0 {
        let times = earliest(events, start, limit, steps)
        precondition(times.count == length, "taking each step at once reaches as far as any chain")
        best = Outcome(times: times, first: events[start])
      }
    }
    return best
  }

  /// Steps that can still be done behind an event, by trying every event for each.
  private static func longest(
    _ events: [ReferenceEvent], after index: Int, step: Int, _ limit: Int64,
    _ steps: [(ReferenceEvent) -> Bool]
  ) -> Int {
    guard step < steps.count else { return 0 }
    var longest = 0
    for next in events.indices.dropFirst(index + 1)
    where events[next].time <= limit && steps[step](events[next]) {
      longest = max(longest, 1 + Self.longest(events, after: next, step: step + 1, limit, steps))
      if longest == steps.count - step { break }
    }
    return longest
  }

  private static func earliest(
    _ events: [ReferenceEvent], _ start: Int, _ limit: Int64, _ steps: [(ReferenceEvent) -> Bool]
  ) -> [Int64] {
    var times = [events[start].time]
    for event in events[(start + 1)...] where times.count < steps.count && event.time <= limit {
      if steps[times.count](event) { times.append(event.time) }
    }
    return times
  }
}
