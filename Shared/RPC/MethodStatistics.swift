internal import Synchronization

/// What happened to one method's calls. Updated on any event loop without locks.
package final class MethodStatistics: Sendable {
  /// Upper bounds of the latency histogram are 2^k microseconds, k = 0...25, then more.
  package static let latencyBuckets = 27

  private let statuses: [AtomicCounter]
  private let latencies: [AtomicCounter]
  private let latencySum = AtomicCounter()
  private let running = AtomicCounter()

  package init() {
    statuses = StatusCode.allCases.map { _ in AtomicCounter() }
    latencies = (0..<Self.latencyBuckets).map { _ in AtomicCounter() }
  }

  @inline(__always)
  func began() { running.add(1) }

  @inline(__always)
  func ended(_ status: StatusCode, nanoseconds: Int64) {
    running.add(-1)
    statuses[status.rawValue].add(1)
    let microseconds = UInt64(max(0, nanoseconds)) / 1_000
    let bucket =
      microseconds <= 1 ? 0 : min(Self.latencyBuckets - 1, 64 - (microseconds - 1).leadingZeroBitCount)
    latencies[bucket].add(1)
    latencySum.add(Int(truncatingIfNeeded: microseconds))
  }

  /// Calls by status, in the order of `StatusCode.allCases`.
  package var callsByStatus: [Int] { statuses.map(\.value) }
  /// Calls by latency bucket.
  package var callsByLatency: [Int] { latencies.map(\.value) }
  /// Sum of all latencies, microseconds.
  package var latencySumMicroseconds: Int { latencySum.value }
  /// Calls whose handlers run now.
  package var inFlight: Int { running.value }
}

/// A number that many threads add to.
package final class AtomicCounter: Sendable {
  private let storage = Atomic<Int>(0)
  package init() {}
  @inline(__always)
  package func add(_ amount: Int) { storage.wrappingAdd(amount, ordering: .relaxed) }
  package var value: Int { storage.load(ordering: .relaxed) }
}
