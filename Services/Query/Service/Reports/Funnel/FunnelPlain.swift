/// The plain funnel: steps in order, each user once, nothing cut.
///
/// Of a user, `latest[k]` is the latest time of a step 1 whose chain has reached step k; `latest[0]` the time of the event
/// itself, so that step 1 is no special case. The latest is enough: whatever
/// an older chain can still reach within its window, it can reach too. One flat loop takes the rows whose event does a step
/// (nested loops over users would be mispredicted at each end).
///
/// Kept are the hits that changed anything: the first chain that reaches furthest is made of them. It did each step no later
/// than the chain of the latest step 1 did, so a hit that leaves `latest` as it was does no step of it.
///
/// `Time` holds every number of the plan's clock: the narrower it is, the more users' states lie in a core's cache.
struct PlainFunnelState<Time: FixedWidthInteger & UnsignedInteger & Sendable>: FunnelState {
  private var users: Range<UInt32> = 0..<0
  /// By user, a row of `FunnelRow.width` numbers.
  private var known: [Time] = []
  /// By user: how far it came, and later how far its chain has been followed.
  private var reached: [UInt8] = []
  private var followed: [UInt8] = []
  /// The first `hitCount` of them.
  private var hits: [FunnelRow<Time>.Hit] = []
  private var hitCount = 0
  /// By hit: the number of its breakdown's value. Empty without a breakdown.
  private var values: [Int32] = []
  /// Of a day whose rows are not kept.
  private var found = FoundBuffer()
  private(set) var flagCounts = [Int](repeating: 0, count: 256)
  private var charge: FunnelCharge

  /// Found rows for which room is made at once: it is made for the most hits that they may be.
  private static var rowsAtOnce: Int { 8_192 }

  init(_ plan: FunnelPlan, _ control: QueryControl) { charge = FunnelCharge(control) }

  var chargedBytes: Int { charge.bytes }

  private var byteCount: Int {
    known.count * MemoryLayout<Time>.stride + reached.count * 2 + hits.count * MemoryLayout<FunnelRow<Time>.Hit>.stride
      + values.count * 4 + found.byteCount
  }

  static func byteCount(of part: FunnelOutcomes) -> Int { part.byteCount }

  mutating func begin(_ users: Range<UInt32>, _ plan: FunnelPlan) throws {
    self.users = users
    let count = users.count * FunnelRow<Time>.width(plan)
    if known.count != count {
      known = Array(repeating: 0, count: count)
      reached = Array(repeating: 0, count: users.count)
      followed = reached
    } else {
      known.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
      for index in reached.indices { (reached[index], followed[index]) = (0, 0) }
    }
    hitCount = 0
    for flags in 0..<256 { flagCounts[flags] = 0 }
    try charge.hold(byteCount)
  }

  // MARK: Days

  mutating func scan(_ day: FunnelDay, _ plan: FunnelPlan) throws {
    if let found = day.found { return try found.withRows(of: users) { try take($0, day, plan) } }
    let positions = day.day.positions(of: users)
    if positions.isEmpty { return }
    // Moved out and back: what is found is read while the state is written to.
    var own = FoundBuffer()
    swap(&own, &found)
    try day.day.withPointers { pointers in
      if plan.countsFlags, day.isInRange, !day.isTallied {
        let last = day.day.rows(ofUserAt: positions.upperBound - 1)
        let rows = day.day.rows(ofUserAt: positions.lowerBound).lowerBound..<last.upperBound
        pointers.countFlags(rows, into: &flagCounts)
      }
      try own.find(positions, pointers, wanted: plan.isWanted) { try take($0, day, plan) }
    }
    swap(&own, &found)
    try charge.hold(byteCount)
  }

  private mutating func take(
    _ found: UnsafeBufferPointer<FoundRow>, _ day: FunnelDay, _ plan: FunnelPlan
  ) throws {
    var first = 0
    while first < found.count {
      let end = min(first + Self.rowsAtOnce, found.count)
      // One more: a hit that changes nothing is overwritten by the next.
      try makeRoom(hitCount + (end - first) * plan.stepsPerEventMax + 1, values: plan.hasBreakdown)
      takeSome(UnsafeBufferPointer(rebasing: found[first..<end]), day, plan)
      first = end
    }
  }

  private mutating func takeSome(
    _ found: UnsafeBufferPointer<FoundRow>, _ day: FunnelDay, _ plan: FunnelPlan
  ) {
    let (base, before) = (users.lowerBound, hitCount)
    var hitCount = before
    known.withUnsafeMutableBufferPointer { known in
      reached.withUnsafeMutableBufferPointer { reached in
        hits.withUnsafeMutableBufferPointer { hits in
          values.withUnsafeMutableBufferPointer { values in
            guard let known = known.baseAddress, let reached = reached.baseAddress, let hits = hits.baseAddress
            else { return }
            let taking = FunnelTaking(
              rows: FunnelRow(known, reached: reached, plan), hits: hits,
              values: plan.hasBreakdown ? values.baseAddress : nil, base: base)
            hitCount = taking.take(found, day, plan, from: before)
          }
        }
      }
    }
    self.hitCount = hitCount
  }

  private mutating func makeRoom(_ count: Int, values hasValues: Bool) throws {
    if hits.count >= count, !hasValues || values.count >= hits.count { return }
    if hits.count < count {
      let missing = max(count, hits.count * 3 / 2) - hits.count
      hits += repeatElement(FunnelRow<Time>.Hit(time: 0, user: 0, step: 0), count: missing)
    }
    if hasValues, values.count < hits.count {
      values += repeatElement(0, count: hits.count - values.count)
    }
    try charge.hold(byteCount)
  }

  // MARK: Chains

  /// Finds the first chain that reaches furthest. No chain reaches it before `end`, and every one whose window holds `end`
  /// and that began before the one found does so at `end`: it did each step no later.
  mutating func finish(_ plan: FunnelPlan) -> FunnelOutcomes {
    // Of each user two: that of the chain's first hit, and one that is never asked for.
    var chosen = [Int32](repeating: 0, count: plan.hasBreakdown ? users.count * 2 : 0)
    follow(plan, &chosen)
    precondition(reached == followed, "a chain ends before the step that it reaches")
    let firsts = stride(from: 0, to: chosen.count, by: 2).map { chosen[$0] }
    let users = users
    return withRows(plan) { rows, _ in rows.outcomes(users, firsts, plan.clock) }
  }

  private mutating func follow(_ plan: FunnelPlan, _ chosen: inout [Int32]) {
    let (all, hitCount, values) = (hits, hitCount, values)
    withRows(plan) { rows, followed in
      all.withUnsafeBufferPointer { all in
        let hits = UnsafeBufferPointer(rebasing: all[..<hitCount])
        guard plan.hasBreakdown else { return rows.chain(hits, followed: followed) { _, _, _ in } }
        values.withUnsafeBufferPointer { values in
          chosen.withUnsafeMutableBufferPointer { chosen in
            rows.chain(hits, followed: followed) { user, hit, isBegun in
              chosen[user &* 2 &+ isBegun] = values[hit]
            }
          }
        }
      }
    }
  }

  private mutating func withRows<Result>(
    _ plan: FunnelPlan, _ body: (FunnelRow<Time>, _ followed: UnsafeMutablePointer<UInt8>) -> Result
  ) -> Result {
    known.withUnsafeMutableBufferPointer { known in
      reached.withUnsafeMutableBufferPointer { reached in
        followed.withUnsafeMutableBufferPointer { followed in
          guard let known = known.baseAddress, let reached = reached.baseAddress,
            let followed = followed.baseAddress
          else { preconditionFailure("a block without users") }
          return body(FunnelRow(known, reached: reached, plan), followed)
        }
      }
    }
  }
}
