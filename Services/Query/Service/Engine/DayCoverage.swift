import Synchronization

/// Whether a query asked for days that were dropped for their age. One per query.
final class DayCoverage: Sendable {
  /// `Int.min`: nothing was dropped.
  let droppedBefore: Int
  private let misses = Atomic<Bool>(false)

  /// - Parameter droppedBefore: `Int32.min`: nothing was dropped.
  init(droppedBefore: Int32) {
    self.droppedBefore = droppedBefore == .min ? .min : Int(droppedBefore)
  }

  func note(_ range: Range<Int>) {
    if range.lowerBound < droppedBefore { misses.store(true, ordering: .relaxed) }
  }

  /// Whether every day that was asked for is still kept.
  var isWhole: Bool { !misses.load(ordering: .relaxed) }
}
