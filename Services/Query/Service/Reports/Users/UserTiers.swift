package import Events

/// How many users are new, active, dormant, churned on each day? (SEMANTICS 8)
package struct UserTiersQuery: Sendable {
  package var appID: String
  package var days: ClosedRange<Int>
  package var activeDays: Int
  package var dormantDays: Int
  package var traffic: TrafficChoice
  package var compareDays: ClosedRange<Int>?

  package init(
    appID: String, days: ClosedRange<Int>, activeDays: Int? = nil, dormantDays: Int? = nil,
    traffic: TrafficChoice = TrafficChoice(), compareDays: ClosedRange<Int>? = nil
  ) {
    self.appID = appID
    self.days = days
    self.activeDays = activeDays ?? UserTierRule.classic.activeDays
    self.dormantDays = dormantDays ?? UserTierRule.classic.dormantDays
    self.traffic = traffic
    self.compareDays = compareDays
  }
}

package struct TierPoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  /// By tier, in the order of `UserTier.allCases`.
  package let users: [UInt64]

  package subscript(_ tier: UserTier) -> UInt64 {
    UserTier.allCases.firstIndex(of: tier).map { users[$0] } ?? 0
  }
}

package struct UserTiersAnswer: Sendable, Equatable {
  package let points: [TierPoint]
  package let comparePoints: [TierPoint]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func userTiers(
    _ query: UserTiersQuery, control: QueryControl
  ) throws -> UserTiersAnswer { try UserTiersRun(query, engine: self, control: control).answer() }

  package func tierUsers(
    _ query: UserTiersQuery, _ tier: UserTier, refDate: String, control: QueryControl
  ) throws -> UserList {
    try UserTiersRun(query, engine: self, control: control).users(tier, refDate)
  }
}

private struct UserTiersRun {
  let query: UserTiersQuery
  let control: QueryControl
  let rule: UserTierRule
  let snapshot: AppSnapshot
  let source: DaySource
  /// When users were first active.
  let first: FirstTimes

  init(_ query: UserTiersQuery, engine: QueryEngine, control: QueryControl) throws {
    guard (1...Limits.activeDaysMax).contains(query.activeDays) else {
      throw QueryError.invalid(
        "active_days", "is \(query.activeDays), must be 1-\(Limits.activeDaysMax)")
    }
    guard query.activeDays < query.dormantDays, query.dormantDays <= Limits.dormantDaysMax else {
      throw QueryError.invalid(
        "dormant_days",
        "is \(query.dormantDays), must be more than active_days, \(query.activeDays), and at most \(Limits.dormantDaysMax)")
    }
    self.query = query
    self.control = control
    rule = UserTierRule(activeDays: query.activeDays, dormantDays: query.dormantDays)
    snapshot = try engine.snapshot(query.appID)
    source = try DaySource(snapshot, engine: engine, needs: ColumnNeeds(), control: control)
    first = snapshot.times.view(query.traffic.classes)
  }

  private var history: UserHistory {
    UserHistory(source, traffic: query.traffic, control: control)
  }

  func answer() throws -> UserTiersAnswer {
    let points = try points(query.days)
    let compared = try query.compareDays.map(points(_:)) ?? []
    return UserTiersAnswer(
      points: points, comparePoints: compared,
      info: AnswerInfo(
        snapshot, try source.tally(query.days, query.traffic),
        isComplete: (points + compared).allSatisfy(\.isComplete)))
  }

  private func points(_ days: ClosedRange<Int>) throws -> [TierPoint] {
    let begin = days.lowerBound - rule.dormantDays + 1
    let windows = try ActivityWindows(
      history: history.days(in: begin...days.upperBound), days: days,
      userCount: snapshot.userCount, control: control
    ).counts([rule.activeDays, rule.dormantDays])
    let periods = Period.periods(days, .day, snapshot.calendar)
    let (new, ever) = firstActive(periods)
    return periods.indices.map { index in
      let (active, dormant) = (windows[index][0], windows[index][1])
      // First active times outlast the events of days that were dropped: of such a day nobody is left.
      let new = min(new[index], active)
      return TierPoint(
        period: periods[index],
        isComplete: periods[index].milliseconds.upperBound
          <= snapshot.position.receivedMilliseconds,
        users: [new, active - new, dormant - active, ever[index] - dormant])
    }
  }

  /// By period: users first active in it, and up to its end.
  private func firstActive(_ periods: [Period]) -> (new: [UInt64], ever: [UInt64]) {
    let ends = periods.map(\.milliseconds.upperBound)
    let begin = periods[0].milliseconds.lowerBound
    var before: UInt64 = 0
    var new = [UInt64](repeating: 0, count: periods.count + 1)
    first.forEach { _, time in
      if time < begin { before += 1 } else { new[ends.partitioningIndex { $0 > time }] += 1 }
    }
    var ever = before
    return (
      new, periods.indices.map { index in
        ever += new[index]
        return ever
      }
    )
  }

  // MARK: Users

  func users(_ tier: UserTier, _ refDate: String) throws -> UserList {
    let periods = Period.periods(query.days, .day, snapshot.calendar)
    guard let period = periods.first(where: { $0.refDate == refDate }) else {
      throw QueryError.invalid("cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
    }
    let day = period.days.lowerBound
    // By user: the last active day within the longer window.
    var last = [Int](repeating: Int.min, count: snapshot.userCount)
    for (day, users) in try history.days(in: day - rule.dormantDays + 1...day) {
      for user in users { last[Int(user)] = day }
    }
    let users = last.indices.filter { user in
      let time = first[UInt32(user)]
      guard time < period.milliseconds.upperBound else { return false }
      let isNew = time >= period.milliseconds.lowerBound && last[user] == day
      let lastDay = max(last[user], day - rule.dormantDays)
      return rule.tier(first: isNew ? day : lastDay - 1, last: isNew ? day : lastDay, on: day) == tier
    }
    return UserList(
      users: users.map(UInt32.init), app: snapshot.app,
      info: AnswerInfo(
        snapshot, try source.tally(query.days, query.traffic),
        isComplete: period.milliseconds.upperBound <= snapshot.position.receivedMilliseconds))
  }
}
