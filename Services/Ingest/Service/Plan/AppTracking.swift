import Events
import Synchronization

/// An app's plan in memory: the newest snapshot, what was seen, and what test users sent.
final class AppTracking: Sendable {
  let hash: KeyedHash
  /// The writer's: may be ahead of the disk by one transaction.
  private let newest: Mutex<PlanSnapshot>
  private let current: Mutex<Current>
  let feed = TestFeed()

  struct Current: Sendable {
    fileprivate(set) var snapshot: PlanSnapshot
    var seen: SeenShapes
  }

  init(snapshot: PlanSnapshot, seen: SeenShapes, hash: KeyedHash) {
    self.hash = hash
    newest = Mutex(snapshot)
    var seen = seen
    seen.apply(snapshot)
    current = Mutex(Current(snapshot: snapshot, seen: seen))
  }

  /// An app without a plan.
  convenience init(hash: KeyedHash, budget: SeenBudget) {
    self.init(snapshot: .empty, seen: SeenShapes(hash: hash, budget: budget), hash: hash)
  }

  /// One lock for a batch, not for an event.
  func withCurrent<T>(_ body: (inout Current) throws -> T) rethrows -> T {
    try current.withLock { try body(&$0) }
  }

  var snapshot: PlanSnapshot { current.withLock { $0.snapshot } }

  /// Used inside the writer's transactions only.
  var newestSnapshot: PlanSnapshot {
    get { newest.withLock { $0 } }
    set { newest.withLock { $0 = newValue } }
  }

  /// Makes a snapshot hold, once it is durable. Of two changes of one transaction the later one stays, whichever comes last.
  func install(_ snapshot: PlanSnapshot) {
    current.withLock { current in
      guard snapshot.number > current.snapshot.number else { return }
      current.snapshot = snapshot
      current.seen.apply(snapshot)
    }
  }
}
