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
/// few buckets that hold a rank. The larger the values, the wider the buckets: most durations are short.
enum RankSelection {
  private static let sortedMax = 512
  /// Of a value those below its highest one that tell its bucket.
  private static let bits: UInt64 = 6
  private static let bucketCount = (65 - Int(bits)) << Int(bits)

  /// - Parameter ranks: from 0, ascending, each below the number of values.
  static func values(at ranks: [Int], in parts: [[Int64]]) -> [Int64] {
    let count = parts.reduce(0) { $0 + $1.count }
    precondition(ranks.allSatisfy { $0 < count }, "a rank beyond the values")
    if count <= sortedMax {
      let sorted = parts.flatMap { $0 }.sorted()
      return ranks.map { sorted[$0] }
    }
    let low = lowest(parts)
    return inBuckets(ranks, histogram(parts, low), parts, low)
  }

  private static func lowest(_ parts: [[Int64]]) -> Int64 {
    parts.reduce(Int64.max) { low, part in
      var low = low
      for value in part { low = value < low ? value : low }
      return low
    }
  }

  /// Ascending with the value; one value in a bucket where it is less than 2 * 2^bits above the lowest.
  @inline(__always)
  private static func bucket(_ value: Int64, _ low: Int64) -> Int {
    let distance = UInt64(bitPattern: value &- low)
    let highest = 63 &- UInt64((distance | 1 &<< bits).leadingZeroBitCount)
    let shift = highest &- bits
    return Int(truncatingIfNeeded: shift &<< bits &+ distance &>> shift)
  }

  private static func histogram(_ parts: [[Int64]], _ low: Int64) -> [Int] {
    var counts = [Int](repeating: 0, count: bucketCount)
    counts.withUnsafeMutableBufferPointer { counts in
      for part in parts {
        for value in part { counts[bucket(value, low)] &+= 1 }
      }
    }
    return counts
  }

  private static func inBuckets(
    _ ranks: [Int], _ counts: [Int], _ parts: [[Int64]], _ low: Int64
  ) -> [Int64] {
    var chosen: [(bucket: Int, before: Int, ranks: ArraySlice<Int>)] = []
    var bucket = 0
    var before = 0
    var rest = ranks[...]
    while let rank = rest.first {
      while before + counts[bucket] <= rank {
        before += counts[bucket]
        bucket += 1
      }
      let inside = rest.prefix { $0 < before + counts[bucket] }
      chosen.append((bucket, before, inside))
      rest = rest.dropFirst(inside.count)
    }
    let own = contents(chosen.map(\.bucket), parts, low)
    return zip(chosen, own).flatMap { chosen, own in
      // Of one value.
      if chosen.bucket < 2 << Int(bits) { return chosen.ranks.map { _ in low + Int64(chosen.bucket) } }
      return values(at: chosen.ranks.map { $0 - chosen.before }, in: [own])
    }
  }

  /// The values in each of some buckets.
  private static func contents(_ buckets: [Int], _ parts: [[Int64]], _ low: Int64) -> [[Int64]] {
    var places = [UInt8](repeating: 0, count: bucketCount)
    for (place, bucket) in buckets.enumerated() { places[bucket] = UInt8(place + 1) }
    var contents = [[Int64]](repeating: [], count: buckets.count)
    places.withUnsafeBufferPointer { places in
      for part in parts {
        for value in part where places[bucket(value, low)] != 0 {
          contents[Int(places[bucket(value, low)]) - 1].append(value)
        }
      }
    }
    return contents
  }
}
