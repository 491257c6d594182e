/// What a plain funnel knows of each user of a block: a row of numbers, together, so that a user lies in one line of the processor's
/// cache as a rule; and two bytes that lie close to those of other users, because they are read of all of them.
struct FunnelRow<Time: FixedWidthInteger & UnsignedInteger & Sendable> {
  /// An event that did a step. One that may do several is as many hits, the highest step first: it does one step of a chain.
  struct Hit: Sendable {
    let time: Time
    /// The user, from the block's first on, and the step, from 0.
    private let place: UInt32

    @inline(__always)
    init(time: Time, user: UInt32, step: UInt32) {
      self.time = time
      place = user &<< 5 | step
    }

    var user: Int { Int(place &>> 5) }
    var step: UInt8 { UInt8(truncatingIfNeeded: place & 31) }
  }

  /// Places in a row: when the furthest step was reached; the time of the event that is looked at; then `latest` from step 1 on, and
  /// one more, so that a chain that is done has a place behind it.
  static var end: Int { 0 }
  static var now: Int { 1 }
  static var latest: Int { 2 }

  /// Rows of four steps fill half a line.
  static func width(_ plan: FunnelPlan) -> Int { (latest &+ plan.stepCount &+ 4) & ~3 }

  let known: UnsafeMutablePointer<Time>
  /// By user: the furthest step so far, from 1, 0: none.
  let reached: UnsafeMutablePointer<UInt8>
  let width: Int
  let stepCount: UInt8
  let window: Time

  init(_ known: UnsafeMutablePointer<Time>, reached: UnsafeMutablePointer<UInt8>, _ plan: FunnelPlan) {
    self.known = known
    self.reached = reached
    width = Self.width(plan)
    stepCount = UInt8(plan.stepCount)
    window = Time(plan.clock.window)
  }

  @inline(__always)
  subscript(user: Int) -> UnsafeMutablePointer<Time> { known + user &* width }

  // MARK: Rows

  /// Returns whether the hit changes anything.
  @inline(__always)
  func take(_ user: Int, _ steps: UInt32, _ time: Time) -> Bool {
    if reached[user] == stepCount { return false }
    var isChanged = false
    Self.forEachStep(steps) { if takeSingle(user, $0, time) != 0 { isChanged = true } }
    return isChanged
  }

  /// Higher steps first: one event does one step of a chain.
  @inline(__always)
  static func forEachStep(_ steps: UInt32, _ body: (Int) -> Void) {
    var rest = steps
    while rest != 0 {
      let step = 31 &- rest.leadingZeroBitCount
      rest &= ~(1 &<< UInt32(truncatingIfNeeded: step))
      body(step)
    }
  }

  /// The same of an event that does one step and counts, without a branch on what it does: that cannot be predicted. Nor is any value
  /// chosen, which the compiler would make a branch of: every store is made.
  ///
  /// `latest` of the step takes that of the step before also where its window is over: what it held was no later, so its window is over
  /// too, for all that is to come.
  ///
  /// - Returns: 1 where it changes anything.
  @inline(__always)
  func takeSingle(_ user: Int, _ step: Int, _ time: Time) -> Int {
    let own = self[user]
    let before = own + (Self.now &+ step)
    own[Self.now] = time
    let start = before[0]
    let old = before[1]
    before[1] = start
    let furthest = reached[user]
    let isInTime = time &- start <= window ? 1 : 0
    let isFurther = isInTime & (UInt8(truncatingIfNeeded: step) == furthest ? 1 : 0)
    reached[user] = furthest &+ UInt8(truncatingIfNeeded: isFurther)
    own[Self.now &- isFurther] = time
    return isInTime & (old != start ? 1 : 0) & (furthest != stepCount ? 1 : 0)
  }

  // MARK: Chains

  /// Follows the first chain that reaches furthest of each user: its times take the place of `latest`. Without a branch, as above: what
  /// is stored behind the chain so far is overwritten by its next step.
  ///
  /// - Parameters:
  ///   - followed: by user: how far its chain has been followed, 0 so far.
  ///   - note: called for each hit with its user, its number, and 1 where the user's chain has begun before.
  @inline(__always)
  func chain(
    _ hits: UnsafeBufferPointer<Hit>, followed: UnsafeMutablePointer<UInt8>,
    _ note: (_ user: Int, _ hit: Int, _ isBegun: Int) -> Void
  ) {
    for index in 0..<hits.count {
      let hit = hits[index]
      let user = hit.user
      let own = self[user]
      let done = followed[user]
      let isInTime = own[Self.end] &- hit.time <= window ? 1 : 0
      let isBegun = done != 0 ? 1 : 0
      let isNext = (hit.step == done ? 1 : 0) & (done < reached[user] ? 1 : 0) & (isInTime | isBegun)
      own[Self.latest &+ Int(truncatingIfNeeded: done)] = hit.time
      followed[user] = done &+ UInt8(truncatingIfNeeded: isNext)
      note(user, index, isBegun)
    }
  }

  /// - Parameter values: by user: the number of the breakdown's value; empty without a breakdown.
  func outcomes(_ users: Range<UInt32>, _ values: [Int32], _ clock: FunnelClock) -> FunnelOutcomes {
    FunnelOutcomes(
      users, values: values, stepsMax: Int(stepCount), furthest: { reached[$0] },
      time: { clock.origin &+ Int64(truncatingIfNeeded: self[$0][Self.latest &+ $1]) })
  }
}

/// Takes found rows of a day.
struct FunnelTaking<Time: FixedWidthInteger & UnsignedInteger & Sendable> {
  let rows: FunnelRow<Time>
  /// With room for all rows and one more.
  let hits: UnsafeMutablePointer<FunnelRow<Time>.Hit>
  /// By hit; nil without a breakdown.
  let values: UnsafeMutablePointer<Int32>?
  /// The first user of the block.
  let base: UInt32

  /// - Returns: the number of hits, with those before.
  func take(
    _ found: UnsafeBufferPointer<FoundRow>, _ day: FunnelDay, _ plan: FunnelPlan, from before: Int
  ) -> Int {
    let offset: Time = plan.clock.number(day.day.beginMilliseconds)
    let isSimple = day.stepFilters.isEmpty && day.scope == nil && day.isInRange
    guard isSimple, let steps = plan.singleSteps else {
      return takeAny(found, offset, day, plan, before)
    }
    // As a rule all traffic of a day counts: the flags need not be read then.
    if day.isAllCounted { return takeSingles(found, offset, steps, day, before) { _ in true } }
    return day.day.flags.withUnsafeBufferPointer { flags in
      plan.counted.withUnsafeBufferPointer { counted in
        takeSingles(found, offset, steps, day, before) { counted[Int(flags[$0])] != 0 }
      }
    }
  }

  /// Rows whose events do one step each.
  ///
  /// - Parameter isCounted: whether a row's traffic counts; nearly all does.
  @inline(__always)
  private func takeSingles(
    _ found: UnsafeBufferPointer<FoundRow>, _ offset: Time, _ stepOf: [UInt8], _ day: FunnelDay, _ before: Int,
    isCounted: (Int) -> Bool
  ) -> Int {
    guard let values, let labels = day.labels else {
      return takeSingles(found, offset, stepOf, before, isCounted: isCounted) { _, _ in }
    }
    return labels.withLook(day.day) { look in
      takeSingles(found, offset, stepOf, before, isCounted: isCounted) { values[$0] = look[$1] }
    }
  }

  /// - Parameter note: called with the number of a hit and its row, before it is known whether it changes anything.
  @inline(__always)
  private func takeSingles(
    _ found: UnsafeBufferPointer<FoundRow>, _ offset: Time, _ stepOf: [UInt8], _ before: Int,
    isCounted: (Int) -> Bool, _ note: (_ hit: Int, _ row: Int) -> Void
  ) -> Int {
    stepOf.withUnsafeBufferPointer { stepOf in
      // What every row needs lies in registers.
      let (rows, hits, base) = (rows, hits, base)
      var count = before
      for index in 0..<found.count {
        let (row, user) = (Int(found[index].row), found[index].user &- base)
        if !isCounted(row) { continue }
        let step = UInt32(stepOf[Int(found[index].event)])
        let time = offset &+ Time(truncatingIfNeeded: found[index].time)
        let isChange = rows.takeSingle(Int(user), Int(step), time)
        hits[count] = FunnelRow.Hit(time: time, user: user, step: step)
        note(count, row)
        count &+= isChange
      }
      return count
    }
  }

  /// Any rows.
  private func takeAny(
    _ found: UnsafeBufferPointer<FoundRow>, _ offset: Time, _ day: FunnelDay, _ plan: FunnelPlan, _ before: Int
  ) -> Int {
    var count = before
    for index in 0..<found.count {
      let row = Int(found[index].row)
      let steps = day.steps(plan.stepMasks[Int(found[index].event)], row)
      if steps == 0 { continue }
      if !day.isAllCounted, plan.counted[Int(day.day.flags[row])] == 0 { continue }
      let user = found[index].user &- base
      let time = offset &+ Time(truncatingIfNeeded: found[index].time)
      guard rows.take(Int(user), steps, time) else { continue }
      FunnelRow<Time>.forEachStep(steps) { step in
        hits[count] = FunnelRow.Hit(time: time, user: user, step: UInt32(step))
        if let values {
          values[count] = step > 0 ? 0 : day.labels?.number(row, context: day.day.context[row]) ?? 0
        }
        count &+= 1
      }
    }
    return count
  }
}
