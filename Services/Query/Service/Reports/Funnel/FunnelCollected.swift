import Events

/// Any funnel but the plain one: collects a block's hits day by day, then walks each user's chains.
struct CollectedFunnelState: FunnelState {
  struct Part: Sendable {
    var outcomes = FunnelOutcomes()
    /// Of funnels across users: all hits, by user.
    var hits: [FunnelHit] = []
    /// By user of `hits`.
    var touches: [UInt32: Int32] = [:]
    /// Users of whom it must be known when they went to the background before the range.
    var missing: Set<UInt32> = []
  }

  private static let none = Int32(-1)

  private var users: Range<UInt32> = 0..<0
  private var hits: [FunnelHit] = []
  /// By user: the index of the latest hit, -1: none.
  private var latest: [Int32] = []
  /// By user: the breakdown's value of the first or last event.
  private var touches: [Int32] = []
  private var opens = FunnelOpens()
  private(set) var flagCounts = [Int](repeating: 0, count: 256)

  private var charge: FunnelCharge
  /// Of `hits`, as it is charged.
  private var chargedCapacity = 0

  init(_ plan: FunnelPlan, _ control: QueryControl) { charge = FunnelCharge(control) }

  var chargedBytes: Int { charge.bytes }

  private var byteCount: Int {
    hits.capacity * MemoryLayout<FunnelHit>.stride + users.count * 8 + opens.byteCount
  }

  static func byteCount(of part: Part) -> Int {
    part.outcomes.byteCount + part.hits.count * MemoryLayout<FunnelHit>.stride
      + part.touches.count * 16
  }

  mutating func begin(_ users: Range<UInt32>, _ plan: FunnelPlan) throws {
    self.users = users
    hits.removeAll(keepingCapacity: true)
    latest = Array(repeating: Self.none, count: users.count)
    touches = Array(repeating: Self.none, count: users.count)
    if plan.chains.count == .opens { opens.begin(users, plan.chains.backgrounds) }
    for flags in 0..<256 { flagCounts[flags] = 0 }
    try charge.hold(byteCount)
  }

  // MARK: Days

  mutating func scan(_ day: FunnelDay, _ plan: FunnelPlan) throws {
    for position in day.day.positions(of: users) {
      let range = day.day.rows(ofUserAt: position)
      let user = day.day.users[position]
      if plan.countsFlags, day.isInRange, !day.isTallied {
        for row in range { flagCounts[Int(day.day.flags[row])] += 1 }
      }
      for row in range { try take(row, user, day, plan) }
    }
  }

  private mutating func take(
    _ row: Int, _ user: UInt32, _ day: FunnelDay, _ plan: FunnelPlan
  ) throws {
    let index = Int(user - users.lowerBound)
    var open: Int32 = 0
    if plan.chains.count == .opens { open = opens.take(row, index, day.day, plan.chains.sessions) }
    guard plan.counted[Int(day.day.flags[row])] != 0, day.scope?[row] != 0 else { return }
    touch(index, row, day, plan)
    // Who sends for the user is in none of the user's opens.
    if plan.chains.count == .opens, open == 0 { return }
    let event = Int(day.day.event[row])
    let steps = day.steps(plan.stepMasks[event], row)
    let cuts = plan.chains.isStrict ? plan.chains.allButLast : day.cuts(event, row, plan.chains)
    guard isNeeded(steps: steps, cuts: cuts, open: open, index, plan) else { return }
    latest[index] = Int32(hits.count)
    hits.append(
      FunnelHit(
        time: day.day.time(row), user: user, steps: steps, cuts: cuts,
        value: day.labels?.number(row, context: UInt32(day.day.context[row])) ?? 0,
        key: day.keys?[row] ?? 0, open: open, isInRange: day.isInRange,
        share: day.share(row)))
    if hits.capacity != chargedCapacity {
      chargedCapacity = hits.capacity
      try charge.hold(byteCount)
    }
  }

  /// What comes before a user's first step 1 leads nowhere, and a second cut behind another changes nothing.
  private func isNeeded(
    steps: UInt32, cuts: UInt32, open: Int32, _ index: Int, _ plan: FunnelPlan
  ) -> Bool {
    if steps == 0, cuts == 0 { return false }
    if latest[index] == Self.none {
      return steps & 1 != 0 || (plan.chains.canBeginAnywhere && steps != 0)
    }
    let before = hits[Int(latest[index])]
    return steps != 0 || before.steps != 0 || before.cuts & cuts != cuts || before.open != open
  }

  private mutating func touch(_ index: Int, _ row: Int, _ day: FunnelDay, _ plan: FunnelPlan) {
    guard plan.chains.goesByTouch, day.isInRange, let labels = day.labels else { return }
    if plan.chains.breakdownBy == .userFirstTouch, touches[index] != Self.none { return }
    touches[index] = labels.number(row, context: UInt32(day.day.context[row]))
  }

  // MARK: Chains

  mutating func finish(_ plan: FunnelPlan) throws -> Part {
    // While they are sorted there are two of them, and their order.
    try charge.hold(byteCount + hits.count * (MemoryLayout<FunnelHit>.stride + 8))
    sortByUser()
    chargedCapacity = hits.capacity
    try charge.hold(byteCount)
    var part = Part(missing: opens.missing)
    if plan.chains.isAcrossUsers {
      part.hits = hits
      for hit in hits where hit.steps & 1 != 0 {
        part.touches[hit.user] = touches[Int(hit.user - users.lowerBound)]
      }
      return part
    }
    var walker = FunnelWalker(plan.chains)
    var first = 0
    while first < hits.count {
      var end = first + 1
      while end < hits.count, hits[end].user == hits[first].user { end += 1 }
      let touch = touches[Int(hits[first].user - users.lowerBound)]
      walker.walk(hits[first..<end], touch: touch, into: &part.outcomes)
      first = end
    }
    return part
  }

  /// Keeps the order of each user's hits.
  private mutating func sortByUser() {
    var ends = [Int](repeating: 0, count: users.count + 1)
    for hit in hits { ends[Int(hit.user - users.lowerBound) + 1] += 1 }
    for index in 1..<ends.count { ends[index] += ends[index - 1] }
    var order = [Int](repeating: 0, count: hits.count)
    for index in hits.indices {
      let user = Int(hits[index].user - users.lowerBound)
      order[ends[user]] = index
      ends[user] += 1
    }
    hits = order.map { hits[$0] }
  }
}

/// Walks the hits of one user: its units, and in each the combinations of the values that are held constant.
struct FunnelWalker {
  private let chains: FunnelChainPlan
  private var ordered: ChainWalker
  private let anyOrder: AnyOrderWalker

  init(_ chains: FunnelChainPlan) {
    self.chains = chains
    ordered = ChainWalker(chains.rules)
    anyOrder = AnyOrderWalker(chains.rules)
  }

  mutating func walk(
    _ hits: ArraySlice<FunnelHit>, touch: Int32, into outcomes: inout FunnelOutcomes
  ) {
    switch chains.count {
    case .users: furthest(hits, touch, &outcomes)
    case .opens:
      var rest = hits
      while let open = rest.first?.open {
        let own = rest.prefix { $0.open == open }
        furthest(own, touch, &outcomes)
        rest = rest.dropFirst(own.count)
      }
    case .entries:
      for own in sequences(hits) {
        for chain in chains.isAnyOrder ? anyOrder.entries(own) : ordered.entries(own) {
          append(chain, own, touch, &outcomes)
        }
      }
    }
  }

  /// Of the combinations that come equally far, the one that was first.
  private mutating func furthest(
    _ hits: ArraySlice<FunnelHit>, _ touch: Int32, _ outcomes: inout FunnelOutcomes
  ) {
    var best: (chain: FunnelChain, hits: ArraySlice<FunnelHit>)?
    for own in sequences(hits) {
      let found = chains.isAnyOrder ? anyOrder.furthest(own) : ordered.furthest(own)
      guard let found else { continue }
      if let best, !Self.isBetter(found, own, than: best.chain, best.hits) { continue }
      best = (found, own)
    }
    if let best { append(best.chain, best.hits, touch, &outcomes) }
  }

  private static func isBetter(
    _ chain: FunnelChain, _ hits: ArraySlice<FunnelHit>, than other: FunnelChain,
    _ otherHits: ArraySlice<FunnelHit>
  ) -> Bool {
    if chain.reached != other.reached { return chain.reached > other.reached }
    return hits[chain.last].place < otherHits[other.last].place
  }

  private func append(
    _ chain: FunnelChain, _ hits: ArraySlice<FunnelHit>, _ touch: Int32,
    _ outcomes: inout FunnelOutcomes
  ) {
    let value =
      switch chains.breakdownBy {
      case .firstStep: hits[chain.first].value
      case .lastStep: hits[chain.last].value
      case .userFirstTouch, .userLastTouch: max(touch, 0)
      }
    outcomes.append(
      user: hits[chain.first].user, value: value,
      times: chain.indices.map { $0 < 0 ? FunnelOutcomes.skipped : hits[$0].time })
  }

  /// The hits of each combination of values, with what cuts its chains between them. Without such fields: all of them.
  private func sequences(_ hits: ArraySlice<FunnelHit>) -> [ArraySlice<FunnelHit>] {
    guard chains.holdsValues else { return [hits] }
    var own: [Int32: [FunnelHit]] = [:]
    // By step: the place of the latest event that cuts a chain there.
    var lastCut = [Int](repeating: -1, count: chains.rules.stepCount)
    for (place, hit) in hits.enumerated() {
      if hit.steps != 0 {
        var hit = hit
        hit.place = place
        if let before = own[hit.key]?.last {
          var cut = hit
          cut.steps = 0
          cut.cuts = lastCut.indices.reduce(0) {
            lastCut[$1] > before.place ? $0 | 1 << UInt32($1) : $0
          }
          if cut.cuts != 0 { own[hit.key]?.append(cut) }
        }
        own[hit.key, default: []].append(hit)
      }
      for step in lastCut.indices where hit.cuts & (1 << UInt32(step)) != 0 { lastCut[step] = place }
    }
    return own.keys.sorted().map { ArraySlice(own[$0] ?? []) }
  }
}

/// Cuts the events of a block's users into opens while their days are scanned.
struct FunnelOpens: Sendable {
  private var cutters: [OpenCutter] = []
  private var numbers: [Int32] = []
  private var isKnown: [Bool] = []
  private var base: UInt32 = 0
  private(set) var missing: Set<UInt32> = []

  var byteCount: Int { cutters.count * 21 }

  /// - Parameter backgrounds: when users went to the background before the first day, as far as it is known.
  mutating func begin(_ users: Range<UInt32>, _ backgrounds: [UInt32: Int64]) {
    base = users.lowerBound
    cutters = Array(repeating: OpenCutter(), count: users.count)
    numbers = Array(repeating: 0, count: users.count)
    isKnown = Array(repeating: false, count: users.count)
    missing = []
    for (user, time) in backgrounds where users.contains(user) {
      let index = Int(user - base)
      cutters[index] = OpenCutter(lastMilliseconds: Int64.min, backgroundMilliseconds: time)
      isKnown[index] = true
    }
  }

  /// The number of the open that a row belongs to, from 1; 0: of none. Which open was before the first day does not matter,
  /// only whether the app went to the background in it.
  mutating func take(_ row: Int, _ index: Int, _ day: DayColumns, _ rules: SessionRules) -> Int32 {
    if day.isPassive(row) { return 0 }
    let kind = OpenCutter.Kind(eventCode: UInt32(day.event[row]))
    let time = day.time(row)
    if kind != .other {
      let cutter = cutters[index]
      if kind == .foreground, !isKnown[index], !cutter.isEmpty,
        time - cutter.lastMilliseconds <= rules.timeoutMilliseconds
      {
        missing.insert(base + UInt32(index))
      }
      isKnown[index] = true
    }
    if cutters[index].begins(kind, at: time, rules: rules) { numbers[index] += 1 }
    return numbers[index]
  }
}

extension OpenCutter.Kind {
  /// - Parameter eventCode: of the app's dictionary: a built-in event's is its raw value.
  init(eventCode: UInt32) {
    switch eventCode {
    case UInt32(BuiltInEvent.launch.rawValue): self = .launch
    case UInt32(BuiltInEvent.foreground.rawValue): self = .foreground
    case UInt32(BuiltInEvent.background.rawValue): self = .background
    default: self = .other
    }
  }
}
