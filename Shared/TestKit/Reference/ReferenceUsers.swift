/// Users over time (SEMANTICS 8) by looking at every event.
package struct ReferenceUsers {
  /// Those that count, in order.
  private let events: [ReferenceEvent]

  package init(_ events: [ReferenceEvent], counts: (ReferenceEvent) -> Bool) {
    self.events = events.filter(counts).sorted(by: ReferenceEvent.comesBefore)
  }

  /// Users with an active event in a stretch of time.
  package func active(_ time: Range<Int64>) -> Set<String> {
    Set(events.filter { !$0.isPassive && time.contains($0.time) }.map(\.user))
  }

  /// Users with an event that does something, passive or not.
  package func doing(_ time: Range<Int64>, _ does: (ReferenceEvent) -> Bool) -> Set<String> {
    Set(events.filter { time.contains($0.time) && does($0) }.map(\.user))
  }

  /// Users whose first active event ever lies in a stretch of time.
  package func new(_ time: Range<Int64>) -> Set<String> {
    active(time).subtracting(active(Int64.min..<time.lowerBound))
  }

  /// - Parameter day: the n-th day before a day, 0 being the day itself, as a stretch of time.
  package func tier(
    _ name: String, activeDays: Int, dormantDays: Int, _ day: (Int) -> Range<Int64>
  ) -> Set<String> {
    let new = new(day(0))
    let recent = active(day(activeDays - 1).lowerBound..<day(0).upperBound)
    let known = active(day(dormantDays - 1).lowerBound..<day(0).upperBound)
    switch name {
    case "new": return new
    case "active": return recent.subtracting(new)
    case "dormant": return known.subtracting(recent)
    default: return active(Int64.min..<day(0).upperBound).subtracting(known)
    }
  }

  package func stage(
    _ name: String, _ period: Range<Int64>, before: Range<Int64>
  ) -> Set<String> {
    switch name {
    case "new": new(period)
    case "returning": active(period).intersection(active(before))
    case "resurrecting":
      active(period).subtracting(active(before))
        .intersection(active(Int64.min..<before.lowerBound))
    default: active(before).subtracting(active(period))
    }
  }

  /// By user: the times of what counts as an order, in order.
  package func orders(
    _ time: Range<Int64>, _ isOrder: (ReferenceEvent) -> Bool
  ) -> [String: [Int64]] {
    let orders = events.filter { time.contains($0.time) && isOrder($0) }
    return Dictionary(grouping: orders, by: \.user).mapValues { $0.map(\.time) }
  }
}
