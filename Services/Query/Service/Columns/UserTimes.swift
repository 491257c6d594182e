/// When each user of an app was first active, by traffic class. Chunked, so that a snapshot costs nothing and a change
/// after it copies one chunk.
struct UserTimes: Sendable {
  static let never = Int64.max

  /// By class and chunk; empty where nobody of the chunk was active in the class.
  private var chunks: [[[Int64]]] = Array(repeating: [], count: TrafficClass.count)
  /// Chunks changed since they were last stored.
  private(set) var dirty: Set<ChunkKey> = []

  struct ChunkKey: Hashable, Sendable {
    let traffic: TrafficClass
    let index: Int
  }

  /// Notes that a user was active at a time.
  mutating func note(_ user: UInt32, _ traffic: TrafficClass, at time: Int64) {
    let index = Int(user) / Limits.usersPerChunk
    let slot = Int(user) % Limits.usersPerChunk
    let key = ChunkKey(traffic: traffic, index: index)
    if !has(key) { set(key, Array(repeating: Self.never, count: Limits.usersPerChunk)) }
    guard time < chunks[Int(traffic.rawValue)][index][slot] else { return }
    chunks[Int(traffic.rawValue)][index][slot] = time
    dirty.insert(key)
  }

  private func has(_ key: ChunkKey) -> Bool {
    let chunks = chunks[Int(key.traffic.rawValue)]
    return key.index < chunks.count && !chunks[key.index].isEmpty
  }

  private mutating func set(_ key: ChunkKey, _ times: [Int64]) {
    let traffic = Int(key.traffic.rawValue)
    while chunks[traffic].count <= key.index { chunks[traffic].append([]) }
    chunks[traffic][key.index] = times
  }

  mutating func clearDirty() { dirty = [] }

  /// They could not be stored after all.
  mutating func markDirty(_ keys: some Sequence<ChunkKey>) { dirty.formUnion(keys) }

  func chunk(_ key: ChunkKey) -> [Int64] { has(key) ? chunks[Int(key.traffic.rawValue)][key.index] : [] }

  /// Takes a chunk as it was stored.
  mutating func restore(_ key: ChunkKey, _ times: [Int64]) throws(FormatError) {
    guard times.count == Limits.usersPerChunk, Int(key.traffic.rawValue) < TrafficClass.count,
      key.index >= 0, key.index <= Int(UInt32.max) / Limits.usersPerChunk
    else { throw FormatError("chunk \(key.index) of \(times.count) users") }
    set(key, times)
  }

  /// The first active time of every user, over some classes. `never` where there is none. Cost: linear in the users.
  func first(userCount: Int, classes: [TrafficClass]) -> [Int64] {
    var result = [Int64](repeating: Self.never, count: userCount)
    for traffic in classes {
      for (index, times) in chunks[Int(traffic.rawValue)].enumerated() {
        let base = index * Limits.usersPerChunk
        for slot in 0..<max(0, min(times.count, userCount - base))
        where times[slot] < result[base + slot] {
          result[base + slot] = times[slot]
        }
      }
    }
    return result
  }

  /// The same of some users, by their place in the range.
  func first(users: Range<UInt32>, classes: [TrafficClass]) -> [Int64] {
    var result = [Int64](repeating: Self.never, count: users.count)
    for traffic in classes {
      let chunks = chunks[Int(traffic.rawValue)]
      var user = Int(users.lowerBound)
      while user < Int(users.upperBound), user / Limits.usersPerChunk < chunks.count {
        let times = chunks[user / Limits.usersPerChunk]
        let base = user / Limits.usersPerChunk * Limits.usersPerChunk
        let end = min(Int(users.upperBound), base + Limits.usersPerChunk)
        if !times.isEmpty {
          for index in user..<end {
            result[index - Int(users.lowerBound)] = min(
              result[index - Int(users.lowerBound)], times[index - base])
          }
        }
        user = end
      }
    }
    return result
  }
}
