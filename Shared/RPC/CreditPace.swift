internal import HTTP2

/// Lets connections on which calls are refused send on, at the speed at which calls are taken.
///
/// A client that is refused sends its next call at once, and reading calls to refuse them takes the processor from those who work
/// on what was taken. So what such a connection sends is not let come again when it is consumed but in its turn here: all of
/// them together get an eighth more than what is taken while calls are refused, and half as much more while none are. Calls
/// that would be refused wait at the client; those that come are few, find nothing before them, and are answered soon.
///
/// One for all connections of an event loop, used on it only. Cost: nothing where nothing is refused.
package final class CreditPace {
  private let router: Router
  private let loop: Int
  private let windowBytesMin: Int
  /// Connections of the loop.
  private var connectionCount = 0
  private var waiting: [ServerConnection] = []
  private var steppedAt: Int64 = 0
  /// Bytes that may be given back now; below 0: so many too many were.
  private var budget = 0.0
  /// Request bytes per nanosecond that are taken; nil: not known yet.
  private var taken: Double?
  private var measuredAt: Int64 = 0
  private var refusedAt: Int64 = 0
  private var measuredBytes = 0
  /// Called when the first connection begins to wait: `step` is due every `stepNanoseconds` from then on.
  package var onWaiting: () -> Void = {}

  package static let stepNanoseconds: Int64 = 1_000_000
  /// Time after which the last measurement says nothing any more.
  private static let forgetNanoseconds: Int64 = 1_000_000_000
  private static let measureNanoseconds: Int64 = 20_000_000
  /// What a step makes up for at most, where the last one was long ago.
  private static let burstNanoseconds: Int64 = 5_000_000
  /// However little is taken: each may send the least window in this time.
  private static let turnNanoseconds = 25_000_000.0
  private static let surplus = 1.125
  /// The same where nothing was refused for `measureNanoseconds`.
  private static let surplusWithRoom = 1.5
  /// Of all narrow windows, as long as none is smaller than `ServerLimits.refusingWindowBytes`.
  private static let windowBytesTogether = 4 << 20
  /// Of one of them: what it is given at once is paid for before anybody has a turn again.
  private static let windowBytesMax = 256 << 10

  /// - Parameter core: of the server whose calls count.
  package init(core: ServerCore, loop: Int) {
    router = core.router
    windowBytesMin = core.limits.refusingWindowBytes
    self.loop = loop
  }

  /// The receive window of each such connection at most: where connections are few, each may have more on its way. Open ones count, not
  /// those that are refused: these would have too much until all are.
  var windowBytes: Int {
    max(windowBytesMin, min(Self.windowBytesMax, Self.windowBytesTogether / max(1, connectionCount)))
  }

  func opened() { connectionCount += 1 }
  func closed() { connectionCount -= 1 }
  func refused(at now: Int64) { refusedAt = now }

  /// A connection has consumed bytes that it withholds.
  func add(_ connection: ServerConnection) {
    waiting.append(connection)
    if waiting.count == 1 { onWaiting() }
  }

  /// - Parameter now: `MonotonicClock.now`.
  /// - Returns: whether somebody waits still.
  package func step(now: Int64) -> Bool {
    measure(now)
    let elapsed = min(now &- steppedAt, Self.burstNanoseconds)
    steppedAt = now
    let hasRoom = now &- refusedAt > Self.measureNanoseconds
    // Not known in the first moments of a rush: all at once would be another rush.
    let rate = max(
      (taken ?? 0) * (hasRoom ? Self.surplusWithRoom : Self.surplus),
      Double(waiting.count * windowBytesMin) / Self.turnNanoseconds)
    budget = min(budget + Double(elapsed) * rate, Double(Self.burstNanoseconds) * rate)
    var count = 0
    while count < waiting.count, budget > 0 {
      budget -= Double(waiting[count].http2.withheldBytes)
      count += 1
    }
    giveBack(count)
    return !waiting.isEmpty
  }

  private func giveBack(_ count: Int) {
    let connections = waiting[..<count]
    waiting.removeFirst(count)
    for connection in connections { connection.giveCreditBack() }
  }

  private func measure(_ now: Int64) {
    let elapsed = now &- measuredAt
    guard elapsed >= Self.measureNanoseconds else { return }
    let bytes = router.methods.reduce(0) { $0 &+ $1.statistics.requestBytes(loop: loop) }
    if elapsed > Self.forgetNanoseconds {
      taken = nil
      budget = 0
      steppedAt = now
    } else {
      let rate = Double(bytes - measuredBytes) / Double(elapsed)
      // A mean of the last 200 ms or so: what is taken comes in groups.
      taken = taken.map { $0 + 0.1 * (rate - $0) } ?? rate
    }
    measuredAt = now
    measuredBytes = bytes
  }
}
