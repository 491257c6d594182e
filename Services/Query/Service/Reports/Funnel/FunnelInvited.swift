/// Funnels whose steps are done by several users: a step may be done by somebody who came by the share of the step before.
///
/// Worked out backwards from the last step: for each event that does a step, the earliest time at which each further step
/// can be reached from it. Linear in the events, times the square of the steps, but for sorting the shares.
struct InvitedFunnel {
  private let rules: ChainRules
  private let isInvited: [Bool]
  /// By user, each user's in order.
  private let hits: [FunnelHit]
  private let touches: [UInt32: Int32]
  private let breakdownBy: FunnelQuery.BreakdownBy
  /// By step: the indices of the hits that do it.
  private var doing: [[Int]] = []
  /// By step: of each hit that does it, the earliest times at which it and each later step are reached.
  private var earliest: [[Int64]] = []

  private static let never = Int64.max

  /// Bytes of the tables, about.
  static func byteCount(_ hits: [FunnelHit], steps: Int) -> Int {
    (0..<steps).reduce(0) { bytes, step in
      bytes + hits.count { $0.steps & (1 << UInt32(step)) != 0 } * 8 * (1 + steps - step)
    }
  }

  init(
    _ chains: FunnelChainPlan, isInvited: [Bool], hits: [FunnelHit], touches: [UInt32: Int32],
    control: QueryControl
  ) throws {
    rules = chains.rules
    breakdownBy = chains.breakdownBy
    self.isInvited = isInvited
    self.hits = hits
    self.touches = touches
    doing = (0..<rules.stepCount).map { step in
      hits.indices.filter { hits[$0].steps & (1 << UInt32(step)) != 0 }
    }
    earliest = Array(repeating: [], count: rules.stepCount)
    for step in stride(from: rules.stepCount - 1, through: 0, by: -1) {
      try control.check()
      earliest[step] = times(step)
    }
  }

  /// How many later steps, its own included, are told of a hit that does a step.
  private func width(_ step: Int) -> Int { rules.stepCount - step }

  private func times(_ step: Int) -> [Int64] {
    let width = width(step)
    var table = [Int64](repeating: Self.never, count: doing[step].count * width)
    for (place, index) in doing[step].enumerated() { table[place * width] = hits[index].time }
    if step + 1 < rules.stepCount {
      if isInvited[step + 1] { addInvited(step, &table) } else { addOwn(step, &table) }
    }
    return table
  }

  /// The next step is done by the same user, later.
  private func addOwn(_ step: Int, _ table: inout [Int64]) {
    let next = doing[step + 1]
    let width = width(step + 1)
    var best = [Int64](repeating: Self.never, count: width)
    var place = next.count - 1
    var user: UInt32?
    for own in doing[step].indices.reversed() {
      let index = doing[step][own]
      if hits[index].user != user {
        user = hits[index].user
        best = Array(repeating: Self.never, count: width)
        while place >= 0, hits[next[place]].user > hits[index].user { place -= 1 }
      }
      while place >= 0, next[place] > index {
        for further in 0..<width {
          best[further] = min(best[further], earliest[step + 1][place * width + further])
        }
        place -= 1
      }
      for further in 0..<width { table[own * (width + 1) + 1 + further] = best[further] }
    }
  }

  /// The earliest time, and the earliest of another user than its own.
  private struct TwoBest {
    var first = InvitedFunnel.never
    var user: UInt32 = 0
    var second = InvitedFunnel.never

    mutating func add(_ time: Int64, _ user: UInt32) {
      if user == self.user {
        first = min(first, time)
      } else if time < first {
        (second, first, self.user) = (first, time, user)
      } else {
        second = min(second, time)
      }
    }

    func best(without user: UInt32) -> Int64 { user == self.user ? second : first }
  }

  /// The next step is done by another user, who came by the share of this one, then or later.
  private func addInvited(_ step: Int, _ table: inout [Int64]) {
    let width = width(step + 1)
    let next = sorted(step + 1) { $0.cameBy }
    var place = 0
    var share: UInt32 = 0
    var best: [TwoBest] = []
    for own in sorted(step, by: { $0.given }) {
      let hit = hits[doing[step][own]]
      if hit.share.given != share {
        share = hit.share.given
        best = Array(repeating: TwoBest(), count: width)
        while place < next.count, self.share(next[place], step + 1).cameBy < share { place += 1 }
      }
      while place < next.count, self.share(next[place], step + 1).cameBy == share,
        hits[doing[step + 1][next[place]]].time >= hit.time
      {
        let user = hits[doing[step + 1][next[place]]].user
        for further in 0..<width {
          let time = earliest[step + 1][next[place] * width + further]
          if time != Self.never { best[further].add(time, user) }
        }
        place += 1
      }
      for further in 0..<width {
        table[own * (width + 1) + 1 + further] = best[further].best(without: hit.user)
      }
    }
  }

  private func share(_ place: Int, _ step: Int) -> FunnelShare { hits[doing[step][place]].share }

  /// Places of the hits of a step that have a share, by share, the latest first.
  private func sorted(_ step: Int, by code: (FunnelShare) -> UInt32) -> [Int] {
    doing[step].indices.filter { code(share($0, step)) != 0 }.sorted { a, b in
      let (codeA, codeB) = (code(share(a, step)), code(share(b, step)))
      if codeA != codeB { return codeA < codeB }
      return hits[doing[step][a]].time > hits[doing[step][b]].time
    }
  }

  // MARK: Outcomes

  /// By the users who did step 1.
  func outcomes() -> FunnelOutcomes {
    var outcomes = FunnelOutcomes()
    let invited = (0..<rules.stepCount).map { step in
      isInvited[step] ? Dictionary(grouping: doing[step].indices) { share($0, step).cameBy } : [:]
    }
    var first = 0
    while first < doing[0].count {
      var end = first + 1
      let user = hits[doing[0][first]].user
      while end < doing[0].count, hits[doing[0][end]].user == user { end += 1 }
      let (start, times) = chain(startingWith: first..<end, invited)
      let value =
        switch breakdownBy {
        case .firstStep, .lastStep: hits[doing[0][start]].value
        case .userFirstTouch, .userLastTouch: max(touches[user] ?? 0, 0)
        }
      outcomes.append(user: user, value: value, times: times)
      first = end
    }
    return outcomes
  }

  /// The chain that is first to reach the furthest step, its earlier steps as early as they may be.
  private func chain(
    startingWith starts: Range<Int>, _ invited: [[UInt32: [Int]]]
  ) -> (start: Int, times: [Int64]) {
    let width = rules.stepCount
    func end(_ start: Int, _ step: Int) -> Int64? {
      let time = earliest[0][start * width + step]
      let begin = earliest[0][start * width]
      return time != Self.never && time - begin <= rules.windowMilliseconds ? time : nil
    }
    for step in stride(from: width - 1, through: 0, by: -1) {
      guard let last = starts.compactMap({ end($0, step) }).min(),
        let start = starts.first(where: { end($0, step) == last })
      else { continue }
      return (start, times(from: start, reaching: step, at: last, invited))
    }
    preconditionFailure("a step 1 is reached")
  }

  private func times(
    from start: Int, reaching furthest: Int, at end: Int64, _ invited: [[UInt32: [Int]]]
  ) -> [Int64] {
    var times = [earliest[0][start * rules.stepCount]]
    var frontier = [start]
    for step in 0..<furthest {
      let width = width(step + 1)
      let leading = Set(frontier.flatMap { following($0, step, invited) })
        .filter { earliest[step + 1][$0 * width + furthest - step - 1] == end }
      guard let time = leading.map({ earliest[step + 1][$0 * width] }).min() else {
        preconditionFailure("a chain ends before the step that it reaches")
      }
      times.append(time)
      frontier = leading.filter { earliest[step + 1][$0 * width] == time }.sorted()
    }
    return times
  }

  /// Places of the hits that may do the step after a hit's.
  private func following(_ place: Int, _ step: Int, _ invited: [[UInt32: [Int]]]) -> [Int] {
    let index = doing[step][place]
    let hit = hits[index]
    if isInvited[step + 1] {
      if hit.share.given == 0 { return [] }
      return (invited[step + 1][hit.share.given] ?? []).filter {
        let next = hits[doing[step + 1][$0]]
        return next.user != hit.user && next.time >= hit.time
      }
    }
    let first = doing[step + 1].partitioningIndex { $0 > index }
    return Array(
      doing[step + 1].indices[first...].prefix { hits[doing[step + 1][$0]].user == hit.user })
  }
}
