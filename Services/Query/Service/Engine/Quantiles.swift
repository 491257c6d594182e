/// Numbers of which exact quantiles are wanted: kept as distinct values with how often each occurs, so that durations, prices
/// and the like take little however many events there are.
struct NumberSample: Sendable, Equatable {
  /// Ascending, distinct.
  private(set) var values: [Double] = []
  private(set) var counts: [UInt32] = []
  private var fresh: [Double] = []

  private static let freshMax = 1 << 14

  init() {}

  var byteCount: Int { values.capacity * 8 + counts.capacity * 4 + fresh.capacity * 8 }

  mutating func add(_ value: Double) {
    fresh.append(value)
    // As much may lie about unsorted as is sorted: each value is then moved a few times only.
    if fresh.count >= max(Self.freshMax, values.count) { settle() }
  }

  /// Sorts in what came last.
  mutating func settle() {
    guard !fresh.isEmpty else { return }
    fresh.sort()
    var other = NumberSample()
    for value in fresh {
      if other.values.last == value, other.counts[other.counts.count - 1] < .max {
        other.counts[other.counts.count - 1] += 1
      } else {
        other.values.append(value)
        other.counts.append(1)
      }
    }
    fresh = []
    merge(other)
  }

  /// Precondition: both are settled.
  mutating func merge(_ other: NumberSample) {
    precondition(fresh.isEmpty && other.fresh.isEmpty)
    if other.values.isEmpty { return }
    if values.isEmpty {
      self = other
      return
    }
    var merged = NumberSample()
    merged.values.reserveCapacity(max(values.count, other.values.count))
    merged.counts.reserveCapacity(max(values.count, other.values.count))
    var (a, b) = (0, 0)
    while a < values.count || b < other.values.count {
      if b == other.values.count || (a < values.count && values[a] < other.values[b]) {
        merged.append(values[a], counts[a])
        a += 1
      } else if a == values.count || other.values[b] < values[a] {
        merged.append(other.values[b], other.counts[b])
        b += 1
      } else {
        let (sum, isOver) = counts[a].addingReportingOverflow(other.counts[b])
        precondition(!isOver, "a value occurs more than 2^32 times")
        merged.append(values[a], sum)
        a += 1
        b += 1
      }
    }
    self = merged
  }

  private mutating func append(_ value: Double, _ count: UInt32) {
    values.append(value)
    counts.append(count)
  }

  /// Quantiles interpolated linearly between the two nearest ranks (Hyndman and Fan, type 7); nil: there are no numbers.
  /// Precondition: it is settled.
  func quantile(_ share: Double) -> Double? {
    precondition(fresh.isEmpty)
    let total = counts.reduce(0) { $0 + Int($1) }
    guard total > 0 else { return nil }
    let position = share * Double(total - 1)
    let low = min(Int(position), total - 1)
    let part = position - Double(low)
    let lower = value(rank: low)
    let upper = value(rank: min(low + 1, total - 1))
    return lower + part * (upper - lower)
  }

  private func value(rank: Int) -> Double {
    var passed = 0
    for index in values.indices {
      passed += Int(counts[index])
      if rank < passed { return values[index] }
    }
    preconditionFailure("a rank beyond the sample")
  }
}
