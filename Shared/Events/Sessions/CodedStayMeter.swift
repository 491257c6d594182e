/// `StayMeter` for pages that are codes, 0 for none, where only the stays themselves are wanted. Not generic, so that the
/// meter is compiled for its types here: for scans that feed it every event of a history.
package struct CodedStayMeter: Sendable {
  private var meter = StayMeter<UInt32, Bool>()

  package init() {}

  /// Takes a `$page_view`; returns the stay of the visit that it ends, ms.
  package mutating func view(_ page: UInt32, at time: Int64, beginsOpen: Bool) -> Int64? {
    meter.take(.view(page, visit: true), at: time, beginsOpen: beginsOpen)?.stayMilliseconds
  }

  /// Takes a `$page_leave`.
  ///
  /// - Parameter stay: `stay_ms`; nil: not given.
  package mutating func leave(
    _ page: UInt32, stay: Int64?, at time: Int64, beginsOpen: Bool
  ) -> Int64? {
    let event = StayMeter<UInt32, Bool>.Event.leave(page == 0 ? nil : page, stay: stay)
    return meter.take(event, at: time, beginsOpen: beginsOpen)?.stayMilliseconds
  }

  /// Takes any other event.
  package mutating func other(at time: Int64, beginsOpen: Bool) -> Int64? {
    meter.take(.other, at: time, beginsOpen: beginsOpen)?.stayMilliseconds
  }

  /// The user has no further event.
  package mutating func finish() -> Int64? { meter.finish()?.stayMilliseconds }
}
