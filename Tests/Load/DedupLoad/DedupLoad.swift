import CAllocator
import Foundation
import Glibc
import Ingest
import Store
import TestKit

/// State of deduplication at scale, without the service around it: `DedupLoad FOLDER DEVICES IDS`. Prints one `name value`
/// per line; exit status 1 where a lookup gives a wrong answer.
@main
enum DedupLoad {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 4, let devices = Int(arguments[2]), let ids = Int(arguments[3]),
      devices >= 1_000, ids >= 1_000
    else {
      FileHandle.standardError.write(Data("usage: DedupLoad FOLDER DEVICES IDS, both at least 1000\n".utf8))
      exit(2)
    }
    let folder = arguments[1]
    try DeviceLoad(path: folder + "/devices.sqlite", count: devices).run()
    try EventIDLoad(path: folder + "/ids.sqlite", count: ids).run()
  }
}

/// A store like the log's, and what is asked of it.
struct Scratch {
  let store: Store
  let path: String

  init(path: String) throws {
    self.path = path
    store = try Store(
      path: path, options: StoreOptions(durability: .normal, pageBytes: LogSchema.pageBytes, writerCacheKiB: 8_192),
      migrations: LogSchema.migrations)
  }

  var fileBytes: Int {
    (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) as? Int ?? 0
  }

  /// Has the kernel forget what it holds of the file.
  func dropCache() {
    store.checkpoint()
    let descriptor = open(path, O_RDONLY)
    fsync(descriptor)
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    close(descriptor)
  }

  /// Has the kernel hold all of it.
  func fillCache() throws {
    let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    while let part = try handle.read(upToCount: 8 << 20), !part.isEmpty {}
    try handle.close()
  }
}

enum Measure {
  static func seconds(_ body: () throws -> Void) rethrows -> Double {
    let begin = ContinuousClock.now
    try body()
    return (ContinuousClock.now - begin) / .seconds(1)
  }

  static func figure(_ name: String, _ value: Double) { print(name, value) }

  /// Resident memory of this process, bytes.
  static var resident: Double {
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    return Double(text.split(separator: " ")[1])! * Double(getpagesize())
  }

  static func check(_ isRight: Bool, _ what: @autoclosure () -> String) {
    guard !isRight else { return }
    FileHandle.standardError.write(Data("DedupLoad: \(what())\n".utf8))
    exit(1)
  }
}

/// Ranks by Zipf's law with exponent 1 over 1...count, by inversion of the harmonic sum's integral.
struct ZipfRanks {
  private let logarithm: Double
  init(count: Int) { logarithm = log(Double(count)) }
  func next(_ random: inout SeededRandom) -> Int {
    Int(exp(Double(random.below(1 << 40)) / Double(1 << 40) * logarithm)) - 1
  }
}

/// Scatters a rank over the whole range, so that hot ones do not lie together.
func scatter(_ rank: Int, _ count: Int) -> Int {
  Int((UInt64(rank) &* 0x9E37_79B9_7F4A_7C15) % UInt64(count))
}

struct DeviceLoad {
  private static let eventsPerDevice: UInt64 = 20
  let scratch: Scratch
  let count: Int

  init(path: String, count: Int) throws {
    scratch = try Scratch(path: path)
    self.count = count
  }

  private func key(_ index: Int) -> DeviceKey {
    var random = SeededRandom(seed: UInt64(index))
    return DeviceKey(app: 1, device: Hash128(high: random.next(), low: random.next()))
  }

  private func content(_ index: Int, _ sequence: UInt64) -> UInt64 {
    (UInt64(index) &+ sequence) &* 0x9E37_79B9_7F4A_7C15
  }

  func run() throws {
    let seconds = try Measure.seconds { try fill() }
    Measure.figure("devices", Double(count))
    Measure.figure("device_first_batches_per_second", Double(count) / seconds)
    scratch.store.checkpoint()
    Measure.figure("device_disk_bytes", Double(scratch.fileBytes) / Double(count))
    malloc_trim(0)
    let before = Measure.resident
    let begin = ContinuousClock.now
    try withExtendedLifetime(cache()) {
      Measure.figure("device_start_seconds", (ContinuousClock.now - begin) / .seconds(1))
      Measure.figure("device_index_bytes", (Measure.resident - before) / Double(count))
    }
    try look()
    var random = SeededRandom(seed: 2)
    try write(&random, ZipfRanks(count: count))
  }

  /// As after a start.
  private func cache() throws -> DeviceCache {
    let cache = DeviceCache(capacity: Limits.cachedDevicesMax)
    try scratch.store.write { try cache.recover($0) }
    return cache
  }

  /// The first batch of each device, 50 to a transaction.
  private func fill() throws {
    let cache = try cache()
    var index = 0
    var figures = SequenceFigures()
    while index < count {
      let end = min(index + 50, count)
      try scratch.store.write { connection in
        for device in index..<end {
          let slot = try cache.slot(key(device), connection)
          for sequence in 1...Self.eventsPerDevice {
            cache.insert(slot, sequence, content: content(device, sequence), &figures)
          }
        }
        try cache.finish(connection)
      }
      index = end
    }
    try scratch.store.write { try cache.saveAll($0) }
    Measure.figure("device_runs", Double(cache.runCount))
  }

  private func look() throws {
    var random = SeededRandom(seed: 1)
    scratch.dropCache()
    try look("cold", min(count / 10, 20_000)) { random.below(count) }
    try scratch.fillCache()
    try look("warm", min(count, 300_000)) { random.below(count) }
    let zipf = ZipfRanks(count: count)
    try look("zipf", min(count, 3_000_000)) { scatter(zipf.next(&random), count) }
    let hot = min(count, 10_000)
    try look("hot", 3_000_000) { scatter(random.below(hot), count) }
    try look("new", min(count, 1_000_000), isKnown: false) { count + random.below(1 << 40) }
  }

  /// Lookups per second of a new cache; each must know its last event.
  private func look(_ name: String, _ lookups: Int, isKnown: Bool = true, _ pick: () -> Int) throws {
    let cache = try cache()
    // What earlier caches have left would be taken for nothing.
    malloc_trim(0)
    let before = Measure.resident
    let seconds = try scratch.store.write { connection in
      try Measure.seconds {
        for _ in 0..<lookups {
          let device = pick()
          let slot = try cache.slot(key(device), connection)
          let last = Self.eventsPerDevice
          let verdict = cache.window(slot).check(last, content: content(device, last))
          Measure.check(verdict == (isKnown ? .duplicate : .new), "device \(device): its last event is \(verdict)")
        }
      }
    }
    Measure.figure("device_lookups_\(name)_per_second", Double(lookups) / seconds)
    if name == "warm" {
      Measure.figure("device_memory_bytes", (Measure.resident - before) / Double(cache.count))
    }
    guard !isKnown else { return }
    Measure.figure("device_rows_read_per_new_device", Double(cache.bucketReads) / Double(lookups))
  }

  /// Batches of 20 new events each, 50 to a transaction, of devices by Zipf's law.
  private func write(_ random: inout SeededRandom, _ zipf: ZipfRanks) throws {
    let cache = try cache()
    let batches = min(count, 200_000)
    var next: [Int: UInt64] = [:]
    var figures = SequenceFigures()
    let seconds = try Measure.seconds {
      for _ in 0..<batches / 50 {
        try scratch.store.write { connection in
          for _ in 0..<50 {
            let device = scatter(zipf.next(&random), count)
            let first = next[device] ?? Self.eventsPerDevice + 1
            let slot = try cache.slot(key(device), connection)
            for sequence in first..<first + Self.eventsPerDevice {
              let verdict = cache.window(slot).check(sequence, content: content(device, sequence))
              Measure.check(verdict == .new, "device \(device), number \(sequence) is \(verdict)")
              cache.insert(slot, sequence, content: content(device, sequence), &figures)
            }
            next[device] = first + Self.eventsPerDevice
          }
          try cache.finish(connection)
        }
      }
    }
    Measure.figure("device_events_taken_per_second", Double(batches) * Double(Self.eventsPerDevice) / seconds)
  }
}

struct EventIDLoad {
  private static let days = 8
  let scratch: Scratch
  let count: Int

  init(path: String, count: Int) throws {
    scratch = try Scratch(path: path)
    self.count = count
  }

  private func key(_ index: Int) -> EventIDKey {
    var random = SeededRandom(seed: UInt64(index))
    return EventIDKey(Hash128(high: random.next(), low: random.next()), app: 1)
  }

  func run() throws {
    let before = Measure.resident
    let ids = EventIDs()
    let seconds = try Measure.seconds { try fill(ids) }
    Measure.figure("ids", Double(count))
    Measure.figure("ids_taken_per_second", Double(count) / seconds)
    Measure.figure("id_memory_bytes", (Measure.resident - before) / Double(count))
    Measure.figure("id_index_bytes", Double(ids.indexBytes) / Double(count))
    scratch.store.checkpoint()
    Measure.figure("id_disk_bytes", Double(scratch.fileBytes) / Double(count))
    try look(ids)
    let again = EventIDs()
    let start = try Measure.seconds { try scratch.store.write { try again.load($0) } }
    Measure.check(again.count == count, "\(again.count) ids after a start")
    Measure.figure("id_start_seconds", start)
    Measure.figure("id_start_index_bytes", Double(again.indexBytes) / Double(count))
  }

  private func fill(_ ids: EventIDs) throws {
    var index = 0
    while index < count {
      let end = min(index + 1_000, count)
      try scratch.store.write { connection in
        try ids.advance(
          to: Int64(20_000 + index * Self.days / count) * 86_400_000, connection)
        for id in index..<end {
          let key = key(id)
          let verdict = try ids.check(key, content: UInt64(id), connection)
          Measure.check(verdict == .new, "id \(id) is \(verdict) before it came")
          ids.insert(key, content: UInt64(id), isImport: false)
        }
        try ids.finish(connection)
      }
      index = end
    }
  }

  private func look(_ ids: EventIDs) throws {
    var random = SeededRandom(seed: 1)
    scratch.dropCache()
    try look(ids, "known_cold", min(count / 10, 20_000)) { random.below(count) }
    try scratch.fillCache()
    try look(ids, "known_warm", min(count, 300_000)) { random.below(count) }
    let zipf = ZipfRanks(count: count)
    // The newest are asked for most: retries.
    try look(ids, "known_zipf", min(count, 300_000)) { count - 1 - zipf.next(&random) }
    let reads = ids.bucketReads
    let lookups = min(count, 2_000_000)
    try look(ids, "new", lookups, expects: .new) { count + random.below(1 << 40) }
    Measure.figure("id_page_reads_per_new_id", Double(ids.bucketReads - reads) / Double(lookups))
  }

  private func look(
    _ ids: EventIDs, _ name: String, _ lookups: Int, expects: EventIDs.Verdict = .duplicate,
    _ pick: () -> Int
  ) throws {
    let seconds = try scratch.store.write { connection in
      try Measure.seconds {
        for _ in 0..<lookups {
          let id = pick()
          let verdict = try ids.check(key(id), content: UInt64(id), connection)
          Measure.check(verdict == expects, "id \(id) is \(verdict)")
        }
      }
    }
    Measure.figure("id_lookups_\(name)_per_second", Double(lookups) / seconds)
  }
}
