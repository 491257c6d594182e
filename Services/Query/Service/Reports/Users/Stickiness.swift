import Events

/// In how many days of a period are users active; DAU, WAU, MAU (SEMANTICS 8).
package struct StickinessQuery: Sendable {
  package var appID: String
  package var days: ClosedRange<Int>
  /// nil: any active event.
  package var event: EventChoice?
  package var traffic: TrafficChoice
  package var compareDays: ClosedRange<Int>?

  package init(
    appID: String, days: ClosedRange<Int>, event: EventChoice? = nil,
    traffic: TrafficChoice = TrafficChoice(), compareDays: ClosedRange<Int>? = nil
  ) {
    self.appID = appID
    self.days = days
    self.event = event
    self.traffic = traffic
    self.compareDays = compareDays
  }
}

/// Users active on exactly so many days of the range.
package struct StickinessBar: Sendable, Equatable {
  package let days: Int
  package let users: UInt64
}

package struct ActiveUsersPoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  package let dau: UInt64
  package let wau: UInt64
  package let mau: UInt64

  package var dauPerMau: Double { mau == 0 ? 0 : Double(dau) / Double(mau) }
}

package struct StickinessAnswer: Sendable, Equatable {
  /// Those with users, by days.
  package let bars: [StickinessBar]
  package let points: [ActiveUsersPoint]
  package let compareBars: [StickinessBar]
  package let comparePoints: [ActiveUsersPoint]
  package let info: AnswerInfo
}

/// Which users of a stickiness.
package enum StickinessCell: Sendable, Equatable {
  case bar(days: Int)
  /// Of the days that end with a date: 1, 7 or 30.
  case window(days: Int, refDate: String)
}

extension QueryEngine {
  package func stickiness(
    _ query: StickinessQuery, control: QueryControl
  ) throws -> StickinessAnswer { try StickinessRun(query, engine: self, control: control).answer() }

  package func stickinessUsers(
    _ query: StickinessQuery, _ cell: StickinessCell, control: QueryControl
  ) throws -> UserList {
    try StickinessRun(query, engine: self, control: control).users(cell)
  }
}

private struct StickinessRun {
  static let windows = [1, 7, 30]

  let query: StickinessQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  let history: UserHistory

  init(_ query: StickinessQuery, engine: QueryEngine, control: QueryControl) throws {
    for (days, asked) in [(query.days, "range"), (query.compareDays ?? query.days, "compare_range")]
    where days.count > Limits.stickinessDaysMax {
      throw QueryError.invalid(
        asked, "has \(days.count) days, must have at most \(Limits.stickinessDaysMax)")
    }
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    try query.event?.check(asked: "event", names: 1...Limits.eventsPerStepMax)
    if let filter = query.event?.filter {
      _ = try FilterProgram(filter, in: snapshot, asked: "event.filter")
    }
    var needs = ColumnNeeds()
    if let event = query.event { try needs.add(event, in: snapshot) }
    source = try DaySource(snapshot, engine: engine, needs: needs, control: control)
    history = UserHistory(
      source, choice: query.event, asked: "event", traffic: query.traffic, control: control)
  }

  func answer() throws -> StickinessAnswer {
    let main = try figures(query.days)
    let compared = try query.compareDays.map(figures(_:))
    return StickinessAnswer(
      bars: main.bars, points: main.points, compareBars: compared?.bars ?? [],
      comparePoints: compared?.points ?? [],
      info: AnswerInfo(
        snapshot, try source.tally(query.days, query.traffic),
        isComplete: (main.points + (compared?.points ?? [])).allSatisfy(\.isComplete)))
  }

  private func figures(
    _ days: ClosedRange<Int>
  ) throws -> (bars: [StickinessBar], points: [ActiveUsersPoint]) {
    let lists = try history.days(in: days.lowerBound - 29...days.upperBound)
    let counts = try ActivityWindows(
      history: lists, days: days, userCount: snapshot.userCount, control: control
    ).counts(Self.windows)
    let periods = Period.periods(days, .day, snapshot.calendar)
    let points = zip(periods, counts).map { period, counts in
      ActiveUsersPoint(
        period: period,
        isComplete: period.milliseconds.upperBound <= snapshot.position.receivedMilliseconds,
        dau: counts[0], wau: counts[1], mau: counts[2])
    }
    return (bars(try activeDays(lists, days), days.count), points)
  }

  /// By user: on how many days of the range.
  private func activeDays(
    _ lists: [(day: Int, users: [UInt32])], _ days: ClosedRange<Int>
  ) throws -> [UInt16] {
    try control.charge(snapshot.userCount * 2, for: "the days of each user")
    var activeDays = [UInt16](repeating: 0, count: snapshot.userCount)
    for list in lists where days.contains(list.day) {
      for user in list.users { activeDays[Int(user)] += 1 }
    }
    return activeDays
  }

  private func bars(_ activeDays: [UInt16], _ most: Int) -> [StickinessBar] {
    var users = [UInt64](repeating: 0, count: most + 1)
    for days in activeDays { users[Int(days)] += 1 }
    return (1...most).filter { users[$0] > 0 }.map { StickinessBar(days: $0, users: users[$0]) }
  }

  func users(_ cell: StickinessCell) throws -> UserList {
    let users: [UInt32]
    var isComplete =
      snapshot.calendar.range(ofDays: query.days).upperBound
      <= snapshot.position.receivedMilliseconds
    switch cell {
    case .bar(let days):
      guard (1...query.days.count).contains(days) else {
        throw QueryError.invalid("cell.key", "is \(days), must be 1-\(query.days.count)")
      }
      let active = try activeDays(history.days(in: query.days), query.days)
      users = active.indices.filter { Int(active[$0]) == days }.map(UInt32.init)
    case .window(let days, let refDate):
      let periods = Period.periods(query.days, .day, snapshot.calendar)
      guard let period = periods.first(where: { $0.refDate == refDate }) else {
        throw QueryError.invalid(
          "cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
      }
      let day = period.days.lowerBound
      var bits = UserBitmap()
      for list in try history.days(in: day - days + 1...day) { bits.insert(list.users) }
      users = bits.users
      isComplete = period.milliseconds.upperBound <= snapshot.position.receivedMilliseconds
    }
    return UserList(
      users: users, app: snapshot.app,
      info: AnswerInfo(
        snapshot, try source.tally(query.days, query.traffic), isComplete: isComplete))
  }
}
