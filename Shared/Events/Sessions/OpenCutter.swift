/// Cuts one user's events into opens, fed one after another (SEMANTICS 2). 16 bytes of state, to be kept per user.
///
/// Events come in the order of their time, then device sequence, then log offset. An event that comes late anyway is taken
/// as happening now: it never begins an open by its distance in time.
package struct OpenCutter: Sendable, Equatable, BitwiseCopyable {
  /// What an event means for opens.
  package enum Kind: Sendable, Equatable {
    case launch
    case foreground
    case background
    case other

    /// - Parameter event: nil: a custom event.
    package init(_ event: BuiltInEvent?) {
      switch event {
      case .launch: self = .launch
      case .foreground: self = .foreground
      case .background: self = .background
      default: self = .other
      }
    }
  }

  private static let never = Int64.min

  /// Time of the user's latest event, ms. For storing.
  package private(set) var lastMilliseconds: Int64
  /// Time at which the app went to the background, ms, while it is there. For storing.
  package private(set) var backgroundMilliseconds: Int64

  /// A user without events.
  package init() {
    lastMilliseconds = Self.never
    backgroundMilliseconds = Self.never
  }

  /// From what was stored.
  package init(lastMilliseconds: Int64, backgroundMilliseconds: Int64) {
    self.lastMilliseconds = lastMilliseconds
    self.backgroundMilliseconds = backgroundMilliseconds
  }

  package var isEmpty: Bool { lastMilliseconds == Self.never }
  package var isInBackground: Bool { backgroundMilliseconds != Self.never }

  /// Takes the next event; returns whether it begins an open. Passive events (sent by a server) are not fed: they neither
  /// begin an open nor keep one alive.
  package mutating func begins(_ kind: Kind, at time: Int64, rules: SessionRules) -> Bool {
    let begins = cuts(kind, at: time, rules: rules)
    switch kind {
    case .background: backgroundMilliseconds = time
    case .foreground, .launch: backgroundMilliseconds = Self.never
    case .other: break
    }
    lastMilliseconds = max(lastMilliseconds, time)
    return begins
  }

  private func cuts(_ kind: Kind, at time: Int64, rules: SessionRules) -> Bool {
    if isEmpty || kind == .launch { return true }
    if time &- lastMilliseconds > rules.timeoutMilliseconds { return true }
    guard kind == .foreground, isInBackground else { return false }
    return time &- backgroundMilliseconds > rules.mergeUnderMilliseconds
  }
}
