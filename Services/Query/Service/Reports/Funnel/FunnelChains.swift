/// An event that may do a step of a chain, or cut one.
struct FunnelHit: Sendable {
  var time: Int64
  var user: UInt32
  /// Bit k: it may do step k + 1.
  var steps: UInt32
  /// Bit k: a chain that has done step k + 1, and does not do its next one with this event, is cut.
  var cuts: UInt32
  /// Number of the breakdown's value.
  var value: Int32
  /// Which values the fields have that are held constant.
  var key: Int32
  /// Which of the user's opens; 0: of none.
  var open: Int32
  /// A chain may begin with it.
  var isInRange: Bool
  /// By which a share is known: that the event carries, and by which the user came.
  var share = FunnelShare()
  /// Its place among the user's hits, where they are taken apart.
  var place = 0
}

/// Codes of the dictionary of values; 0: none.
struct FunnelShare: Sendable {
  var given: UInt32 = 0
  var cameBy: UInt32 = 0
}

/// One chain: its steps, and where they happened.
struct FunnelChain {
  /// By step, up to the furthest: index of the hit; -1: left out.
  var indices: [Int]
  var reached: Int { indices.count }
  var first: Int { indices[0] }
  var last: Int { indices[indices.count - 1] }
}

/// How steps may follow one another.
struct ChainRules: Sendable {
  let stepCount: Int
  let windowMilliseconds: Int64
  /// By step: bit k where a chain whose last step is k + 1 may do it next.
  let sources: [UInt32]

  init(_ query: FunnelQuery) {
    stepCount = query.steps.count
    windowMilliseconds = query.windowMilliseconds ?? FunnelPlan.noWindow
    sources = query.steps.indices.map { step in
      var bits: UInt32 = 0
      var before = step - 1
      while before >= 0 {
        bits |= 1 << UInt32(before)
        if !query.steps[before].isOptional { break }
        before -= 1
      }
      return bits
    }
  }
}

/// Finds the chains of a sequence of hits, of one user, open or combination of values. Linear in the hits.
///
/// A chain is in a state: the last step that it has done. Of all chains in one state only the latest step 1 counts, as they
/// differ in nothing else. Unlike in the plain funnel a chain may do better by not doing a step at once: an exclusion may
/// hold behind it.
struct ChainWalker {
  let rules: ChainRules
  /// By hit: the states behind it from which the furthest step is reached at the end.
  private var leading: [UInt32] = []

  init(_ rules: ChainRules) { self.rules = rules }

  // MARK: The furthest chain

  /// The chain that is first to reach the furthest step; of several, the one whose step 1 came first, then its next step,
  /// and so on. Where one event could do several steps next, it does the last of them.
  mutating func furthest(_ hits: ArraySlice<FunnelHit>) -> FunnelChain? {
    var latest = [Int64](repeating: FunnelPlan.never, count: rules.stepCount)
    var reached = 0
    var end = 0
    for index in hits.indices {
      let entered = enter(hits[index], &latest)
      if entered > reached { (reached, end) = (entered, index) }
    }
    guard reached > 0 else { return nil }
    return chain(hits, reaching: reached, at: end, from: nil)
  }

  /// Returns the furthest step that the hit does, from 1; 0: none.
  private func enter(_ hit: FunnelHit, _ latest: inout [Int64]) -> Int {
    var entered = 0
    // Higher steps first, so that each sees the states as they were before the event.
    for step in stride(from: rules.stepCount - 1, through: 0, by: -1) {
      let bit: UInt32 = 1 << UInt32(step)
      var start = hit.cuts & bit != 0 ? FunnelPlan.never : latest[step]
      if hit.steps & bit != 0 {
        let source = step == 0 ? hit.time : latestSource(step, latest)
        if hit.time - source <= rules.windowMilliseconds {
          start = max(start, source)
          entered = max(entered, step + 1)
        }
      }
      latest[step] = start
    }
    return entered
  }

  private func latestSource(_ step: Int, _ latest: [Int64]) -> Int64 {
    var best = FunnelPlan.never
    var rest = rules.sources[step]
    while rest != 0 {
      best = max(best, latest[rest.trailingZeroBitCount])
      rest &= rest - 1
    }
    return best
  }

  // MARK: Entries

  /// Every entry: the next step 1 begins one, and it lasts until its chain has done the last step, its window is over, or
  /// it is cut whatever it does.
  mutating func entries(_ hits: ArraySlice<FunnelHit>) -> [FunnelChain] {
    var chains: [FunnelChain] = []
    var next = hits.startIndex
    while let start = hits[next...].firstIndex(where: { $0.steps & 1 != 0 }) {
      var alive: UInt32 = 1
      var reached = 1
      var end = start
      next = start + 1
      while next < hits.endIndex, reached < rules.stepCount,
        hits[next].time - hits[start].time <= rules.windowMilliseconds
      {
        let entered = entered(hits[next], alive)
        alive = alive & ~hits[next].cuts | entered
        if alive == 0 { break }
        let furthest = 32 - entered.leadingZeroBitCount
        if furthest > reached { (reached, end) = (furthest, next) }
        next += 1
      }
      chains.append(chain(hits, reaching: reached, at: end, from: start))
    }
    return chains
  }

  /// The states that a hit leads into.
  private func entered(_ hit: FunnelHit, _ alive: UInt32) -> UInt32 {
    var entered: UInt32 = 0
    var rest = hit.steps & ~1
    while rest != 0 {
      let step = rest.trailingZeroBitCount
      if rules.sources[step] & alive != 0 { entered |= 1 << UInt32(step) }
      rest &= rest - 1
    }
    return entered
  }

  // MARK: One chain

  /// The first chain that reaches a step with a hit.
  ///
  /// - Parameter start: its step 1; nil: the first that leads there.
  private mutating func chain(
    _ hits: ArraySlice<FunnelHit>, reaching reached: Int, at end: Int, from start: Int?
  ) -> FunnelChain {
    if reached == 1 { return FunnelChain(indices: [end]) }
    let first = lead(hits, reaching: reached, at: end)
    let begin = start ?? first
    var indices = [Int](repeating: -1, count: reached)
    indices[0] = begin
    var state = 0
    for index in begin + 1...end {
      let leading = leading[end - index]
      var rest = hits[index].steps & leading & ~1
      while rest != 0 {
        let step = 31 - rest.leadingZeroBitCount
        if rules.sources[step] & (1 << UInt32(state)) != 0 {
          indices[step] = index
          state = step
          break
        }
        rest &= ~(1 << UInt32(step))
      }
    }
    precondition(state == reached - 1, "a chain ends before the step that it reaches")
    return FunnelChain(indices: indices)
  }

  /// Walks back from the end; fills `leading`, by distance from the end.
  ///
  /// - Returns: the first step 1 that leads there within the window.
  private mutating func lead(
    _ hits: ArraySlice<FunnelHit>, reaching reached: Int, at end: Int
  ) -> Int {
    leading.removeAll(keepingCapacity: true)
    leading.append(1 << UInt32(reached - 1))
    var states = rules.sources[reached - 1]
    var first = end
    var index = end - 1
    while index >= hits.startIndex, states != 0,
      hits[end].time - hits[index].time <= rules.windowMilliseconds
    {
      leading.append(states)
      let hit = hits[index]
      if hit.steps & states & 1 != 0 { first = index }
      var before = states & ~hit.cuts
      var rest = hit.steps & states & ~1
      while rest != 0 {
        before |= rules.sources[rest.trailingZeroBitCount]
        rest &= rest - 1
      }
      states = before
      index -= 1
    }
    precondition(first < end, "no step 1 leads to the step that is reached")
    return first
  }
}
