import Query
import TestKit
import Testing

@Suite struct DurationSummaryTests {
  /// Few values are sorted, many are counted in buckets.
  @Test(arguments: [1, 2, 511, 512, 513, 5_000, 40_000])
  func `quantiles are those of the sorted durations`(_ count: Int) {
    var random = SeededRandom(seed: UInt64(count) + 12_000)
    let kinds: [(inout SeededRandom) -> Int64] = [
      { _ in 7 },
      { Int64($0.below(3)) },
      { Int64($0.below(130)) },
      { Int64(1) << Int64($0.below(38)) },
      { Int64($0.below(1 << 38)) },
      { Int64($0.below(20)) * Int64($0.below(1_000)) * Int64($0.below(1_000)) },
    ]
    for (kind, value) in kinds.enumerated() {
      let durations = (0..<count).map { _ in value(&random) }
      let sorted = durations.sorted()
      let summary = DurationSummary(durations)
      #expect(summary.median == quantile(0.5, sorted), "kind \(kind)")
      #expect(summary.p90 == quantile(0.9, sorted), "kind \(kind)")
      #expect(summary.mean == Double(sorted.reduce(0, +)) / Double(count), "kind \(kind)")
    }
  }

  private func quantile(_ share: Double, _ sorted: [Int64]) -> Double {
    let position = share * Double(sorted.count - 1)
    let low = Int(position)
    let high = min(low + 1, sorted.count - 1)
    return Double(sorted[low]) + (position - Double(low)) * Double(sorted[high] - sorted[low])
  }
}
