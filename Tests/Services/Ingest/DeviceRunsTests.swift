import Foundation
import Ingest
import Store
import TestKit
import Testing

/// Windows of thousands of devices, with a cache and a journal so small that runs are written and merged all the time.
@Suite struct DeviceRunsTests {
  private static let devices = 3_000

  private static func key(_ device: Int) -> DeviceKey {
    var random = SeededRandom(seed: UInt64(device))
    return DeviceKey(app: Int64(device % 3), device: Hash128(high: random.next(), low: random.next()))
  }

  private static func content(_ device: Int, _ sequence: UInt64) -> UInt64 {
    UInt64(device) &* 31 &+ sequence &* 7
  }

  private static func store(_ folder: TemporaryFolder) throws -> Store {
    try Store(
      path: folder.path + "/state.sqlite", options: StoreOptions(durability: .normal, pageBytes: 1_024),
      migrations: LogSchema.migrations)
  }

  /// One transaction: a few devices send their next numbers.
  private static func send(
    _ next: inout [UInt64], _ random: inout SeededRandom, _ cache: DeviceCache, _ store: Store
  ) throws {
    try store.write { connection in
      for _ in 0..<1 + random.below(20) {
        let device = random.below(random.oneIn(2) ? devices : devices / 50)
        let slot = try cache.slot(key(device), connection)
        var figures = SequenceFigures()
        for _ in 0..<1 + random.below(8) {
          let sequence = next[device]
          #expect(cache.window(slot).check(sequence, content: content(device, sequence)) == .new)
          cache.insert(slot, sequence, content: content(device, sequence), &figures)
          next[device] += 1
        }
        #expect(figures == SequenceFigures(), "numbers that follow one another miss none")
      }
      try cache.finish(connection)
    }
  }

  /// Every device knows its last number, and none knows the next one.
  private static func check(
    _ next: [UInt64], _ cache: DeviceCache, _ store: Store, _ place: Comment
  ) throws {
    try store.write { connection in
      for (device, number) in next.enumerated() {
        let window = cache.window(try cache.slot(key(device), connection))
        #expect(window.check(number, content: 0) == .new, place)
        guard number > 1 else { continue }
        let last = number - 1
        #expect(window.check(last, content: content(device, last)) == .duplicate, place)
        #expect(window.check(last, content: content(device, last) ^ 1) == .conflict, place)
        let early = last > 1_000 ? last - 1_000 : 1
        #expect(window.check(early, content: content(device, early)) == .duplicate, place)
      }
    }
  }

  private static func count(_ table: String, _ store: Store) throws -> Int {
    try store.read { try $0.first("SELECT count(*) FROM \(table)") { $0.int(0) } ?? 0 }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `thousands of windows survive merges and crashes at any transaction`(seed: UInt64) async throws {
    var random = SeededRandom(seed: seed)
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    let make = { DeviceCache(capacity: 200, journalBytesMax: 8_000) }
    var cache = make()
    var next = [UInt64](repeating: 1, count: Self.devices)
    var runsMost = 0
    for step in 0..<1_500 {
      // Others wait for answers on the same threads.
      await Task.yield()
      try Self.send(&next, &random, cache, store)
      runsMost = max(runsMost, cache.runCount)
      guard random.oneIn(100) else { continue }
      if random.oneIn(3) { try store.write { try cache.saveAll($0) } }
      cache = make()
      try store.write { try cache.recover($0) }
      if random.oneIn(4) { try Self.check(next, cache, store, "seed \(seed), step \(step)") }
    }
    try Self.check(next, cache, store, "seed \(seed)")
    // Bounded by the sizes: each run is larger than a fourth of what is newer than it, but for three.
    #expect(4...16 ~= runsMost, "seed \(seed)")
    let windows = try store.read { try $0.first("SELECT sum(count) FROM device_run WHERE state = 1") { $0.int(0) } ?? 0 }
    #expect(windows < 3 * Self.devices, "seed \(seed): merges keep one window of each device")
    // Nothing of spent runs and of those that a crash cut off stays.
    for _ in 0..<300 { try Self.send(&next, &random, cache, store) }
    try store.write { try cache.saveAll($0) }
    #expect(try Self.count("device_run", store) <= cache.runCount + 10, "seed \(seed)")
    let buckets = try store.read {
      try $0.first("SELECT sum(1 << bucket_bits) FROM device_run") { $0.int(0) } ?? 0
    }
    let rows = try Self.count("device_bucket_0", store) + Self.count("device_bucket_1", store)
    #expect(rows <= buckets, "seed \(seed)")
    let strays = try store.read {
      try $0.first(
        """
        SELECT count(*) FROM (SELECT number FROM device_bucket_0 UNION ALL SELECT number FROM device_bucket_1
          UNION ALL SELECT number FROM device_directory) WHERE number >> 24 NOT IN (SELECT number FROM device_run)
        """) { $0.int(0) } ?? 0
    }
    #expect(strays == 0, "seed \(seed)")
  }

  /// A run whose merge has come to its directory and not to its end.
  private static func unfinishedMerge(_ store: Store) throws -> Int64? {
    try store.read {
      try $0.first("SELECT number FROM device_run WHERE state = 0 AND level = 1 AND count > 0") { $0.int64(0) }
    }
  }

  @Test func `a merge goes on after each start, and what is spent is deleted`() async throws {
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    let make = { DeviceCache(capacity: 60, journalBytesMax: 4_000) }
    var cache = make()
    var (random, next) = (SeededRandom(seed: 7), [UInt64](repeating: 1, count: Self.devices))
    var resumed: Set<Int64> = []
    for step in 0..<1_500 {
      await Task.yield()
      let merged = try Self.unfinishedMerge(store)
      if step % 2 == 0 {
        cache = make()
        try store.write { try cache.recover($0) }
      }
      try Self.send(&next, &random, cache, store)
      guard let merged, step % 2 == 0 else { continue }
      resumed.insert(merged)
      let state = try store.read {
        try $0.first("SELECT state FROM device_run WHERE number = ?", [.integer(merged)]) { $0.int(0) }
      }
      #expect(state == 0 || state == 1, "step \(step): run \(merged)")
      #expect(try Self.unfinishedMerge(store) == merged || state == 1, "step \(step): run \(merged)")
    }
    #expect(resumed.count > 3)
    try Self.check(next, cache, store, "at the end")
    let stored = try store.read { try $0.first("SELECT sum(count) FROM device_run") { $0.int(0) } ?? 0 }
    // Runs that wait to be deleted count too.
    #expect(stored < 6 * Self.devices, "\(stored)")
  }

  @Test func `a device that was never seen reads no row`() throws {
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    let cache = DeviceCache(capacity: 200, journalBytesMax: 8_000)
    var (random, next) = (SeededRandom(seed: 5), [UInt64](repeating: 1, count: Self.devices))
    for _ in 0..<500 { try Self.send(&next, &random, cache, store) }
    #expect(cache.runCount > 0)
    let before = cache.bucketReads
    try store.write { connection in
      for device in Self.devices..<Self.devices + 2_000 {
        let slot = try cache.slot(Self.key(device), connection)
        #expect(cache.window(slot).highest == 0)
      }
    }
    #expect(cache.bucketReads - before <= 20)
  }

  @Test func `windows of an earlier release are known, and newer ones go before them`() throws {
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    var bytes: [UInt8] = []
    let memory = UnsafeMutableRawPointer.allocate(byteCount: DeviceWindow.byteCount, alignment: 8)
    defer { memory.deallocate() }
    try store.write { connection in
      for device in 0..<50 {
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: DeviceWindow.byteCount)
        let window = DeviceWindow(memory: memory)
        var figures = SequenceFigures()
        for sequence in 1...5 as ClosedRange<UInt64> {
          window.insert(sequence, content: Self.content(device, sequence), &figures)
        }
        window.encoded(into: &bytes)
        let key = Self.key(device)
        try connection.execute(
          "INSERT INTO device VALUES (?, ?, ?, ?)",
          [
            .integer(key.app), .integer(Int64(bitPattern: key.device.high)),
            .integer(Int64(bitPattern: key.device.low)), .blob(bytes),
          ])
      }
    }
    let make = { DeviceCache(capacity: 10, journalBytesMax: 500) }
    var cache = make()
    try store.write { try cache.recover($0) }
    var next = [UInt64](repeating: 6, count: 50) + [UInt64](repeating: 1, count: Self.devices - 50)
    try Self.check(next, cache, store, "as it was")
    var random = SeededRandom(seed: 9)
    for _ in 0..<100 { try Self.send(&next, &random, cache, store) }
    cache = make()
    try store.write { try cache.recover($0) }
    try Self.check(next, cache, store, "after more")
    #expect(try Self.count("device", store) == 50, "the old table is left as it was")
  }

  @Test(arguments: [
    "DELETE FROM device_bucket_0 WHERE number = (SELECT min(number) FROM device_bucket_0)",
    "UPDATE device_bucket_0 SET entries = substr(entries, 1, 40)",
    "UPDATE device_bucket_0 SET entries = zeroblob(30)",
    "UPDATE device_bucket_0 SET entries = zeroblob(50)",
    "UPDATE device_bucket_0 SET entries = substr(entries, 1, 50)",
    "DELETE FROM device_directory WHERE number = (SELECT max(number) FROM device_directory)",
    "UPDATE device_directory SET entries = substr(entries, 1, length(entries) - 1)",
    "UPDATE device_run SET count = count + 1",
    "UPDATE device_run SET bucket_bits = 60",
    "UPDATE device_run SET state = 7",
    "UPDATE device_run SET bytes = \(Int64.max)",
    "UPDATE device_run SET number = \(Int64.max)",
  ])
  func `damage is told, and no device is taken for a new one`(damage: String) throws {
    let folder = try TemporaryFolder()
    let store = try Self.store(folder)
    let cache = DeviceCache(capacity: 1_000)
    try store.write { connection in
      var figures = SequenceFigures()
      for device in 0..<400 {
        let slot = try cache.slot(Self.key(device), connection)
        cache.insert(slot, 1, content: 1, &figures)
      }
      try cache.finish(connection)
      try cache.saveAll(connection)
      try connection.execute(damage)
    }
    let error = #expect(throws: StoreError.self) {
      try store.write { connection in
        let cache = DeviceCache(capacity: 1_000)
        try cache.recover(connection)
        for device in 0..<400 {
          let window = cache.window(try cache.slot(Self.key(device), connection))
          #expect(window.check(1, content: 1) == .duplicate)
        }
      }
    }
    #expect(error?.code == .corrupt)
  }
}
