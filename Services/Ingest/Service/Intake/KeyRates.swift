package import Messages
package import RPC
import Synchronization

/// The limits of write keys, each kept by two buckets that fill once a second: one of events, one of bytes.
///
/// Asked on the event loop before a batch is decoded; a key without limits costs one load, one with limits about 60 ns.
package final class KeyRates: Sendable {
  private let keys = Mutex<[String: KeyBuckets]>([:])
  private let count = Atomic<Int>(0)

  package init() {}

  /// A token was made, changed or revoked.
  package func apply(_ token: ProtoToken) {
    keys.withLock { keys in
      if token.limits == ProtoKeyLimits() || token.revokedMs != 0 {
        keys[token.tokenID] = nil
      } else if keys[token.tokenID] != nil {
        keys[token.tokenID]?.limits = token.limits
      } else {
        keys[token.tokenID] = KeyBuckets(limits: token.limits)
      }
      count.store(keys.count, ordering: .releasing)
    }
  }

  /// What refuses a batch of this key now; nil: nothing does.
  ///
  /// - Parameter now: of the monotonic clock, nanoseconds.
  package func refusal(
    of principal: Principal, now: @autoclosure () -> Int64 = MonotonicClock.now
  ) -> RPCError? {
    guard count.load(ordering: .acquiring) > 0 else { return nil }
    return keys.withLock { keys in
      guard let shortage = keys[principal.tokenID]?.shortage(at: now()) else { return nil }
      return IngestErrors.overLimit(principal.tokenID, shortage)
    }
  }

  /// A batch of this key has been taken.
  package func charge(_ principal: Principal, events: Int, bytes: Int) {
    guard count.load(ordering: .acquiring) > 0 else { return }
    keys.withLock { $0[principal.tokenID]?.take(events: events, bytes: bytes) }
  }
}

/// What a key has left. A batch may take more than there is, so that none is too large for ever; the next one waits until the
/// debt is paid.
struct KeyBuckets {
  /// Which limit is reached, and for how long.
  struct Shortage: Equatable {
    let field: String
    let perSecond: UInt64
    let milliseconds: Int
  }

  var limits: ProtoKeyLimits {
    didSet { clip() }
  }
  private var events: Double
  private var bytes: Double
  private var updated: Int64?

  init(limits: ProtoKeyLimits) {
    self.limits = limits
    events = Double(limits.eventsPerSecond)
    bytes = Double(limits.bytesPerSecond)
  }

  private mutating func clip() {
    events = min(events, Double(limits.eventsPerSecond))
    bytes = min(bytes, Double(limits.bytesPerSecond))
  }

  /// - Parameter now: of a clock that never goes back, nanoseconds.
  mutating func shortage(at now: Int64) -> Shortage? {
    let elapsed = Double(now - (updated ?? now)) / 1e9
    updated = now
    events += elapsed * Double(limits.eventsPerSecond)
    bytes += elapsed * Double(limits.bytesPerSecond)
    clip()
    let ofEvents = Self.shortage("events_per_second", limits.eventsPerSecond, events)
    let ofBytes = Self.shortage("bytes_per_second", limits.bytesPerSecond, bytes)
    guard let ofEvents, let ofBytes else { return ofEvents ?? ofBytes }
    return ofEvents.milliseconds < ofBytes.milliseconds ? ofBytes : ofEvents
  }

  private static func shortage(_ field: String, _ perSecond: UInt64, _ left: Double) -> Shortage? {
    guard perSecond > 0, left < 1 else { return nil }
    let wait = (1 - left) / Double(perSecond) * 1_000
    return Shortage(field: field, perSecond: perSecond, milliseconds: max(1, Int(wait.rounded(.up))))
  }

  mutating func take(events: Int, bytes: Int) {
    self.events -= Double(events)
    self.bytes -= Double(bytes)
  }
}
