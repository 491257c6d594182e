import Events

/// New, returning, resurrecting and dormant users, period by period (SEMANTICS 8).
package struct LifecycleQuery: Sendable {
  package var appID: String
  package var days: ClosedRange<Int>
  package var unit: CalendarUnit
  package var traffic: TrafficChoice
  package var compareDays: ClosedRange<Int>?

  package init(
    appID: String, days: ClosedRange<Int>, unit: CalendarUnit = .day,
    traffic: TrafficChoice = TrafficChoice(), compareDays: ClosedRange<Int>? = nil
  ) {
    self.appID = appID
    self.days = days
    self.unit = unit
    self.traffic = traffic
    self.compareDays = compareDays
  }
}

/// What a user is in a period.
package enum LifecycleStage: String, Sendable, CaseIterable {
  case new, returning, resurrecting
  /// Active in the period before, not in this one.
  case dormant
}

package struct LifecyclePoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  package var new: UInt64
  package var returning: UInt64
  package var resurrecting: UInt64
  /// Those who stayed away; the answer shows them below 0.
  package var dormant: UInt64
}

package struct LifecycleAnswer: Sendable, Equatable {
  package let points: [LifecyclePoint]
  package let comparePoints: [LifecyclePoint]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func lifecycle(
    _ query: LifecycleQuery, control: QueryControl
  ) throws -> LifecycleAnswer { try LifecycleRun(query, engine: self, control: control).answer() }

  package func lifecycleUsers(
    _ query: LifecycleQuery, _ stage: LifecycleStage, refDate: String, control: QueryControl
  ) throws -> UserList {
    try LifecycleRun(query, engine: self, control: control).users(stage, refDate)
  }
}

private struct LifecycleRun {
  let query: LifecycleQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  let history: UserHistory

  /// Periods whose users are held at a time.
  private static let batch = 32

  init(_ query: LifecycleQuery, engine: QueryEngine, control: QueryControl) throws {
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    source = try DaySource(snapshot, engine: engine, needs: ColumnNeeds(), control: control)
    history = UserHistory(source, traffic: query.traffic, control: control)
  }

  func answer() throws -> LifecycleAnswer {
    let points = try points(query.days)
    let compared = try query.compareDays.map(points(_:)) ?? []
    return LifecycleAnswer(
      points: points, comparePoints: compared,
      info: AnswerInfo(
        snapshot, try source.tally(query.days, query.traffic),
        isComplete: (points + compared).allSatisfy(\.isComplete)))
  }

  private func points(_ days: ClosedRange<Int>) throws -> [LifecyclePoint] {
    let numbers = query.unit.touching(days)
    let new = snapshot.newUsers(
      numbers.lowerBound..<numbers.upperBound + 1, query.unit, query.traffic)
    var previous = try history.periods(
      numbers.lowerBound - 1..<numbers.lowerBound, query.unit)[0]
    var points: [LifecyclePoint] = []
    for begin in stride(from: numbers.lowerBound, through: numbers.upperBound, by: Self.batch) {
      try control.check()
      let end = min(begin + Self.batch, numbers.upperBound + 1)
      let active = try history.periods(begin..<end, query.unit)
      for number in begin..<end {
        let now = active[number - begin]
        // First active times outlast the events of days that were dropped: who is new is among those who are left.
        let new = UserBitmap(new[number - numbers.lowerBound]).intersectionCount(now)
        points.append(point(number, now, previous, new: new))
        previous = now
      }
      control.release(active.reduce(0) { $0 + $1.byteCount })
    }
    return points
  }

  private func point(
    _ number: Int, _ now: UserBitmap, _ before: UserBitmap, new: Int
  ) -> LifecyclePoint {
    let period = query.unit.period(number, snapshot.calendar)
    let returning = now.intersectionCount(before)
    return LifecyclePoint(
      period: period,
      isComplete: period.milliseconds.upperBound <= snapshot.position.receivedMilliseconds,
      new: UInt64(new), returning: UInt64(returning),
      resurrecting: UInt64(now.count - returning - new),
      dormant: UInt64(before.count - returning))
  }

  func users(_ stage: LifecycleStage, _ refDate: String) throws -> UserList {
    let numbers = query.unit.touching(query.days)
    let found = numbers.first { query.unit.period($0, snapshot.calendar).refDate == refDate }
    guard let number = found else {
      throw QueryError.invalid("cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
    }
    let sets = try history.periods(number - 1..<number + 1, query.unit)
    let new = snapshot.newUsers(number..<number + 1, query.unit, query.traffic)[0]
    var users = sets[stage == .dormant ? 0 : 1]
    switch stage {
    case .new: users.formIntersection(UserBitmap(new))
    case .returning: users.formIntersection(sets[0])
    case .resurrecting:
      users.subtract(sets[0])
      users.subtract(UserBitmap(new))
    case .dormant: users.subtract(sets[1])
    }
    let end = query.unit.period(number, snapshot.calendar).milliseconds.upperBound
    return UserList(
      users: users.users, app: snapshot.app,
      info: AnswerInfo(
        snapshot, try source.tally(query.days, query.traffic),
        isComplete: end <= snapshot.position.receivedMilliseconds))
  }
}
