/// What a peer may do too often. One that does is told ENHANCE_YOUR_CALM and cut.
package enum PeerAbuse: Int, Error, Sendable, CaseIterable {
  /// Streams opened and reset (CVE-2023-44487), or refused because too many were open.
  case resets
  /// Frames that made us reset streams (MadeYouReset, CVE-2025-8671).
  case provokedResets
  /// A header block in too many pieces (CVE-2024-28182).
  case continuations
  case settings
  /// PINGs more often than the server permits (gRFC A8).
  case pings
  /// DATA without a byte and without an end (CVE-2019-9518).
  case emptyFrames
  /// PRIORITY and PRIORITY_UPDATE, which have no effect here (CVE-2019-9513).
  case priorities
  /// Frames of a type that HTTP/2 does not know.
  case unknownFrames
  /// More WINDOW_UPDATEs than the DATA sent can call for.
  case windowUpdates
  /// A header block beyond twice a limit: its sender is not mistaken but attacks (CVE-2026-49975).
  case headerFlood
  /// Header blocks beyond a limit, again and again.
  case headerLimits
  /// Requests with a wrong or missing token, again and again.
  case failedAuthentications
  /// Answers that we owe and the peer does not read: acknowledgements, resets, headers (CVE-2019-9512, -9514, -9515).
  case unreadAnswers
}

/// A rate with a burst, in one number: the moment at which everything taken so far would be paid for (GCRA).
struct RateMeter {
  private var paidAt: Int64 = 0
  private let costNanoseconds: Int64
  private let burstNanoseconds: Int64

  /// - Parameters:
  ///   - burst: how much may be taken at once.
  ///   - perSecond: how much of it comes back each second.
  init(burst: Int, perSecond: Int) {
    precondition(burst > 0 && perSecond > 0, "a meter needs a burst and a rate")
    costNanoseconds = 1_000_000_000 / Int64(perSecond)
    burstNanoseconds = costNanoseconds * Int64(burst)
  }

  /// False: there is not that much left; nothing was taken.
  mutating func take(_ amount: Int, at now: Int64) -> Bool {
    let paid = max(paidAt, now) &+ Int64(amount) &* costNanoseconds
    guard paid &- now <= burstNanoseconds else { return false }
    paidAt = paid
    return true
  }
}

/// What all peers of an event loop may do together beyond what each may do for itself. Many connections that each stay within their
/// own burst are as good an attack as one that does not.
struct CommonMeter {
  private var paidAt: Int64 = 0

  /// False: there is not that much left; nothing was taken.
  mutating func take(_ amount: Int, at now: Int64, burst: Int, perSecond: Int) -> Bool {
    let cost = 1_000_000_000 / Int64(perSecond)
    let paid = max(paidAt, now) &+ Int64(amount) &* cost
    guard paid &- now <= cost &* Int64(burst) else { return false }
    paidAt = paid
    return true
  }
}

/// Counts what a peer does beside calls. Touched by nghttp2's callbacks, never for plain DATA and HEADERS.
struct PeerConduct {
  private let limits: HTTP2Limits
  private var resets: RateMeter
  private var ownResets: RateMeter
  private let commonResets: UnsafeMutablePointer<CommonMeter>
  private var nuisances: RateMeter
  /// Honest clients send some that no DATA calls for, each in its own manner: as many as nghttp2 1.67 takes of all oddities
  /// together (`nghttp2_option_set_glitch_rate_limit`), after its first and lower numbers had cut curl.
  private var uncalledWindowUpdates = RateMeter(burst: 10_000, perSecond: 330)
  private var pingStrikes = 0
  private var lastPing = Int64.min / 2
  /// HEADERS and DATA frames sent since the last PING: they excuse one (gRFC A8).
  var hasSent = false
  /// WINDOW_UPDATEs that the DATA sent so far calls for: one for the stream and one for the connection each.
  var windowUpdatesDue = 0
  /// The first thing that was too much.
  private(set) var abuse: PeerAbuse?

  /// DATA that is remembered as not yet acknowledged by a WINDOW_UPDATE.
  private static let windowUpdatesDueMax = 1 << 20

  init(_ limits: HTTP2Limits, commonResets: UnsafeMutablePointer<CommonMeter>) {
    self.limits = limits
    self.commonResets = commonResets
    ownResets = RateMeter(
      burst: min(limits.ownResetsBurst, limits.resetsBurst), perSecond: limits.resetsPerSecond)
    resets = RateMeter(burst: limits.resetsBurst, perSecond: limits.resetsPerSecond)
    nuisances = RateMeter(burst: limits.nuisancesBurst, perSecond: limits.nuisancesPerSecond)
  }

  /// One more of something. False: the peer is to be cut.
  mutating func note(_ what: PeerAbuse, weight: Int = 1) -> Bool {
    let now = MonotonicNanoseconds.now
    let within =
      switch what {
      case .resets: takeResets(weight, at: now)
      case .windowUpdates: uncalledWindowUpdates.take(weight, at: now)
      default: nuisances.take(weight, at: now)
      }
    return within || report(what)
  }

  private mutating func takeResets(_ count: Int, at now: Int64) -> Bool {
    guard resets.take(count, at: now) else { return false }
    return ownResets.take(count, at: now)
      || commonResets.pointee.take(
        count, at: now, burst: limits.commonResetsBurst, perSecond: limits.commonResetsPerSecond)
  }

  /// Something that is too much at once.
  mutating func report(_ what: PeerAbuse) -> Bool {
    if abuse == nil { abuse = what }
    return false
  }

  mutating func windowUpdateCame() -> Bool {
    guard windowUpdatesDue == 0 else {
      windowUpdatesDue &-= 1
      return true
    }
    return note(.windowUpdates)
  }

  @inline(__always)
  mutating func dataSent() {
    hasSent = true
    if windowUpdatesDue < Self.windowUpdatesDueMax { windowUpdatesDue &+= 2 }
  }

  /// A request has come. gRPC's C core opens a stream's window, and the connection's, when it begins to wait for an answer, and
  /// again when it gives up: calls that end without a byte of ours bring some updates each.
  @inline(__always)
  mutating func requestCame() {
    if windowUpdatesDue < Self.windowUpdatesDueMax { windowUpdatesDue &+= 4 }
  }

  /// gRFC A8: a PING sooner than permitted after the last one is a strike, unless calls have been answered between them.
  mutating func pingCame(liveStreams: Int) -> Bool {
    let now = MonotonicNanoseconds.now
    let since = now &- lastPing
    lastPing = now
    if hasSent {
      hasSent = false
      pingStrikes = 0
      return true
    }
    let calls = liveStreams > 0 || limits.pingsWithoutCalls
    let permit = calls ? limits.pingPermitMilliseconds : limits.pingPermitIdleMilliseconds
    if since >= Int64(permit) &* 1_000_000 { return true }
    pingStrikes &+= 1
    return pingStrikes <= limits.pingStrikesMax || report(.pings)
  }
}
