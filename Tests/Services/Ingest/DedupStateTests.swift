import Foundation
import Ingest
import Store
import TestKit
import Testing

/// The state of deduplication by itself, with sizes so small that everything happens often: what is kept for later, written
/// in parts, applied after a crash.
@Suite struct DedupStateTests {
  private static func store(_ folder: TemporaryFolder) throws -> Store {
    try Store(
      path: folder.path + "/state.sqlite",
      options: StoreOptions(durability: .normal, pageBytes: 1_024), migrations: LogSchema.migrations)
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func `windows of devices survive crashes at any transaction`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    let make = { DeviceCache(capacity: 5, journalBytesMax: 600) }
    var cache = make()
    /// The same windows without a store, which know no crash.
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 12 * DeviceWindow.byteCount, alignment: 8)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: 12 * DeviceWindow.byteCount)
    defer { memory.deallocate() }
    let model = (0..<12).map { DeviceWindow(memory: memory + $0 * DeviceWindow.byteCount) }
    var (bytes, expectedBytes): ([UInt8], [UInt8]) = ([], [])
    for step in 0..<600 {
      try store.write { connection in
        for _ in 0..<1 + random.below(4) {
          let device = random.below(12)
          let key = DeviceKey(
            app: 1, device: Hash128(high: UInt64(device) &* 0x9E37_79B9, low: UInt64(device)))
          let slot = try cache.slot(key, connection)
          cache.window(slot).encoded(into: &bytes)
          model[device].encoded(into: &expectedBytes)
          let isSame = Self.withoutFirst(bytes) == Self.withoutFirst(expectedBytes)
          #expect(isSame, "seed \(seed), step \(step), device \(device)")
          let first = max(1, Int(model[device].highest) - 10 + random.below(random.oneIn(30) ? 2_000 : 20))
          for sequence in UInt64(first)..<UInt64(first + 1 + random.below(20)) {
            let content = UInt64(random.below(3))
            var (figures, expectedFigures) = (SequenceFigures(), SequenceFigures())
            if random.oneIn(8) {
              cache.excuse(slot, sequence, &figures)
              _ = model[device].excuse(sequence, &expectedFigures)
            } else if cache.window(slot).check(sequence, content: content) == .new {
              cache.insert(slot, sequence, content: content, &figures)
              model[device].insert(sequence, content: content, &expectedFigures)
            }
            #expect(figures == expectedFigures, "seed \(seed), step \(step), number \(sequence)")
          }
        }
        try cache.finish(connection)
      }
      let journalBytes = try store.read { connection in
        try (0...1).reduce(0) { sum, half in
          try sum + (connection.first("SELECT sum(length(entries)) FROM device_journal_\(half)") { $0.int(0) } ?? 0)
        }
      }
      // Each half and the row that filled it, and spent rows of a half until that is half full.
      #expect(journalBytes <= 3 * 600 + 2 * 700, "seed \(seed), step \(step)")
      if random.oneIn(20) {
        if random.oneIn(2) { try store.write { try cache.saveAll($0) } }
        cache = make()
        try store.write { try cache.recover($0) }
      }
    }
    let windows = try store.read { try $0.first("SELECT sum(count) FROM device_run WHERE state = 1") { $0.int(0) } ?? 0 }
    #expect(12...40 ~= windows)
  }

  /// A stored window without its `first`, which is out of date where nothing below it is excused any more, and is then not
  /// written; whether it counts shows in the figures.
  private static func withoutFirst(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.count >= 8 else { return bytes }
    let highest = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
    let words = highest < DeviceWindow.span ? Int(highest / 64) + 1 : Int(DeviceWindow.span / 64)
    let contents = highest < DeviceWindow.contentSpan ? Int(highest) + 1 : Int(DeviceWindow.contentSpan)
    let end = 8 + words * 8 + contents * 4
    guard bytes.count > end else { return bytes }
    return Array(bytes[..<end] + bytes[(end + 8)...])
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func `ids are known for their days and no longer, also across crashes`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    let make = { EventIDs(days: EventIDDays(live: 8, imported: 20), runIDsMax: 40) }
    var ids = make()
    /// Of each id its content, the day on which it came, and whether by an import.
    var model: [Int: (content: UInt64, day: Int, isImport: Bool)] = [:]
    var day = 20_000
    // Days on which nothing came do not count, be they ten or thousands.
    var skipped = 0
    for step in 0..<800 {
      if random.oneIn(12) {
        day += 1
        if random.oneIn(5) { skipped += random.pick([1, 10, 3_652]) }
      }
      let today = Int64(day + skipped)
      try store.write { connection in
        try ids.advance(to: today * 86_400_000 + Int64(random.below(86_400_000)), connection)
        for _ in 0..<1 + random.below(30) {
          let id = random.below(2_000)
          let content = UInt64(random.below(2))
          let isImport = random.oneIn(40)
          let key = EventIDKey(
            Hash128(high: UInt64(id) &* 0x9E37_79B9_7F4A_7C15, low: UInt64(id)), app: 7)
          let verdict = try ids.check(key, content: content, connection)
          if let known = model[id], day - known.day <= (known.isImport ? 20 : 8) {
            #expect(
              verdict == (known.content == content ? .duplicate : .conflict), "seed \(seed), step \(step), id \(id)")
          } else if model[id] == nil {
            #expect(verdict == .new, "seed \(seed), step \(step), id \(id)")
          } else if let known = model[id], day - known.day > 20 {
            // A run with an import in it keeps its other ids as long; after that none is left.
            #expect(verdict == .new, "seed \(seed), step \(step), id \(id)")
          }
          guard verdict == .new else { continue }
          ids.insert(key, content: content, isImport: isImport)
          model[id] = (content, day, isImport)
        }
        try ids.finish(connection)
      }
      if random.oneIn(20) {
        let count = ids.count
        ids = make()
        try store.write { try ids.load($0) }
        #expect(ids.count >= count, "seed \(seed), step \(step)")
      }
    }
    // Out of the window they leave the disk too, a few with each transaction.
    for later in 1...21 {
      try store.write { try ids.advance(to: Int64(day + skipped + later) * 86_400_000, $0) }
    }
    #expect(ids.count == 0)
    for _ in 0..<2_000 { try store.write { try ids.finish($0) } }
    let rows = try store.read { try $0.first("SELECT count(*) FROM event_id_bucket") { $0.int(0) } ?? 0 }
    #expect(rows <= 16)
  }

  @Test func `ids of the table of an older release are moved into the window`() throws {
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    try store.write { connection in
      for id in 0..<100 {
        try connection.execute(
          "INSERT INTO event_id_old VALUES (1, ?, ?, ?)",
          [.integer(Int64(id) << 40), .integer(Int64(id)), .integer(5)])
      }
      let ids = EventIDs(runIDsMax: 30)
      try ids.load(connection)
      #expect(ids.count == 100)
      for id in 0..<100 {
        let key = EventIDKey(Hash128(high: UInt64(id) << 40, low: UInt64(id)), app: 1)
        #expect(try ids.check(key, content: 5, connection) == .duplicate)
        #expect(try ids.check(key, content: 6, connection) == .conflict)
      }
      #expect(try connection.first("SELECT count(*) FROM event_id_old") { $0.int(0) } == 0)
    }
  }
}
