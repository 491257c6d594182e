/// What is known of a day without reading its events: made when the day is sealed, and stored with it.
struct DayFacts: Sendable {
  /// How many rows have which flags.
  var flagCounts: [Int]
  /// By class of traffic: the users with an event that is not passive, ascending.
  var active: [[UInt32]]

  /// Cost: one pass over the flags.
  init(_ day: DayColumns) {
    flagCounts = Array(repeating: 0, count: 256)
    active = Array(repeating: [], count: TrafficClass.count)
    day.withPointers { $0.countFlags(0..<day.count, into: &flagCounts) }
    let classes = Self.classBits
    day.flags.withUnsafeBufferPointer { flags in
      var row = 0
      for (position, user) in day.users.enumerated() {
        let end = Int(day.userEnds[position])
        var seen: UInt8 = 0
        while row < end {
          seen |= classes[Int(flags[row])]
          row += 1
        }
        for traffic in 0..<TrafficClass.count where seen & 1 << UInt8(traffic) != 0 {
          active[traffic].append(user)
        }
      }
    }
  }

  init(flagCounts: [Int], active: [[UInt32]]) {
    self.flagCounts = flagCounts
    self.active = active
  }

  /// By the flags of a row: the bit of its class, where it makes its user active.
  private static let classBits: [UInt8] = (0...UInt8.max).map { bits in
    let flags = RowFlags(rawValue: bits)
    let isKnown = Int(flags.traffic.rawValue) < TrafficClass.count
    return isKnown && !flags.isPassive ? 1 << flags.traffic.rawValue : 0
  }

  /// The users that are active in one of the classes, ascending.
  func active(_ classes: [TrafficClass]) -> [UInt32] {
    var result: [UInt32] = []
    for traffic in classes {
      let list = active[Int(traffic.rawValue)]
      if list.isEmpty { continue }
      result = result.isEmpty ? list : Self.union(result, list)
    }
    return result
  }

  private static func union(_ a: [UInt32], _ b: [UInt32]) -> [UInt32] {
    var result: [UInt32] = []
    result.reserveCapacity(a.count + b.count)
    var i = 0
    var j = 0
    while i < a.count || j < b.count {
      let x = i < a.count ? a[i] : .max
      let y = j < b.count ? b[j] : .max
      result.append(min(x, y))
      if x <= y { i += 1 }
      if y <= x { j += 1 }
    }
    return result
  }

  /// Bytes of memory, about.
  var byteCount: Int { 2_048 + active.reduce(0) { $0 + $1.count * 4 } }
}

/// A bit for every user of an app: for unions over many days, and for counts of what two of them have in common.
struct UserBits: Sendable {
  private var words: [UInt64]

  init(userCount: Int) { words = Array(repeating: 0, count: (userCount + 63) / 64) }

  var byteCount: Int { words.count * 8 }

  mutating func insert(_ users: [UInt32]) {
    words.withUnsafeMutableBufferPointer { words in
      for user in users { words[Int(user >> 6)] |= 1 << UInt64(user & 63) }
    }
  }

  mutating func formUnion(_ other: UserBits) {
    precondition(words.count == other.words.count, "sets of one app's users")
    for index in words.indices { words[index] |= other.words[index] }
  }

  func contains(_ user: UInt32) -> Bool { words[Int(user >> 6)] & 1 << UInt64(user & 63) != 0 }

  var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// How many users both have.
  func count(with other: UserBits) -> Int {
    precondition(words.count == other.words.count, "sets of one app's users")
    return words.indices.reduce(0) { $0 + (words[$1] & other.words[$1]).nonzeroBitCount }
  }

  /// How many of a list are in it.
  func count(of users: [UInt32]) -> Int {
    words.withUnsafeBufferPointer { words in
      users.reduce(0) { $0 + Int(words[Int($1 >> 6)] >> UInt64($1 & 63) & 1) }
    }
  }
}
