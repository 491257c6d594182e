import Synchronization

/// Decoded sealed days that queries share, the least recently used thrown away first. Bounded by bytes.
final class DayCache: Sendable {
  private struct Entry {
    var day: DayColumns
    var bytes: Int
    var lastUse: UInt64
  }

  private struct State {
    var entries: [Int64: Entry] = [:]
    var bytes = 0
    var clock: UInt64 = 0

    mutating func remove(_ id: Int64) {
      guard let entry = entries.removeValue(forKey: id) else { return }
      bytes -= entry.bytes
    }

    mutating func removeOldest() -> Bool {
      guard let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse })?.key else {
        return false
      }
      remove(oldest)
      return true
    }
  }

  private let state = Mutex(State())
  private let bytesMax: Int

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  var byteCount: Int { state.withLock { $0.bytes } }

  /// A day as it was decoded last, nil where there is none.
  func day(_ segment: Segment) -> DayColumns? {
    state.withLock { state in
      state.clock += 1
      state.entries[segment.id]?.lastUse = state.clock
      return state.entries[segment.id]?.day
    }
  }

  func insert(_ segment: Segment, _ day: DayColumns) {
    let bytes = day.byteCount
    guard bytes <= bytesMax / 2 else { return }
    state.withLock { state in
      state.clock += 1
      state.remove(segment.id)
      state.entries[segment.id] = Entry(day: day, bytes: bytes, lastUse: state.clock)
      state.bytes += bytes
      while state.bytes > bytesMax, state.removeOldest() {}
    }
  }

  func remove(_ segmentID: Int64) { state.withLock { $0.remove(segmentID) } }

  /// Gives all memory back: when nobody has asked for a while.
  func removeAll() { state.withLock { $0 = State() } }
}
