import Events

/// The cards of the first page: a day beside the day, the week and the month before it (SEMANTICS 3).
package struct OverviewQuery: Sendable {
  package var appID: String
  /// nil: the last day that is over at the log's latest receipt time.
  package var day: Int?
  package var filter: FilterTree?
  package var traffic: TrafficChoice

  package init(
    appID: String, day: Int? = nil, filter: FilterTree? = nil,
    traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.day = day
    self.filter = filter
    self.traffic = traffic
  }
}

/// The metrics of a trend that have a card, by the names of the answer, in its order.
package enum OverviewMetric: String, Sendable, CaseIterable {
  case sessionCount = "session_cnt"
  case pageViews = "visit_pv"
  case users = "visit_uv"
  case newUsers = "visit_uv_new"
  case total = "visit_total"
  case shares = "share_pv"
  case shareUsers = "share_uv"
  case stayPerUser = "stay_time_uv"
  case stayPerSession = "stay_time_session"
  case depth = "visit_depth"

  package func value(_ metrics: TrendMetrics) -> Double {
    switch self {
    case .sessionCount: Double(metrics.sessionCount)
    case .pageViews: Double(metrics.visitPageViews)
    case .users: Double(metrics.visitUsers)
    case .newUsers: Double(metrics.visitNewUsers)
    case .total: Double(metrics.visitTotal)
    case .shares: Double(metrics.sharePageViews)
    case .shareUsers: Double(metrics.shareUsers)
    case .stayPerUser: metrics.staySecondsPerUser
    case .stayPerSession: metrics.staySecondsPerSession
    case .depth: metrics.visitDepth
    }
  }
}

package struct OverviewCard: Sendable, Equatable {
  package let metric: OverviewMetric
  package let value: Double
  package let dayBefore: Double
  package let weekBefore: Double
  package let monthBefore: Double

  package var dayChange: Double? { Self.change(value, dayBefore) }
  package var weekChange: Double? { Self.change(value, weekBefore) }
  package var monthChange: Double? { Self.change(value, monthBefore) }

  /// nil where there was nothing then.
  private static func change(_ now: Double, _ then: Double) -> Double? {
    then == 0 ? nil : (now - then) / then
  }
}

package struct OverviewAnswer: Sendable, Equatable {
  package let day: Int
  package let cards: [OverviewCard]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func overview(
    _ query: OverviewQuery, control: QueryControl
  ) throws -> OverviewAnswer {
    let snapshot = try snapshot(query.appID)
    let day = query.day ?? Self.lastDay(snapshot)
    let days = [day, day - 1, day - 7, OverviewQuery.monthBefore(day)]
    let trends = try trends(days.map { query.trend(ofDay: $0) }, of: snapshot, control: control)
    let metrics = trends.map { $0.points[0].metrics }
    let cards = OverviewMetric.allCases.map { metric in
      OverviewCard(
        metric: metric, value: metric.value(metrics[0]), dayBefore: metric.value(metrics[1]),
        weekBefore: metric.value(metrics[2]), monthBefore: metric.value(metrics[3]))
    }
    return OverviewAnswer(day: day, cards: cards, info: trends[0].info)
  }

  /// The users behind a number of the day's card.
  package func overviewUsers(
    _ query: OverviewQuery, _ kind: TrendWanted.Kind, control: QueryControl
  ) throws -> UserList {
    let day = try query.day ?? Self.lastDay(snapshot(query.appID))
    return try trendUsers(
      query.trend(ofDay: day), kind, refDate: nil, ordinal: 1, series: nil, control: control)
  }

  /// The last day that is over at the log's latest receipt time.
  private static func lastDay(_ snapshot: AppSnapshot) -> Int {
    snapshot.calendar.day(at: snapshot.position.receivedMilliseconds) - 1
  }
}

extension OverviewQuery {
  /// The same day of the month before, or its last day where that month is shorter.
  package static func monthBefore(_ day: Int) -> Int {
    let month = CivilPeriod.month(ofDay: day)
    let before = CivilPeriod.firstDay(ofMonth: month - 1)
    let first = CivilPeriod.firstDay(ofMonth: month)
    return min(before + (day - first), first - 1)
  }

  func trend(ofDay day: Int) -> TrendQuery {
    TrendQuery(appID: appID, days: day...day, filter: filter, traffic: traffic)
  }
}
