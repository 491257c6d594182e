import Events

/// Counts how many of each source's new users were active so many days after their first.
struct SourceRetentionCount {
  private let scope: ReportScope
  private let days: [Int]
  private let seriesCount: Int
  /// By day: the users who were new on it, ascending, and their series.
  private let cohorts: [Int: [(user: UInt32, series: Int)]]

  init(_ scope: ReportScope, _ query: SourcesQuery, _ newUsers: [NewUser], _ seriesCount: Int) throws {
    try scope.control.charge(newUsers.count * 28, for: "the new users of each source")
    self.scope = scope
    days = query.retentionDays
    self.seriesCount = seriesCount
    cohorts = Dictionary(grouping: newUsers) { Int($0.day) }.mapValues { cohort in
      cohort.map { (user: $0.user, series: Int($0.series)) }.sorted { $0.user < $1.user }
    }
  }

  /// - Returns: by series, in the order of the question's days.
  func run() throws -> [[SourceRetention]] {
    var result = Array(
      repeating: days.map { SourceRetention(day: $0) }, count: seriesCount)
    for (day, cohort) in cohorts {
      for (index, after) in days.enumerated() where isOver(day + after) {
        for member in cohort { result[member.series][index].newUsers += 1 }
      }
    }
    try scope.control.operation("retention", "\(cohorts.count) cohorts") {
      for number in scope.source.days where isAsked(Int(number)) {
        let active = try scope.source.activeUsers(number, scope.traffic)
        for (index, after) in days.enumerated() {
          guard let cohort = cohorts[Int(number) - after], isOver(Int(number)) else { continue }
          Self.count(cohort, active) { result[$0][index].users += 1 }
        }
      }
    }
    return result
  }

  private func isOver(_ day: Int) -> Bool {
    scope.isOver(scope.snapshot.calendar.start(ofDay: day + 1))
  }

  private func isAsked(_ day: Int) -> Bool { days.contains { cohorts[day - $0] != nil } }

  /// Both are ascending.
  private static func count(
    _ cohort: [(user: UInt32, series: Int)], _ active: [UInt32], _ found: (Int) -> Void
  ) {
    var position = 0
    for member in cohort {
      while position < active.count, active[position] < member.user { position += 1 }
      if position == active.count { return }
      if active[position] == member.user { found(member.series) }
    }
  }
}
