/// Durations in ms; all 0 where there are none.
package struct DurationSummary: Sendable, Equatable {
  package var mean: Double = 0
  package var median: Double = 0
  package var p90: Double = 0

  package init() {}

  /// Quantiles are interpolated linearly between the two nearest ranks (Hyndman and Fan, type 7): the median of two
  /// values is their mean.
  package init(_ durations: [Int64]) { self.init(parts: [durations]) }

  /// Of durations that stand in several arrays. Cost: linear.
  init(parts: [[Int64]]) {
    let count = parts.reduce(0) { $0 + $1.count }
    guard count > 0 else { return }
    let sum = parts.reduce(Int64(0)) { $0 + $1.reduce(0, +) }
    mean = Double(sum) / Double(count)
    let places = [0.5, 0.9].map { Place($0, of: count) }
    let ranks = Set(places.flatMap { [$0.low, $0.high] }).sorted()
    let values = RankSelection.values(at: ranks, in: parts)
    let atRank = Dictionary(uniqueKeysWithValues: zip(ranks, values))
    median = places[0].value(atRank)
    p90 = places[1].value(atRank)
  }

  /// Where a quantile lies between two ranks.
  private struct Place {
    let low: Int
    let high: Int
    let part: Double

    init(_ share: Double, of count: Int) {
      let position = share * Double(count - 1)
      low = Int(position)
      high = min(low + 1, count - 1)
      part = position - Double(low)
    }

    func value(_ atRank: [Int: Int64]) -> Double {
      guard let lower = atRank[low], let upper = atRank[high] else {
        preconditionFailure("a rank was not selected")
      }
      return Double(lower) + part * Double(upper - lower)
    }
  }
}

/// The values at some ranks of many, exact, without sorting them all: counts them in buckets by size, and goes on inside the
/// few buckets that hold a rank.
enum RankSelection {
  private static let sortedMax = 512
  private static let bucketBits = 12

  /// - Parameter ranks: from 0, ascending, each below the number of values.
  static func values(at ranks: [Int], in parts: [[Int64]]) -> [Int64] {
    let count = parts.reduce(0) { $0 + $1.count }
    precondition(ranks.allSatisfy { $0 < count }, "a rank beyond the values")
    if count <= sortedMax {
      let sorted = parts.flatMap { $0 }.sorted()
      return ranks.map { sorted[$0] }
    }
    let low = parts.compactMap { $0.min() }.min() ?? 0
    let high = parts.compactMap { $0.max() }.max() ?? 0
    if low == high { return ranks.map { _ in low } }
    let spread = UInt64(bitPattern: high &- low)
    let shift = UInt64(max(0, 64 - spread.leadingZeroBitCount - bucketBits))
    let counts = histogram(parts, low, shift)
    return inBuckets(ranks, counts, parts, low, shift)
  }

  private static func histogram(_ parts: [[Int64]], _ low: Int64, _ shift: UInt64) -> [Int] {
    var counts = [Int](repeating: 0, count: 1 << bucketBits)
    counts.withUnsafeMutableBufferPointer { counts in
      for part in parts {
        for value in part { counts[Int(UInt64(bitPattern: value &- low) &>> shift)] &+= 1 }
      }
    }
    return counts
  }

  private static func inBuckets(
    _ ranks: [Int], _ counts: [Int], _ parts: [[Int64]], _ low: Int64, _ shift: UInt64
  ) -> [Int64] {
    var result: [Int64] = []
    var bucket = 0
    var before = 0
    var rest = ranks[...]
    while let rank = rest.first {
      while before + counts[bucket] <= rank {
        before += counts[bucket]
        bucket += 1
      }
      let inside = rest.prefix { $0 < before + counts[bucket] }
      let own = parts.flatMap { part in
        part.filter { Int(UInt64(bitPattern: $0 &- low) &>> shift) == bucket }
      }
      result += values(at: inside.map { $0 - before }, in: [own])
      rest = rest.dropFirst(inside.count)
    }
    return result
  }
}
