/// Says in which sealed run an id may lie, in memory: 4 bytes for a place, at most three of four places taken. A new id is
/// found to be new with one look at a cache line, and 1 of 100,000 is looked up on disk in vain.
///
/// A place holds 20 bits of the id and the run's number; ids that fall into one bucket of 8 places spill into the next.
final class EventIDIndex {
  private static let bucketPlaces = 8
  /// Runs that one index can tell apart.
  static let runsMax = 4_095

  /// The first run whose ids it holds.
  let firstRun: Int64
  /// The day at whose end its runs may go.
  var lastDay: Int64
  private let buckets: Int
  private let places: UnsafeMutablePointer<UInt32>
  private(set) var count = 0
  private let countMax: Int

  /// - Parameter room: ids that it must hold at least.
  init(firstRun: Int64, lastDay: Int64, room: Int) {
    self.firstRun = firstRun
    self.lastDay = lastDay
    buckets = max((room * 4 / 3 + Self.bucketPlaces) / Self.bucketPlaces, 2)
    let size = buckets * Self.bucketPlaces
    countMax = size * 3 / 4
    places = .allocate(capacity: size)
    places.initialize(repeating: 0, count: size)
  }

  deinit { places.deallocate() }

  var byteCount: Int { buckets * Self.bucketPlaces * 4 }

  /// Whether a run of so many ids still goes in.
  func hasRoom(run: Int64, ids: Int) -> Bool {
    run >= firstRun && run - firstRun < Self.runsMax && count + ids <= countMax
  }

  func insert(_ key: EventIDKey, run: Int64) {
    precondition(count < countMax, "an index has places for all ids of its runs")
    let value = Self.tag(key) | UInt32(run - firstRun + 1)
    var bucket = home(key)
    while true {
      let base = places + bucket * Self.bucketPlaces
      for place in 0..<Self.bucketPlaces where base[place] == 0 {
        base[place] = value
        count += 1
        return
      }
      bucket = bucket &+ 1 == buckets ? 0 : bucket &+ 1
    }
  }

  /// Gives the runs in which the id may lie, until the closure returns true.
  @inline(__always)
  func search(_ key: EventIDKey, _ found: (Int64) throws -> Bool) rethrows -> Bool {
    let tag = Self.tag(key)
    var bucket = home(key)
    while true {
      let base = places + bucket &* Self.bucketPlaces
      for place in 0..<Self.bucketPlaces {
        let value = base[place]
        if value == 0 { return false }
        if value & 0xFFFF_F000 == tag, try found(firstRun + Int64(value & 0xFFF) - 1) { return true }
      }
      bucket = bucket &+ 1 == buckets ? 0 : bucket &+ 1
    }
  }

  private static func tag(_ key: EventIDKey) -> UInt32 { key.low & 0xFFFF_F000 }

  private func home(_ key: EventIDKey) -> Int {
    Int(truncatingIfNeeded: key.high.multipliedFullWidth(by: UInt64(buckets)).high)
  }
}
