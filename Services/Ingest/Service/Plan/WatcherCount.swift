import Synchronization

/// How many calls of WatchTest there are, of all apps.
final class WatcherCount: Sendable {
  private let count = Atomic<Int>(0)

  /// - Returns: false where there are as many as there may be.
  func enter() -> Bool {
    if count.wrappingAdd(1, ordering: .relaxed).newValue <= Limits.Plan.watchersMax { return true }
    leave()
    return false
  }

  func leave() { count.wrappingSubtract(1, ordering: .relaxed) }
}
