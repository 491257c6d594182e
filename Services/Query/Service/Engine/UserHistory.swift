import Events

/// The users of each day, read on several threads: those that were active, or those that did some event.
struct UserHistory {
  let source: DaySource
  /// nil: any active event.
  let choice: EventChoice?
  /// How the question calls the choice.
  let asked: String
  let traffic: TrafficChoice
  let control: QueryControl
  private let selectors = WorkerPool<EventSelector>()

  init(
    _ source: DaySource, choice: EventChoice? = nil, asked: String = "", traffic: TrafficChoice,
    control: QueryControl
  ) {
    self.source = source
    self.choice = choice
    self.asked = asked
    self.traffic = traffic
    self.control = control
  }

  /// Ascending.
  func users(_ day: Int32) throws -> [UInt32] {
    guard let choice else { return try source.activeUsers(day, traffic) }
    return try selectors.with(make: {
      try EventSelector(choice, asked: asked, traffic: traffic, in: source.snapshot)
    }) { selector in
      let columns = try source.load(day)
      return columns.users(of: try selector.select(columns, source).rows)
    }
  }

  /// The days of a range that have events, each with its users.
  func days(in range: ClosedRange<Int>) throws -> [(day: Int, users: [UInt32])] {
    let days = Array(source.days(in: range.lowerBound..<range.upperBound + 1))
    let users = try Blocks.map(days.count, threads: Limits.threadsDefault) { index in
      let users = try self.users(days[index])
      try control.charge(users.count * 4, for: "the users of each day")
      return users
    }
    return zip(days, users).map { (Int($0), $1) }
  }

  /// The users of periods, each as a set.
  func periods(_ numbers: Range<Int>, _ unit: CalendarUnit) throws -> [UserBitmap] {
    return try Blocks.map(numbers.count, threads: Limits.threadsDefault) { index in
      var bits = UserBitmap()
      let days = unit.days(numbers.lowerBound + index)
      for day in source.days(in: days.lowerBound..<days.upperBound + 1) {
        bits.insert(try users(day))
      }
      try control.charge(bits.byteCount, for: "the users of each period")
      return bits
    }
  }
}

extension DayColumns {
  /// The distinct users of some rows, which ascend.
  func users(of rows: [UInt32]) -> [UInt32] {
    var found: [UInt32] = []
    var position = 0
    var last = -1
    for row in rows {
      while userEnds[position] <= row { position += 1 }
      if position != last { found.append(users[position]) }
      last = position
    }
    return found
  }
}

extension AppSnapshot {
  /// When each user was first active in the traffic that counts: the number of the period, found from its days' bounds.
  ///
  /// - Returns: users of each of the periods, ascending.
  func newUsers(
    _ numbers: Range<Int>, _ unit: CalendarUnit, _ traffic: TrafficChoice
  ) -> [[UInt32]] {
    var users = [[UInt32]](repeating: [], count: numbers.count)
    if numbers.isEmpty { return users }
    let bounds = numbers.map { calendar.range(ofDays: unit.days($0)) }
    let ends = bounds.map(\.upperBound)
    let begin = bounds[0].lowerBound
    let last = ends[ends.count - 1]
    times.view(traffic.classes).forEach { user, time in
      if time >= begin, time < last { users[ends.partitioningIndex { $0 > time }].append(user) }
    }
    return users
  }
}
