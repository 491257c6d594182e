extension DaySource {
  /// The distinct users with at least one event of the day that counts and is not passive, ascending.
  func activeUsers(_ day: Int32, _ traffic: TrafficChoice) throws -> [UInt32] {
    let columns = try load(day)
    let isActive = traffic.activeByFlags
    var active: [UInt32] = []
    active.reserveCapacity(columns.users.count)
    columns.flags.withUnsafeBufferPointer { flags in
      var row = 0
      for (position, user) in columns.users.enumerated() {
        let end = Int(columns.userEnds[position])
        while row < end, !isActive[Int(flags[row])] { row += 1 }
        if row < end { active.append(user) }
        row = end
      }
    }
    return active
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
      tally.add(try load(days[index]), traffic, mask: nil)
      return tally
    }
    return tallies.reduce(into: EventTally()) { $0.merge($1) }
  }
}
