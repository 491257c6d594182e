import Query
import TestKit
import Testing

/// Columns are read as they were written, in every way of writing them.
@Suite struct ColumnTests {
  /// Columns like those of days: constant, in runs, with few values, with exceptions, ascending, anything.
  static func column(_ random: inout SeededRandom) -> [UInt64] {
    let count = random.pick([0, 1, 2, 15, 16, 17, 100, 1_000])
    let shape = random.below(8)
    let wide = random.pick([1, 200, 60_000, 10_000_000, 1 << 40, Int(Int64.max)])
    let values = (0..<8).map { _ in UInt64(random.below(wide)) }
    var last: UInt64 = 0
    return (0..<count).map { _ in
      switch shape {
      case 0: break
      case 1: if random.oneIn(20) { last = UInt64(random.below(wide)) }
      case 2: last = random.pick(values)
      case 3: last = random.oneIn(30) ? UInt64.max - UInt64(random.below(wide)) : UInt64(random.below(200))
      case 4: last &+= UInt64(random.below(100)) &+ (random.oneIn(40) ? UInt64(wide) : 0)
      case 5: last = random.oneIn(50) ? UInt64(random.below(wide)) : 7
      case 6: last &+= 1
      default: last = UInt64(random.below(wide)) &* UInt64(1 + random.below(3))
      }
      return last
    }
  }

  private func read<T: ColumnNumber>(
    _ type: T.Type, _ bytes: [UInt8], _ ends: [UInt32] = []
  ) throws -> [T] {
    try bytes.withUnsafeBytes { try ColumnCodec.decode(type, $0, most: 10_000, ends: ends) }
  }

  /// Groups of so many rows together.
  private static func ends(_ count: Int, _ random: inout SeededRandom) -> [UInt32] {
    var ends: [UInt32] = []
    var end = 0
    while end < count {
      end = min(count, end + 1 + random.below(random.pick([1, 5, 200])))
      ends.append(UInt32(end))
    }
    return ends
  }

  @Test(arguments: 0..<10) func `columns are read as they were written`(_ seed: UInt64) throws {
    for part in 0..<20 {
      var random = SeededRandom(seed: seed * 1_000 + UInt64(part))
      let wide = Self.column(&random)
      let narrow = wide.map { UInt32(truncatingIfNeeded: $0) }
      let bytes = wide.map { UInt8(truncatingIfNeeded: $0) }
      let signed = wide.map { Int64(bitPattern: $0) }
      let where_ = Comment("seed \(seed), part \(part)")
      #expect(try read(UInt64.self, ColumnCodec.encode(wide)) == wide, where_)
      #expect(try read(UInt64.self, ColumnPacker.pack(wide)) == wide, where_)
      #expect(try read(UInt64.self, ColumnPacker.packStepping(wide)) == wide, where_)
      #expect(try read(Int64.self, ColumnCodec.encode(signed)) == signed, where_)
      #expect(try read(UInt32.self, ColumnPacker.pack(narrow)) == narrow, where_)
      #expect(try read(UInt32.self, ColumnPacker.packAscending(narrow)) == narrow, where_)
      #expect(try read(UInt32.self, ColumnPacker.packChanging(narrow)) == narrow, where_)
      let ends = Self.ends(wide.count, &random)
      #expect(try read(UInt32.self, ColumnPacker.packRuns(narrow, ends: ends), ends) == narrow, where_)
      let runs = try ColumnPacker.packRuns(narrow, ends: ends).withUnsafeBytes {
        try ContextRuns(packed: $0, most: 10_000, ends: ends)
      }
      #expect(runs.rowContexts == narrow && ends.allSatisfy(runs.ends.contains), where_)
      let ascending = ColumnPacker.packAscending(narrow, ends: ends)
      #expect(try read(UInt32.self, ascending, ends) == narrow, where_)
      let stepping = ColumnPacker.packStepping(wide, ends: ends)
      #expect(try read(UInt64.self, ColumnPacker.compressed(stepping), ends) == wide, where_)
      #expect(try read(UInt8.self, ColumnPacker.pack(bytes)) == bytes, where_)
      let compressed = ColumnPacker.compressed(ColumnPacker.pack(wide))
      #expect(try read(UInt64.self, compressed) == wide, where_)
    }
  }

  @Test(arguments: 0..<10) func `damaged columns are refused or read as other numbers, never beyond their end`(
    _ seed: UInt64
  ) throws {
    for part in 0..<40 {
      var random = SeededRandom(seed: seed * 1_000 + UInt64(part))
      let values = Self.column(&random)
      var bytes = random.pick([
        ColumnPacker.pack(values), ColumnPacker.packStepping(values), ColumnCodec.encode(values),
        ColumnPacker.compressed(ColumnPacker.pack(values)),
      ])
      #expect(throws: FormatError.self, "seed \(seed), part \(part)") {
        try read(UInt64.self, Array(bytes.dropLast(1 + random.below(3))))
      }
      #expect(throws: FormatError.self) { try read(UInt64.self, bytes + [0]) }
      let ends = Self.ends(values.count, &random)
      let narrow = values.map { UInt32(truncatingIfNeeded: $0) }
      for grouped in [
        ColumnPacker.packRuns(narrow, ends: ends), ColumnPacker.packAscending(narrow, ends: ends),
        ColumnPacker.packChanging(narrow),
      ] where !grouped.isEmpty {
        var damaged = grouped
        damaged[random.below(damaged.count)] ^= UInt8(1 << random.below(8))
        if let other = try? read(UInt32.self, damaged, ends) { #expect(other.count <= 10_000) }
        // Groups that are not those of the column.
        var others = ends
        if !others.isEmpty { others[random.below(others.count)] = UInt32(random.below(2_000)) }
        if let other = try? read(UInt32.self, grouped, others) { #expect(other.count == values.count) }
      }
      for _ in 0..<4 {
        bytes[random.below(bytes.count)] ^= UInt8(1 << random.below(8))
        if let other = try? read(UInt64.self, bytes) { #expect(other.count <= 10_000) }
      }
    }
  }

  @Test func `a day's usual columns take little`() {
    let codes = (0..<10_000).map { UInt32(1 + $0 * 7_919 % 30) }
    #expect(ColumnPacker.pack(codes).count < 10_100)
    let sequence = (0..<10_000).map { UInt64(5_000 + $0) }
    #expect(ColumnPacker.packStepping(sequence).count < 300)
    let contexts = (0..<10_000).map { UInt32($0 / 10) }
    let ends = (1...1_000).map { (group: Int) -> UInt32 in UInt32(group * 10) }
    #expect(ColumnPacker.packRuns(contexts, ends: ends).count < 110)
    let times = (0..<10_000).map { (row: Int) -> UInt32 in
      let first = row / 10 * 7_919_000
      let since = row % 10 * 60_000
      return UInt32((first + since) % 80_000_000)
    }
    #expect(ColumnPacker.packAscending(times, ends: ends).count < 4_400)
    let pages = (0..<10_000).map { (row: Int) -> UInt32 in UInt32(row / 2 * 7_919 % 200) }
    #expect(ColumnPacker.packChanging(pages).count < 6_400)
    let prices = (0..<10_000).map { Double(($0 * 7_919) % 90).bitPattern }
    #expect(ColumnPacker.pack(prices).count < 12_000)
  }
}
