import Events

/// An open may begin before the range that is asked for and go on into it. Finds how far back a scan must start to know
/// where opens are cut.
struct LookBack {
  /// The first day that must be read before the range; nil: none.
  private(set) var firstDay: Int32?
  /// The users that must be followed before the range: the others certainly begin an open with their first event in it.
  let users: Set<UInt32>

  /// Walks back day by day while some user's events follow one another without a certain cut: a `$launch`, or a gap
  /// longer than the timeout.
  init(_ source: DaySource, range: ClosedRange<Int>) throws {
    let timeout = source.snapshot.rules.timeoutMilliseconds
    var earliest = try Self.startingWithin(timeout, range, source)
    users = Set(earliest.keys)
    for previous in source.days.reversed() where Int(previous) < range.lowerBound {
      // Nobody has an event between this day's end and the earliest one that has been seen.
      let last = source.begin(of: previous + 1) - 1
      earliest = earliest.filter { $0.value - last <= timeout }
      if earliest.isEmpty { return }
      firstDay = previous
      Self.follow(&earliest, back: try source.load(previous), timeout)
    }
  }

  /// Users whose first event of the range may go on with an open that began before it, and the event's time.
  private static func startingWithin(
    _ timeout: Int64, _ range: ClosedRange<Int>, _ source: DaySource
  ) throws -> [UInt32: Int64] {
    let last = source.snapshot.calendar.start(ofDay: range.lowerBound) - 1
    let near = source.days(in: range.lowerBound..<range.upperBound + 1).filter {
      source.begin(of: $0) - last <= timeout
    }
    // As a rule it is one day, on which nobody is twice.
    let mayRepeat = near.count > 1
    var seen: Set<UInt32> = []
    var result: [UInt32: Int64] = [:]
    for number in near {
      let day = try source.load(number)
      for position in day.users.indices where !mayRepeat || !seen.contains(day.users[position]) {
        let rows = day.rows(ofUserAt: position)
        guard let row = rows.first(where: { !day.isPassive($0) }) else { continue }
        if mayRepeat { seen.insert(day.users[position]) }
        if day.isLaunch(row) || day.time(row) - last > timeout { continue }
        result[day.users[position]] = day.time(row)
      }
    }
    return result
  }

  /// Moves each user's earliest time back through a day; a user with a certain cut is dropped.
  private static func follow(
    _ earliest: inout [UInt32: Int64], back day: DayColumns, _ timeout: Int64
  ) {
    for position in day.users.indices {
      let user = day.users[position]
      guard var next = earliest[user] else { continue }
      var isCut = false
      for row in day.rows(ofUserAt: position).reversed() where !day.isPassive(row) {
        isCut = next - day.time(row) > timeout || day.isLaunch(row)
        if isCut { break }
        next = day.time(row)
      }
      earliest[user] = isCut ? nil : next
    }
  }
}

extension DayColumns {
  func isPassive(_ row: Int) -> Bool { RowFlags(rawValue: flags[row]).isPassive }
  func isLaunch(_ row: Int) -> Bool { event[row] == UInt32(BuiltInEvent.launch.rawValue) }
  /// ms since 1970.
  func time(_ row: Int) -> Int64 { beginMilliseconds + Int64(time[row]) }
}

/// When users went to the background that they were in before a range began.
enum BackgroundSearch {
  /// - Returns: for each of the users the time, or `Int64.min` where the user was not in the background.
  static func run(
    _ users: Set<UInt32>, before day: Int, _ source: DaySource
  ) throws -> [UInt32: Int64] {
    var found: [UInt32: Int64] = [:]
    var wanted = users
    for number in source.days.reversed() where Int(number) < day {
      if wanted.isEmpty { break }
      let day = try source.load(number)
      for position in day.users.indices where wanted.contains(day.users[position]) {
        guard let background = last(day, day.rows(ofUserAt: position)) else { continue }
        found[day.users[position]] = background
        wanted.remove(day.users[position])
      }
    }
    for user in wanted { found[user] = Int64.min }
    return found
  }

  /// nil: none of the events says whether the app was in the background.
  private static func last(_ day: DayColumns, _ rows: Range<Int>) -> Int64? {
    for row in rows.reversed() where !RowFlags(rawValue: day.flags[row]).isPassive {
      switch day.event[row] {
      case UInt32(BuiltInEvent.background.rawValue):
        return day.beginMilliseconds + Int64(day.time[row])
      case UInt32(BuiltInEvent.launch.rawValue), UInt32(BuiltInEvent.foreground.rawValue):
        return Int64.min
      default: continue
      }
    }
    return nil
  }
}
