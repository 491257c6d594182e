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
    let traffic = Int(key.traffic.rawValue)
    return key.index < chunks[traffic].count && !chunks[traffic][key.index].isEmpty
  }

  private mutating func set(_ key: ChunkKey, _ times: [Int64]) {
    let traffic = Int(key.traffic.rawValue)
    while chunks[traffic].count <= key.index { chunks[traffic].append([]) }
    chunks[traffic][key.index] = times
  }

  mutating func clearDirty() { dirty = [] }

  /// They could not be stored after all.
  mutating func markDirty(_ keys: some Sequence<ChunkKey>) { dirty.formUnion(keys) }

  /// As if these users had never come.
  mutating func erase(_ users: some Sequence<UInt32>) {
    for user in users {
      let slot = Int(user) % Limits.usersPerChunk
      for traffic in 0..<TrafficClass.count {
        let key = ChunkKey(
          traffic: TrafficClass(rawValue: UInt8(traffic)), index: Int(user) / Limits.usersPerChunk)
        guard has(key), chunks[traffic][key.index][slot] != Self.never else { continue }
        chunks[traffic][key.index][slot] = Self.never
        dirty.insert(key)
      }
    }
  }

  /// Takes over what others know of before a moment.
  mutating func take(from others: UserTimes, before moment: Int64) {
    for traffic in 0..<TrafficClass.count {
      let traffic = TrafficClass(rawValue: UInt8(traffic))
      for (index, times) in others.chunks[Int(traffic.rawValue)].enumerated() {
        let base = index * Limits.usersPerChunk
        for (slot, time) in times.enumerated() where time < moment {
          note(UInt32(base + slot), traffic, at: time)
        }
      }
    }
  }

  func chunk(_ key: ChunkKey) -> [Int64] { has(key) ? chunks[Int(key.traffic.rawValue)][key.index] : [] }

  /// Takes a chunk as it was stored.
  mutating func restore(_ key: ChunkKey, _ times: [Int64]) throws(FormatError) {
    guard times.count == Limits.usersPerChunk, Int(key.traffic.rawValue) < TrafficClass.count,
      key.index >= 0, key.index <= Int(UInt32.max) / Limits.usersPerChunk
    else { throw FormatError("chunk \(key.index) of \(times.count) users") }
    set(key, times)
  }

  /// The first active time of every user, over some classes. `never` where there is none. Cost: linear in the users; `view`
  /// is free where it is one class.
  func first(userCount: Int, classes: [TrafficClass]) -> [Int64] {
    let view = view(classes)
    return [Int64](unsafeUninitializedCapacity: userCount) { target, filled in
      filled = userCount
      for base in stride(from: 0, to: userCount, by: Limits.usersPerChunk) {
        let count = min(Limits.usersPerChunk, userCount - base)
        let part = UnsafeMutableBufferPointer(rebasing: target[base..<base + count])
        let times = view.chunk(base / Limits.usersPerChunk)
        if times.isEmpty {
          part.initialize(repeating: Self.never)
        } else {
          _ = part.initialize(from: times[..<count])
        }
      }
    }
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

  /// The same without a copy, where at most one of the classes has users. Cost else: linear in the users.
  func view(_ classes: [TrafficClass]) -> FirstTimes {
    let used = classes.map { chunks[Int($0.rawValue)] }.filter { !$0.isEmpty }
    guard used.count > 1 else { return FirstTimes(chunks: used.first ?? []) }
    let most = used.map(\.count).max() ?? 0
    return FirstTimes(
      chunks: (0..<most).map { index in
        used.reduce(into: []) { earliest, chunks in
          guard index < chunks.count, !chunks[index].isEmpty else { return }
          if earliest.isEmpty { return earliest = chunks[index] }
          for slot in earliest.indices { earliest[slot] = min(earliest[slot], chunks[index][slot]) }
        }
      })
  }
}

/// When users were first active, in some traffic.
struct FirstTimes: Sendable {
  /// Empty: nobody of the chunk was.
  fileprivate let chunks: [[Int64]]

  func chunk(_ index: Int) -> [Int64] { index < chunks.count ? chunks[index] : [] }

  /// `UserTimes.never`: the user was not.
  subscript(user: UInt32) -> Int64 {
    let index = Int(user) / Limits.usersPerChunk
    guard index < chunks.count, !chunks[index].isEmpty else { return UserTimes.never }
    return chunks[index][Int(user) % Limits.usersPerChunk]
  }

  /// How many users were first active before the first bound, then from each bound on to the next one.
  ///
  /// - Parameter bounds: ascending.
  ///
  /// Cost: one pass; users are numbered as they come, so that most times lie between the same two bounds as the one before.
  func counts(between bounds: [Int64]) -> [UInt64] {
    var counts = [UInt64](repeating: 0, count: bounds.count + 1)
    for chunk in chunks {
      chunk.withUnsafeBufferPointer { times in
        var next = 0
        while next < times.count {
          let slot = bounds.partitioningIndex { $0 > times[next] }
          let low = slot == 0 ? Int64.min : bounds[slot - 1]
          let high = slot < bounds.count ? bounds[slot] : UserTimes.never
          let begin = next
          next = Self.end(of: times, from: next, within: low, high)
          counts[slot] += UInt64(next - begin)
          while next < times.count, times[next] == UserTimes.never { next += 1 }
        }
      }
    }
    return Array(counts[..<bounds.count])
  }

  /// The first time, from one on, that does not lie between two bounds. Several are looked at together.
  private static func end(
    of times: UnsafeBufferPointer<Int64>, from first: Int, within low: Int64, _ high: Int64
  ) -> Int {
    // Modulo 2^64: one comparison instead of two.
    let span = UInt64(bitPattern: high &- low)
    func isWithin(_ time: Int64) -> Bool { UInt64(bitPattern: time &- low) < span }
    var next = first
    while next + 8 <= times.count {
      var others = 0
      for index in next..<next + 8 { others &+= isWithin(times[index]) ? 0 : 1 }
      if others > 0 { break }
      next += 8
    }
    while next < times.count, isWithin(times[next]) { next += 1 }
    return next
  }

  /// Calls the closure with the time of each user that was.
  func forEach(_ body: (UInt32, Int64) -> Void) {
    for (index, chunk) in chunks.enumerated() {
      for (slot, time) in chunk.enumerated() where time != UserTimes.never {
        body(UInt32(index * Limits.usersPerChunk + slot), time)
      }
    }
  }
}
