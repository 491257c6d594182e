internal import Synchronization

/// The bound on calls that run in the whole server. A call beyond it is refused at once instead of being queued: a client that waits
/// for a full server only makes it fuller. Costs a few atomic operations per call that outlives its dispatch, and one load for
/// each that does not.
///
/// Priorities are served first by being refused last: each may fill its share of the bound and no more. Once half of it is taken an
/// app may hold no more than its share, so that no app keeps the others out.
package final class Admission: Sendable {
  /// What each priority may fill, percent of the bound, in the order of `MethodDescriptor.Priority`.
  static let sharePercents = [100, 95, 85, 70]
  /// Apps are told apart by a hash; two that fall together share a share.
  static let appSlots = 1_024

  private let running = Atomic<Int>(0)
  private let byApp: [AtomicCounter]
  private let boundsByPriority: [Int]
  private let fairFrom: Int
  private let perAppMax: Int

  init(_ limits: ServerLimits) {
    let bound = limits.runningCallsMax
    boundsByPriority = Self.sharePercents.map { bound * $0 / 100 }
    fairFrom = bound / 2
    perAppMax = max(1, bound * limits.runningCallsPerAppPercent / 100)
    byApp = (0..<Self.appSlots).map { _ in AtomicCounter() }
  }

  /// Calls that run now.
  package var runningCalls: Int { running.load(ordering: .relaxed) }

  /// Whether so many calls run that `admits` has to be asked. One load.
  @inline(__always)
  var isCrowded: Bool { running.load(ordering: .relaxed) >= fairFrom }

  /// Whether one more call may run. Takes nothing: several threads may each let one in beyond the bound.
  func admits(_ priority: MethodDescriptor.Priority, _ principal: Principal) -> Bool {
    let now = running.load(ordering: .relaxed)
    guard now >= fairFrom else { return true }
    guard now < boundsByPriority[priority.rawValue] else { return false }
    guard priority != .critical, let slot = principal.admissionSlot else { return true }
    return byApp[slot].value < perAppMax
  }

  @inline(__always)
  func began(_ principal: Principal) {
    running.wrappingAdd(1, ordering: .relaxed)
    if let slot = principal.admissionSlot { byApp[slot].add(1) }
  }

  @inline(__always)
  func ended(_ principal: Principal) {
    running.wrappingSubtract(1, ordering: .relaxed)
    if let slot = principal.admissionSlot { byApp[slot].add(-1) }
  }
}
