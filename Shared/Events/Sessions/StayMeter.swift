/// Measures how long one user stayed on each page visit (SEMANTICS 2), fed the same events as `OpenCutter`, passive ones
/// left out.
///
/// The stay of a visit is the `stay_ms` of its `$page_leave` where given; else the time to the user's next event in the same
/// open; 0 for the last page of an open without a leave. A visit's leave is the first `$page_leave` of the same page, or of
/// none, behind it and before the next `$page_view` of the open. Because the next event ends the measured time, and
/// `$background` is an event, time in the background is never part of it.
///
/// Inlinable, so that each user of it gets it for its own types: it is fed every event.
@frozen
package struct StayMeter<Page: Equatable & Sendable, Visit: Sendable>: Sendable {
  @frozen
  package enum Event: Sendable {
    /// - visit: given back with its stay.
    case view(Page, visit: Visit)
    /// - stay: `stay_ms`; nil: not given. page nil: the event names none.
    case leave(Page?, stay: Int64?)
    case other
  }

  /// A visit whose stay is not decided yet.
  @usableFromInline
  @frozen
  struct Pending: Sendable {
    @usableFromInline let page: Page
    @usableFromInline let visit: Visit
    @usableFromInline let begin: Int64
    @usableFromInline var next: Int64?
    @usableFromInline var hasLeave = false
    @usableFromInline var stay: Int64?

    @inlinable
    init(page: Page, visit: Visit, begin: Int64) {
      self.page = page
      self.visit = visit
      self.begin = begin
    }

    /// - Parameter next: time of the event that ends the waiting, where it belongs to the same open.
    @inlinable
    func stay(until next: Int64?) -> Int64 {
      if let stay { return stay }
      guard let end = self.next ?? next else { return 0 }
      return max(0, end - begin)
    }
  }

  @frozen
  package struct Measured: Sendable {
    package let visit: Visit
    package let stayMilliseconds: Int64

    @inlinable
    init(visit: Visit, stayMilliseconds: Int64) {
      self.visit = visit
      self.stayMilliseconds = stayMilliseconds
    }
  }

  @usableFromInline var pending: Pending?

  @inlinable
  package init() {}

  /// Takes the next event; returns the visit that it ends.
  @inlinable
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
  @inlinable
  package mutating func finish() -> Measured? {
    defer { pending = nil }
    return pending.map { measured($0, $0.hasLeave ? $0.stay(until: nil) : 0) }
  }

  @inlinable
  func measured(_ pending: Pending, _ stay: Int64) -> Measured {
    Measured(visit: pending.visit, stayMilliseconds: stay)
  }

  @inlinable
  mutating func noteNext(_ time: Int64) {
    if pending != nil, pending?.next == nil { pending?.next = time }
  }

  @inlinable
  mutating func noteLeave(of page: Page?, stay: Int64?) {
    guard let open = pending, !open.hasLeave, page == nil || page == open.page else { return }
    pending?.hasLeave = true
    pending?.stay = stay
  }
}
