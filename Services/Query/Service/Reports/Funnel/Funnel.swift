import Events

/// How many came to a step, and how long they took.
package struct FunnelStepResult: Sendable, Equatable {
  package let label: String
  /// Or opens, or entries, where these are counted.
  package let users: UInt64
  /// Users of the step before, the nearest that no chain leaves out; of the first step its own.
  package let previousUsers: UInt64
  package let firstUsers: UInt64
  package let fromPrevious: DurationSummary
  package let fromFirst: DurationSummary

  package var conversionFromPrevious: Double { Self.share(users, previousUsers) }
  package var conversionFromFirst: Double { Self.share(users, firstUsers) }
  package var dropOffUsers: UInt64 { previousUsers - users }
  package var dropOffShare: Double { Self.share(dropOffUsers, previousUsers) }

  private static func share(_ part: UInt64, _ whole: UInt64) -> Double {
    whole == 0 ? 0 : Double(part) / Double(whole)
  }
}

package struct FunnelBreakdown: Sendable, Equatable {
  /// nil: the field is missing, or `isOther`.
  package let value: FieldValue?
  package let isOther: Bool
  package let steps: [FunnelStepResult]
}

package struct FunnelAnswer: Sendable, Equatable {
  package let steps: [FunnelStepResult]
  package let breakdown: [FunnelBreakdown]
  /// Of the second range.
  package let compareSteps: [FunnelStepResult]
  package let info: AnswerInfo
}

/// Which number of users of an answer.
package struct FunnelCell: Sendable {
  /// From 0.
  package var step: Int
  /// Who did the step before, but not this one.
  package var droppedOff: Bool
  package var group: Group

  package enum Group: Sendable {
    case all
    case value(FieldValue?)
    case other
  }

  package init(step: Int, droppedOff: Bool = false, group: Group = .all) {
    self.step = step
    self.droppedOff = droppedOff
    self.group = group
  }
}

extension QueryEngine {
  /// The users behind a number, in the order in which the app first saw them; nil: the answer has no such group.
  package func funnelUsers(
    _ query: FunnelQuery, _ cell: FunnelCell, control: QueryControl
  ) throws -> [String]? {
    let run = try FunnelRun(query, engine: self, control: control)
    return try run.users(cell).users.map { run.snapshot.app.texts(.users, $0) }
  }

  package func funnel(_ query: FunnelQuery, control: QueryControl) throws -> FunnelAnswer {
    try FunnelRun(query, engine: self, control: control).answer()
  }
}

extension FunnelRun {
  func answer() throws -> FunnelAnswer {
    let (outcomes, tally) = try outcomes(query.days)
    let compared = try query.compareDays.map { try self.outcomes($0).outcomes }
    return try control.operation("summarise") {
      FunnelAnswer(
        steps: try results(outcomes, FunnelGroups())[0], breakdown: try breakdown(outcomes),
        compareSteps: try compared.map { try results($0, FunnelGroups())[0] } ?? [],
        info: info(tally))
    }
  }

  private func info(_ tally: EventTally) -> AnswerInfo {
    let ends = [query.days, query.compareDays].compactMap { $0 }.map {
      snapshot.calendar.range(ofDays: $0).upperBound
    }
    let received = snapshot.position.receivedMilliseconds
    return AnswerInfo(snapshot, tally, isComplete: ends.allSatisfy { $0 <= received })
  }

  private func results(
    _ outcomes: [FunnelOutcomes], _ groups: FunnelGroups
  ) throws -> [[FunnelStepResult]] {
    let threads = Limits.threadsDefault
    let previous = query.previousSteps
    let steps = query.steps.count
    let totals = try Blocks.map(threads, threads: threads) { thread in
      var totals = FunnelTotals(groups: groups.count, steps: steps)
      for part in stride(from: thread, to: outcomes.count, by: threads) {
        totals.add(outcomes[part], previous: previous, groupOf: groups.groupOf)
      }
      return totals
    }
    return try FunnelTotals.results(
      totals, groups: groups.count, labels: query.labels, previous: previous, threads: threads)
  }

  /// Each user is in one group: that of the chain that reaches furthest.
  private func breakdown(_ outcomes: [FunnelOutcomes]) throws -> [FunnelBreakdown] {
    guard let breakdown else { return [] }
    let groups = FunnelGroups(outcomes, breakdown, limit: query.breakdownLimit)
    let results = try results(outcomes, groups)
    return (0..<groups.count).map { group in
      let isOther = group == groups.values.count
      return FunnelBreakdown(
        value: isOther ? nil : groups.values[group], isOther: isOther, steps: results[group])
    }
  }

  // MARK: Users

  /// The users behind a number, ascending; nil: the answer has no such group.
  func users(_ cell: FunnelCell) throws -> (users: [UInt32]?, info: AnswerInfo) {
    let (outcomes, tally) = try outcomes(query.days)
    guard let group = group(cell.group, outcomes) else { return (nil, info(tally)) }
    let previous = query.previousSteps[cell.step]
    var users: [UInt32] = []
    for part in outcomes {
      part.forEach { unit, next in
        guard group(part.value(unit)) else { return }
        let has = part.has(step: cell.step, unit, times: next)
        let isListed = cell.droppedOff ? !has && part.has(step: previous, unit, times: next) : has
        if isListed { users.append(part.users[unit]) }
      }
    }
    return (users.sorted(), info(tally))
  }

  /// Whether the number of a value is in a group.
  private func group(
    _ group: FunnelCell.Group, _ outcomes: [FunnelOutcomes]
  ) -> ((Int32) -> Bool)? {
    if case .all = group { return { _ in true } }
    guard let breakdown else { return nil }
    let groups = FunnelGroups(outcomes, breakdown, limit: query.breakdownLimit)
    var wanted: Int?
    switch group {
    case .all, .other: wanted = groups.count > groups.values.count ? groups.values.count : nil
    case .value(let value): wanted = groups.values.firstIndex(of: value)
    }
    guard let wanted else { return nil }
    return { groups.groupOf[Int($0)] == wanted }
  }
}

/// The values of a breakdown that are given apart: those with the most users, ties by value. The rest is the last group.
struct FunnelGroups: Sendable {
  private(set) var values: [FieldValue?] = []
  private(set) var count = 1
  /// By number of a value.
  private(set) var groupOf: [Int32] = []

  /// One group of all.
  init() {}

  init(_ outcomes: [FunnelOutcomes], _ breakdown: Breakdown, limit: Int) {
    var users = [Int](repeating: 0, count: breakdown.keys.count)
    for part in outcomes {
      for value in part.values { users[Int(value)] += 1 }
    }
    let seen = users.indices.filter { users[$0] > 0 }
    let valueOf = Dictionary(uniqueKeysWithValues: seen.map { ($0, breakdown.value(Int32($0))) })
    let ranked = seen.sorted { a, b in
      if users[a] != users[b] { return users[a] > users[b] }
      return FieldValue.isBefore(valueOf[a] ?? nil, valueOf[b] ?? nil)
    }
    let chosen = ranked.prefix(limit)
    values = chosen.map { valueOf[$0] ?? nil }
    count = min(ranked.count, limit + 1)
    groupOf = Array(repeating: Int32(chosen.count), count: users.count)
    for (group, value) in chosen.enumerated() { groupOf[value] = Int32(group) }
  }
}
