extension DaySource {
  /// The distinct users with at least one event of the day that counts and is not passive, ascending. Reads no events where
  /// the day is sealed.
  func activeUsers(_ day: Int32, _ traffic: TrafficChoice) throws -> [UInt32] {
    try facts(day).active(traffic.classes)
  }

  /// Adds the events of a day to those that an answer has read or left out. Reads no events where the day is sealed.
  func tally(_ day: Int32, _ traffic: TrafficChoice, into tally: inout EventTally) throws {
    tally.add(flagCounts: try facts(day).flagCounts, traffic)
  }

  /// The users active on some of the days, as bits. Reads the days on several threads.
  func activeUsers(_ days: some Collection<Int32>, _ traffic: TrafficChoice) throws -> UserBits {
    let days = Array(days)
    let threads = Limits.threadsDefault
    try control.charge(
      UserBits(userCount: snapshot.userCount).byteCount * threads, for: "the users of a period")
    let parts = try Blocks.map(threads, threads: threads) { part in
      var bits = UserBits(userCount: snapshot.userCount)
      for index in stride(from: part, to: days.count, by: threads) {
        bits.insert(try activeUsers(days[index], traffic))
      }
      return bits
    }
    return parts.dropFirst().reduce(into: parts[0]) { $0.formUnion($1) }
  }
}

extension TrafficChoice {
  /// By the flags of a row: whether it counts and makes its user active, as a table of 256.
  var activeByFlags: [Bool] {
    let counted = countedByFlags
    return (0...UInt8.max).map { counted[Int($0)] && !RowFlags(rawValue: $0).isPassive }
  }
}

extension DaySource {
  /// The events of a range that count, and those that do not.
  func tally(_ days: ClosedRange<Int>, _ traffic: TrafficChoice) throws -> EventTally {
    let days = Array(self.days(in: days.lowerBound..<days.upperBound + 1))
    let tallies = try Blocks.map(days.count, threads: Limits.threadsDefault) { index in
      var tally = EventTally()
      try self.tally(days[index], traffic, into: &tally)
      return tally
    }
    return tallies.reduce(into: EventTally()) { $0.merge($1) }
  }
}
