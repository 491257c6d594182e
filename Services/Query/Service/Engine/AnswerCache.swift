import Synchronization

/// Answers as they were given, by request, as long as the log has not gone on. Bounded by bytes, the least recently used
/// thrown away first.
final class AnswerCache: Sendable {
  /// What an answer depends on.
  struct Key: Hashable, Sendable {
    /// The request's message and its bytes.
    let name: String
    let request: [UInt8]
    let appID: String
    let watermark: Watermark
  }

  /// How far the store was when it answered.
  struct Watermark: Hashable, Sendable {
    let nextOffset: UInt64
    let receivedMilliseconds: Int64
    /// Changes of history that are no record of the log: days dropped for their age.
    let historyVersion: Int
  }

  private struct Entry {
    let answer: [UInt8]
    var lastUse: UInt64
  }

  private struct State {
    var entries: [Key: Entry] = [:]
    var bytes = 0
    var clock: UInt64 = 0
    var hits = 0
    var watermark: Watermark?

    mutating func remove(_ key: Key) {
      guard let entry = entries.removeValue(forKey: key) else { return }
      bytes -= AnswerCache.size(key, entry.answer)
    }
  }

  private let state = Mutex(State())
  private let bytesMax: Int

  /// - Parameter bytesMax: 0: nothing is kept.
  init(bytesMax: Int) { self.bytesMax = bytesMax }

  var isOff: Bool { bytesMax == 0 }
  var hits: Int { state.withLock { $0.hits } }
  var byteCount: Int { state.withLock { $0.bytes } }

  /// The encoded answer, nil where it must be made.
  func answer(_ key: Key) -> [UInt8]? {
    state.withLock { state in
      guard state.entries[key] != nil else { return nil }
      state.clock += 1
      state.hits += 1
      state.entries[key]?.lastUse = state.clock
      return state.entries[key]?.answer
    }
  }

  /// The same, without being a use.
  func holds(_ key: Key) -> Bool { state.withLock { $0.entries[key] != nil } }

  func insert(_ answer: [UInt8], _ key: Key) {
    let size = Self.size(key, answer)
    guard size <= bytesMax / 4 else { return }
    state.withLock { state in
      // Answers of an earlier watermark are never asked for again.
      if state.watermark != key.watermark {
        state.entries = [:]
        state.bytes = 0
        state.watermark = key.watermark
      }
      state.remove(key)
      state.clock += 1
      state.entries[key] = Entry(answer: answer, lastUse: state.clock)
      state.bytes += size
      while state.bytes > bytesMax,
        let oldest = state.entries.min(by: { $0.value.lastUse < $1.value.lastUse })?.key
      {
        state.remove(oldest)
      }
    }
  }

  func removeAll() {
    state.withLock { state in
      state.entries = [:]
      state.bytes = 0
    }
  }

  private static func size(_ key: Key, _ answer: [UInt8]) -> Int {
    answer.count + key.request.count + key.name.utf8.count + key.appID.utf8.count + 128
  }
}
