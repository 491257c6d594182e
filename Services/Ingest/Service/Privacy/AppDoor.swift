import Events
import Synchronization

/// What an app decides about events before they are stored: whose are taken, and what is taken out of them.
final class AppDoor: Sendable {
  private struct State {
    var policy = DoorPolicy.standard
    var users = UserStates()
  }

  private let state = Mutex(State())

  /// Cost: a lock, once per batch.
  var policy: DoorPolicy { state.withLock { $0.policy } }

  /// Whether a user's events are taken: a batch is of one user, so it is asked once per batch.
  func takes(_ user: UInt64) -> Bool {
    state.withLock { $0.users[user: user] ?? $0.policy.takesUnknownUsers }
  }

  func set(_ policy: DoorPolicy) { state.withLock { $0.policy = policy } }

  func set(_ user: UInt64, granted: Bool) { state.withLock { $0.users.set(user, granted: granted) } }
}

/// An app's rules as the hot path needs them.
final class DoorPolicy: Sendable {
  /// Of an app that has set none.
  static let standard = DoorPolicy(
    takesUnknownUsers: true, latenessMilliseconds: EventClock.latenessMilliseconds, scanner: nil)

  let takesUnknownUsers: Bool
  let latenessMilliseconds: Int64
  /// nil: nothing is ever taken out.
  let scanner: PrivacyScanner?

  init(takesUnknownUsers: Bool, latenessMilliseconds: Int64, scanner: PrivacyScanner?) {
    self.takesUnknownUsers = takesUnknownUsers
    self.latenessMilliseconds = latenessMilliseconds
    self.scanner = scanner
  }
}
