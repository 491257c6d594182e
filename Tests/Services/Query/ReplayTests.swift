import Query
import TestKit
import Testing

/// A store depends on the log alone: not on when its records came, in what transactions, when days were sealed, or what
/// was restarted or rolled back between.
@Suite struct ReplayTests {
  @Test(arguments: 0..<12) func `a store that grew in any way holds the bytes of one built at once`(_ part: Int) throws {
    for seed in UInt64(part * 12)..<UInt64(part * 12 + 12) {
      var random = SeededRandom(seed: seed &* 7_919 &+ 11)
      let data = RandomData(&random)
      let grown = try EngineHarness(try data.definition)
      try data.apply(to: grown, &random, withErasures: false)
      try seal(grown)

      let rebuilt = try EngineHarness(try data.definition)
      if !data.batches.isEmpty { try rebuilt.apply(data.batches, receivedMilliseconds: 0) }
      if rebuilt.definition.sources != data.sources { try rebuilt.redefine(data.sources) }
      if random.oneIn(3) { try rebuilt.reopen() }
      try seal(rebuilt)

      let (one, other) = (try StoreContent.lines(grown.store), try StoreContent.lines(rebuilt.store))
      #expect(one.count >= 8, "seed \(seed): a store that holds something")
      #expect(one.count == other.count, "seed \(seed)")
      for (a, b) in zip(one, other) where a != b {
        Issue.record("seed \(seed):\n\(a.prefix(400))\n\(b.prefix(400))")
        return
      }
    }
  }

  /// All rows into segments, and nothing left of replaced ones.
  private func seal(_ harness: EngineHarness) throws {
    try harness.engine.mergeIfDue(rows: 1)
    try harness.engine.mergeIfDue(rows: 1)
    #expect(harness.engine.unsealedRows == 0)
    // When a day is compressed depends on the clock.
    while try harness.engine.compressIfQuiet(seconds: 0) {}
  }
}
