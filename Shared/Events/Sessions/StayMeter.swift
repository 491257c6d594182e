/// Measures how long one user stayed on each page visit (SEMANTICS 2), fed the same events as `OpenCutter`, passive ones
/// left out.
///
/// The stay of a visit is the `stay_ms` of its `$page_leave` where given; else the time to the user's next event in the same
/// open; 0 for the last page of an open without a leave. A visit's leave is the first `$page_leave` of the same page, or of
/// none, behind it and before the next `$page_view` of the open. Because the next event ends the measured time, and
/// `$background` is an event, time in the background is never part of it.
package struct StayMeter<Page: Equatable & Sendable, Visit: Sendable>: Sendable {
  package enum Event: Sendable {
    /// - visit: given back with its stay.
    case view(Page, visit: Visit)
    /// - stay: `stay_ms`; nil: not given. page nil: the event names none.
    case leave(Page?, stay: Int64?)
    case other
  }

  /// A visit whose stay is not decided yet.
  private struct Pending: Sendable {
    let page: Page
    let visit: Visit
    let begin: Int64
    var next: Int64?
    var hasLeave = false
    var stay: Int64?

    /// - Parameter next: time of the event that ends the waiting, where it belongs to the same open.
    func stay(until next: Int64?) -> Int64 {
      if let stay { return stay }
      guard let end = self.next ?? next else { return 0 }
      return max(0, end - begin)
    }
  }

  package struct Measured: Sendable {
    package let visit: Visit
    package let stayMilliseconds: Int64
  }

  private var pending: Pending?

  package init() {}

  /// Takes the next event; returns the visit that it ends.
  package mutating func take(_ event: Event, at time: Int64, beginsOpen: Bool) -> Measured? {
    let closed = beginsOpen ? finish() : nil
    switch event {
    case .view(let page, let visit):
      let ended = closed ?? pending.map { measured($0, $0.stay(until: time)) }
      pending = Pending(page: page, visit: visit, begin: time)
      return ended
    case .leave(let page, let stay):
      noteNext(time)
      noteLeave(of: page, stay: stay)
    case .other:
      noteNext(time)
    }
    return closed
  }

  /// The user has no further event: what is left, a last page of its open.
  package mutating func finish() -> Measured? {
    defer { pending = nil }
    return pending.map { measured($0, $0.hasLeave ? $0.stay(until: nil) : 0) }
  }

  private func measured(_ pending: Pending, _ stay: Int64) -> Measured {
    Measured(visit: pending.visit, stayMilliseconds: stay)
  }

  private mutating func noteNext(_ time: Int64) {
    if pending != nil, pending?.next == nil { pending?.next = time }
  }

  private mutating func noteLeave(of page: Page?, stay: Int64?) {
    guard let open = pending, !open.hasLeave, page == nil || page == open.page else { return }
    pending?.hasLeave = true
    pending?.stay = stay
  }
}
