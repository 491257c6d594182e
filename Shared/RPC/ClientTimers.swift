internal import HTTP2

/// When a connection asks whether its server is there, and when it ends because nobody uses it. Only decides; the connection
/// acts.
package struct ClientTimers: Sendable {
  package enum Action: Equatable, Sendable {
    /// Look again at this moment.
    case wait(untilNanoseconds: Int64)
    /// Send a PING, and look again at this moment.
    case ping(untilNanoseconds: Int64)
    /// The PING was not answered.
    case lost
    /// Nobody has made a call for long.
    case idle
  }

  private let keepalive: ClientKeepalive
  private let timeNanoseconds: Int64?
  private let timeoutNanoseconds: Int64
  private let idleNanoseconds: Int64?
  private var lastReadAt: Int64 = 0
  private var pingSentAt: Int64?
  private var wasUsed = false
  private var idleCheckAt = Int64.max
  private var keepaliveAt = Int64.max

  /// - Parameter idleMilliseconds: without calls for so long, up to twice as long, the connection ends. nil: never.
  package init(keepalive: ClientKeepalive, idleMilliseconds: Int?) {
    self.keepalive = keepalive
    timeNanoseconds = keepalive.effectiveTimeMilliseconds.map { Int64($0) * 1_000_000 }
    timeoutNanoseconds = Int64(keepalive.timeoutMilliseconds) * 1_000_000
    idleNanoseconds = idleMilliseconds.map { Int64($0) * 1_000_000 }
  }

  /// Returns the moment to look at first.
  package mutating func begin(now: Int64 = MonotonicClock.now) -> Int64 {
    lastReadAt = now
    if let timeNanoseconds { keepaliveAt = now + timeNanoseconds }
    if let idleNanoseconds { idleCheckAt = now + idleNanoseconds }
    return min(keepaliveAt, idleCheckAt)
  }

  @inline(__always)
  package mutating func bytesCame(now: @autoclosure () -> Int64 = MonotonicClock.now) {
    // The clock is read only where somebody asks for the time later.
    guard timeNanoseconds != nil else { return }
    lastReadAt = now()
    pingSentAt = nil
  }

  @inline(__always)
  package mutating func callBegan() { wasUsed = true }

  package mutating func look(now: Int64 = MonotonicClock.now, hasCalls: Bool) -> Action {
    if now >= idleCheckAt, let idleNanoseconds {
      if !wasUsed, !hasCalls { return .idle }
      wasUsed = false
      idleCheckAt = now + idleNanoseconds
    }
    guard now >= keepaliveAt, let timeNanoseconds else { return wait }
    if let pingSentAt {
      if now - pingSentAt >= timeoutNanoseconds { return .lost }
      keepaliveAt = pingSentAt + timeoutNanoseconds
      return wait
    }
    let due = lastReadAt + timeNanoseconds
    guard hasCalls || keepalive.isWithoutCalls else {
      keepaliveAt = now + timeNanoseconds
      return wait
    }
    guard now >= due else {
      keepaliveAt = due
      return wait
    }
    pingSentAt = now
    keepaliveAt = now + timeoutNanoseconds
    return .ping(untilNanoseconds: min(keepaliveAt, idleCheckAt))
  }

  private var wait: Action { .wait(untilNanoseconds: min(keepaliveAt, idleCheckAt)) }
}

/// What happens by itself.
extension ClientConnection {
  /// On the loop, at the moment that `onTimer` asked for.
  package func timerFired() {
    wakeAt = .max
    endLateCalls()
    switch timers.look(hasCalls: activeCalls > 0 || !queue.isEmpty) {
    case .wait(let moment): wake(by: moment)
    case .ping(let moment):
      http2.ping()
      driver.flush()
      wake(by: moment)
    case .lost:
      connectionLost("the server did not answer a PING in time")
      driver.close()
    case .idle:
      beginClosing()
      driver.flush()
    }
  }

  /// Asks for a look at a moment, unless there is an earlier one.
  func wake(by moment: Int64) {
    guard moment < wakeAt else { return }
    wakeAt = moment
    onTimer?(moment)
  }

  /// Ends the calls whose deadline has passed. One timer serves all calls: one each would fill the loop's heap with timers of
  /// calls that have long been answered.
  private func endLateCalls() {
    let now = MonotonicClock.now
    var next = Int64.max
    for call in http2.openStreams.compactMap({ self.call(of: $0) }) + queue.waiting {
      guard let deadline = call.request.deadline, !call.isOver else { continue }
      if deadline.nanoseconds <= now {
        cancel(call, RPCError(.deadlineExceeded, "the call's deadline has passed"))
      } else {
        next = min(next, deadline.nanoseconds)
      }
    }
    wake(by: next)
  }
}
