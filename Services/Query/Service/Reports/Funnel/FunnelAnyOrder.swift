/// Finds the chains of a funnel whose steps may come in any order: as many different steps as possible within the window, one
/// event for each.
///
/// Where events may do several steps, who does which is a matching; the sets of events that can all be matched form a
/// matroid, so taking events one after another whenever they still fit gives the largest set.
struct AnyOrderWalker {
  let rules: ChainRules

  private struct Member {
    let index: Int
    let time: Int64
    let steps: UInt32
  }

  init(_ rules: ChainRules) { self.rules = rules }

  /// The chain that is first to have done the most different steps; of several, the one that began first, then whose next
  /// event came first, and so on.
  func furthest(_ hits: ArraySlice<FunnelHit>) -> FunnelChain? {
    // A largest set of those within the window that prefers later events: what falls out of the window was of no use.
    var members: [Member] = []
    var lastInRange = FunnelPlan.never
    var reached = 0
    var end = 0
    for index in hits.indices where hits[index].steps != 0 {
      let hit = hits[index]
      if hit.isInRange { lastInRange = hit.time }
      members.removeAll { hit.time - $0.time > rules.windowMilliseconds }
      take(Member(index: index, time: hit.time, steps: hit.steps), &members)
      guard hit.time - lastInRange <= rules.windowMilliseconds, members.count > reached else {
        continue
      }
      (reached, end) = (members.count, index)
    }
    guard reached > 0 else { return nil }
    let start = hits.indices.first {
      hits[$0].steps != 0 && hits[$0].isInRange
        && hits[end].time - hits[$0].time <= rules.windowMilliseconds
    }
    guard let start else { preconditionFailure("a chain begins in the range") }
    let (chain, _) = firstChain(hits, from: start)
    precondition(chain.reached >= reached, "a chain ends before the step that it reaches")
    return FunnelChain(indices: Array(chain.indices.prefix(reached)))
  }

  /// Every entry: the next event that does any step begins one, and it lasts until all steps are done or its window is over.
  func entries(_ hits: ArraySlice<FunnelHit>) -> [FunnelChain] {
    var chains: [FunnelChain] = []
    var next = hits.startIndex
    while let start = hits[next...].firstIndex(where: { $0.steps != 0 && $0.isInRange }) {
      let (chain, behind) = firstChain(hits, from: start)
      chains.append(chain)
      next = behind
    }
    return chains
  }

  /// The chain from an event on that takes each event that still fits, and the index behind its last event or its window.
  private func firstChain(
    _ hits: ArraySlice<FunnelHit>, from start: Int
  ) -> (FunnelChain, behind: Int) {
    var matching = StepMatching()
    var indices: [Int] = []
    var index = start
    while index < hits.endIndex, indices.count < rules.stepCount,
      hits[index].time - hits[start].time <= rules.windowMilliseconds
    {
      if hits[index].steps != 0, matching.add(hits[index].steps) { indices.append(index) }
      index += 1
    }
    return (FunnelChain(indices: indices), index)
  }

  /// Puts an event into the set, and the earliest out that no longer fits.
  private func take(_ new: Member, _ members: inout [Member]) {
    var matching = StepMatching()
    _ = matching.add(new.steps)
    var kept = [new]
    for member in members.reversed() where matching.add(member.steps) { kept.append(member) }
    members = kept.reversed()
  }
}

/// Which event does which step, where every event of a set does one.
struct StepMatching {
  private var members: [UInt32] = []
  /// By step: 1 + the member that does it; 0: nobody.
  private var doer: [UInt8] = Array(repeating: 0, count: 32)

  /// Adds an event, moving others to their other steps as needed; returns false where it does not fit.
  mutating func add(_ steps: UInt32) -> Bool {
    members.append(steps)
    var tried: UInt32 = 0
    if place(members.count - 1, &tried) { return true }
    members.removeLast()
    return false
  }

  private mutating func place(_ member: Int, _ tried: inout UInt32) -> Bool {
    var rest = members[member]
    while rest != 0 {
      let step = rest.trailingZeroBitCount
      rest &= rest - 1
      if tried & (1 << UInt32(step)) != 0 { continue }
      tried |= 1 << UInt32(step)
      let other = Int(doer[step])
      if other == 0 || place(other - 1, &tried) {
        doer[step] = UInt8(member + 1)
        return true
      }
    }
    return false
  }
}
