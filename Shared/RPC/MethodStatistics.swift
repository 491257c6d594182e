internal import Synchronization

/// What happened to one method's calls. Each event loop counts for itself, without locks and without sharing cache lines;
/// readers add up.
package final class MethodStatistics: Sendable {
  /// Upper bounds of the latency histogram are 2^k microseconds, k = 0...25, then more.
  package static let latencyBuckets = 27

  private enum Slot {
    static let statuses = 0
    static let latencies = statuses + StatusCode.allCases.count
    static let latencySum = latencies + MethodStatistics.latencyBuckets
    static let running = latencySum + 1
    static let began = running + 1
    static let received = began + 1
    static let receivedBytes = received + 1
    static let sent = receivedBytes + 1
    static let sentBytes = sent + 1
    static let lastBegan = sentBytes + 1
    static let count = lastBegan + 1
  }

  private let counters: LoopCounters

  /// - Parameter loops: event loops that count.
  package init(loops: Int = 1) { counters = LoopCounters(loops: loops, slots: Slot.count) }

  deinit { counters.deallocate() }

  // MARK: - Called on event loop `loop`

  @inline(__always)
  func began(loop: Int, at now: Int64) {
    counters.set(Int(now), loop, Slot.lastBegan)
    counters.add(1, loop, Slot.began)
    counters.add(1, loop, Slot.running)
  }

  @inline(__always)
  func ended(loop: Int, _ status: StatusCode, nanoseconds: Int64) {
    counters.add(-1, loop, Slot.running)
    counters.add(1, loop, Slot.statuses + status.rawValue)
    let microseconds = UInt64(max(0, nanoseconds)) / 1_000
    let bucket =
      microseconds <= 1 ? 0 : min(Self.latencyBuckets - 1, 64 - (microseconds - 1).leadingZeroBitCount)
    counters.add(1, loop, Slot.latencies + bucket)
    counters.add(Int(truncatingIfNeeded: microseconds), loop, Slot.latencySum)
  }

  /// A request message has come.
  @inline(__always)
  func received(loop: Int, bytes: Int) {
    counters.add(1, loop, Slot.received)
    counters.add(bytes, loop, Slot.receivedBytes)
  }

  /// Response messages are on their way.
  @inline(__always)
  func sent(loop: Int, messages: Int = 1, bytes: Int) {
    counters.add(messages, loop, Slot.sent)
    counters.add(bytes, loop, Slot.sentBytes)
  }

  /// Bytes of request messages on one loop so far.
  func requestBytes(loop: Int) -> Int { counters.value(loop, Slot.receivedBytes) }

  // MARK: - Called by anybody. Cost: a few loads per event loop.

  /// Calls by status, in the order of `StatusCode.allCases`.
  package var callsByStatus: [Int] {
    StatusCode.allCases.indices.map { counters.sum(Slot.statuses + $0) }
  }
  /// Calls by latency bucket.
  package var callsByLatency: [Int] {
    (0..<Self.latencyBuckets).map { counters.sum(Slot.latencies + $0) }
  }
  /// Sum of all latencies, microseconds.
  package var latencySumMicroseconds: Int { counters.sum(Slot.latencySum) }
  /// Calls whose handlers run now.
  package var inFlight: Int { counters.sum(Slot.running) }
  /// Calls that reached the method, those included that were refused there.
  package var calls: Int { counters.sum(Slot.began) }
  /// On the monotonic clock, ns; 0: never.
  package var lastCallStarted: Int64 { Int64(counters.max(Slot.lastBegan)) }
  package var requestMessages: Int { counters.sum(Slot.received) }
  /// Bytes of request messages, without gRPC's five bytes before each.
  package var requestBytes: Int { counters.sum(Slot.receivedBytes) }
  package var responseMessages: Int { counters.sum(Slot.sent) }
  /// Bytes of response messages, without gRPC's five bytes before each.
  package var responseBytes: Int { counters.sum(Slot.sentBytes) }
}

/// A row of numbers for each event loop. A row has one writer, its loop, so that a plain load and store add to it; any thread
/// may read.
// @unchecked: all access is by atomics; the memory lives as long as the owner says.
private struct LoopCounters: @unchecked Sendable {
  /// 128 bytes: processors fetch cache lines in pairs.
  private static let slotsPerLine = 16

  private let base: UnsafeMutablePointer<Atomic<Int>>
  private let loops: Int
  private let stride: Int

  init(loops: Int, slots: Int) {
    precondition(loops > 0, "counters without a loop that counts")
    self.loops = loops
    stride = (slots + Self.slotsPerLine - 1) / Self.slotsPerLine * Self.slotsPerLine
    base = .allocate(capacity: loops * stride)
    for index in 0..<(loops * stride) { (base + index).initialize(to: Atomic(0)) }
  }

  func deallocate() { base.deallocate() }

  @inline(__always)
  func add(_ amount: Int, _ loop: Int, _ slot: Int) {
    assert(loop < loops && slot < stride)
    let counter = base + (loop &* stride &+ slot)
    counter.pointee.store(
      counter.pointee.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }

  @inline(__always)
  func set(_ value: Int, _ loop: Int, _ slot: Int) {
    (base + (loop &* stride &+ slot)).pointee.store(value, ordering: .relaxed)
  }

  func value(_ loop: Int, _ slot: Int) -> Int {
    (base + (loop * stride + slot)).pointee.load(ordering: .relaxed)
  }

  func max(_ slot: Int) -> Int {
    (0..<loops).reduce(0) {
      Swift.max($0, value($1, slot))
    }
  }

  func sum(_ slot: Int) -> Int {
    (0..<loops).reduce(0) { $0 &+ value($1, slot) }
  }
}

/// A number that many threads add to.
package final class AtomicCounter: Sendable {
  private let storage = Atomic<Int>(0)
  package init() {}
  @inline(__always)
  package func add(_ amount: Int) { storage.wrappingAdd(amount, ordering: .relaxed) }
  package var value: Int { storage.load(ordering: .relaxed) }
}
