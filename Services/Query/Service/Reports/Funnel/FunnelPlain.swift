/// The plain funnel: steps in order, each user once, nothing cut.
///
/// Of a user, `latest[k]` is the latest time of a step 1 whose chain has reached step k; `latest[0]` the time of the event
/// itself, so that step 1 is no special case. The latest is enough: whatever
/// an older chain can still reach within its window, it can reach too. One flat loop finds the rows whose event does a step
/// (nested loops over users would be mispredicted at each end); only these are looked at closer.
///
/// Kept are the hits that changed anything: the first chain that reaches furthest is made of them. It did each step no later
/// than the chain of the latest step 1 did, so a hit that leaves `latest` as it was does no step of it.
struct PlainFunnelState: FunnelState {
  private struct Hit {
    let time: Int64
    let user: UInt32
    let steps: UInt32
    let value: Int32
  }

  private static let noHit = Hit(time: 0, user: 0, steps: 0, value: 0)

  private var users: Range<UInt32> = 0..<0
  /// By user, a row of `stepCount + 2` numbers: when the furthest step so far was reached; which one it is, from 1, 0: none; then
  /// `latest` from step 1 on. Together, so that what is known of a user lies in one or two lines of the processor's cache.
  private var known: [Int64] = []
  /// The first `hitCount` of them.
  private var hits: [Hit] = []
  private var hitCount = 0
  private var rows: [UInt32] = []
  private(set) var flagCounts = [Int](repeating: 0, count: 256)

  init(_ plan: FunnelPlan) {}

  var byteCount: Int {
    known.count * 8 + hits.count * MemoryLayout<Hit>.stride + rows.count * 4
  }

  static func byteCount(of part: FunnelOutcomes) -> Int { part.byteCount }

  mutating func begin(_ users: Range<UInt32>, _ plan: FunnelPlan) {
    self.users = users
    let width = Pointers.width(plan)
    Self.fill(&known, users.count * width, FunnelPlan.never)
    for user in 0..<users.count { known[user * width + Pointers.reached] = 0 }
    hitCount = 0
    for flags in 0..<256 { flagCounts[flags] = 0 }
  }

  /// Keeps the memory of an array that is filled again and again.
  private static func fill<T>(_ array: inout [T], _ count: Int, _ value: T) {
    if array.count != count {
      array = Array(repeating: value, count: count)
    } else {
      array.withUnsafeMutableBufferPointer { $0.update(repeating: value) }
    }
  }

  // MARK: Days

  mutating func scan(_ day: FunnelDay, _ plan: FunnelPlan) {
    let positions = day.day.positions(of: users)
    guard let firstPosition = positions.first, let lastPosition = positions.last else { return }
    let range = day.day.rows(ofUserAt: firstPosition).lowerBound..<Int(day.day.userEnds[lastPosition])
    if rows.count < range.count { rows = Array(repeating: 0, count: range.count * 3 / 2) }
    day.day.withPointers { pointers in
      if plan.countsFlags, day.isInRange, !day.isTallied { pointers.countFlags(range, into: &flagCounts) }
      let found = pointers.rows(range, wanted: plan.isWanted, into: &rows)
      // One more: a hit that changes nothing is overwritten by the next.
      makeRoom(hitCount + found + 1)
      walk(found, firstPosition, pointers, day, plan)
    }
  }

  private mutating func makeRoom(_ count: Int) {
    guard hits.count < count else { return }
    hits += repeatElement(Self.noHit, count: max(count, hits.count * 3 / 2) - hits.count)
  }

  /// Takes the rows found, in order.
  private mutating func walk(
    _ found: Int, _ firstPosition: Int, _ day: DayPointers, _ prepared: FunnelDay, _ plan: FunnelPlan
  ) {
    let isSimple = prepared.stepFilters.isEmpty && prepared.scope == nil && prepared.isInRange
    let labels = prepared.labels
    let (base, begin) = (users.lowerBound, prepared.day.beginMilliseconds)
    let rows = self.rows
    let before = hitCount
    // Moved out and back: the loop writes to it while it holds pointers to the rest.
    var hits = self.hits
    self.hits = []
    defer { self.hits = hits }
    if isSimple, let singleSteps = plan.singleSteps {
      hitCount = hits.withUnsafeMutableBufferPointer { hits in
        pointers { state in
          singleSteps.withUnsafeBufferPointer { steps in
            plan.counted.withUnsafeBufferPointer { counted in
              rows.withUnsafeBufferPointer { rows in
                let found = UnsafeBufferPointer(rebasing: rows[..<found])
                let looks = HitLooks(
                  day: day, begin: begin, base: base, firstPosition: firstPosition, steps: steps)
                let isCounted = { (row: Int) in Int(counted[Int(day.flags[row])]) }
                if let labels {
                  return state.takeSingles(found, looks, plan, hits, before, isCounted: isCounted) {
                    labels.number($0, context: day.context[$0])
                  }
                }
                if prepared.isAllCounted {
                  return state.takeSingles(found, looks, plan, hits, before, isCounted: { _ in 1 }) {
                    _ in 0
                  }
                }
                return state.takeSingles(found, looks, plan, hits, before, isCounted: isCounted) {
                  _ in 0
                }
              }
            }
          }
        }
      }
      return
    }
    hitCount = rows.withUnsafeBufferPointer { rows in
      plan.counted.withUnsafeBufferPointer { counted in
        plan.stepMasks.withUnsafeBufferPointer { masks in
          hits.withUnsafeMutableBufferPointer { hits in
            pointers { state in
              var hitCount = before
              var position = firstPosition
              var userEnd = Int(day.userEnds[position])
              for index in 0..<found {
                let row = Int(rows[index])
                while row >= userEnd {
                  position &+= 1
                  userEnd = Int(day.userEnds[position])
                }
                var steps = masks[Int(day.event[row])]
                if !isSimple { steps = prepared.steps(steps, row) }
                if counted[Int(day.flags[row])] == 0 || steps == 0 { continue }
                let user = Int(day.users[position] &- base)
                let time = begin &+ Int64(day.time[row])
                if state.take(user, steps, time, plan) {
                  let value =
                    steps & 1 == 0 ? 0 : labels?.number(row, context: day.context[row]) ?? 0
                  hits[hitCount] = Hit(
                    time: time, user: UInt32(truncatingIfNeeded: user), steps: steps, value: value)
                  hitCount &+= 1
                }
              }
              return hitCount
            }
          }
        }
      }
    }
  }

  /// What a loop over rows looks up.
  private struct HitLooks {
    let day: DayPointers
    /// Of the day, ms since 1970.
    let begin: Int64
    let base: UInt32
    let firstPosition: Int
    /// By event.
    let steps: UnsafeBufferPointer<UInt8>
  }

  /// What is known of the users while rows are taken.
  private struct Pointers {
    let known: UnsafeMutablePointer<Int64>

    /// Of a row: where it says when the furthest step was reached, which one it is, and `latest` of step 1.
    static let end = 0
    static let reached = 1
    static let latest = 2

    static func width(_ plan: FunnelPlan) -> Int { plan.stepCount &+ 2 }

    /// Returns whether the hit changes anything.
    @inline(__always)
    func take(_ user: Int, _ steps: UInt32, _ time: Int64, _ plan: FunnelPlan) -> Bool {
      let row = known + user &* Self.width(plan)
      if Int(row[Self.reached]) == plan.stepCount { return false }
      var isChanged = false
      var rest = steps
      // Higher steps first: one event does one step of a chain.
      while rest != 0 {
        let step = 31 &- rest.leadingZeroBitCount
        rest &= ~(1 &<< UInt32(truncatingIfNeeded: step))
        if self.step(row, step, time, plan.windowMilliseconds) { isChanged = true }
      }
      return isChanged
    }

    @inline(__always)
    private func step(
      _ row: UnsafeMutablePointer<Int64>, _ step: Int, _ time: Int64, _ window: Int64
    ) -> Bool {
      let start = step == 0 ? time : row[Self.latest &+ step &- 1]
      if time &- start > window || row[Self.latest &+ step] == start { return false }
      row[Self.latest &+ step] = start
      if step == Int(row[Self.reached]) {
        row[Self.reached] &+= 1
        row[Self.end] = time
      }
      return true
    }

    /// The same for many rows whose events do one step each. Without a branch on what a row does: it cannot be predicted.
    ///
    /// - Parameters:
    ///   - isCounted: 1 where a row's traffic counts.
    ///   - value: of the breakdown, of a row.
    /// - Returns: the number of hits, with those `before`.
    @inline(__always)
    func takeSingles(
      _ rows: UnsafeBufferPointer<UInt32>, _ looks: HitLooks, _ plan: FunnelPlan,
      _ hits: UnsafeMutableBufferPointer<Hit>, _ before: Int, isCounted: (Int) -> Int,
      _ value: (Int) -> Int32
    ) -> Int {
      let (day, window) = (looks.day, plan.windowMilliseconds)
      let (stepCount, width) = (Int64(plan.stepCount), Self.width(plan))
      var count = before
      var position = looks.firstPosition
      var userEnd = day.userEnds[position]
      for row in rows {
        while row >= userEnd {
          position &+= 1
          userEnd = day.userEnds[position]
        }
        let user = Int(day.users[position] &- looks.base)
        let step = Int(looks.steps[Int(day.event[Int(row)])])
        let time = looks.begin &+ Int64(day.time[Int(row)])
        let own = known + user &* width
        let latest = own + (Self.latest &+ step)
        let furthest = own[Self.reached]
        let start = step == 0 ? time : latest[-1]
        let old = latest[0]
        let isChange =
          (time &- start <= window ? 1 : 0) & (old != start ? 1 : 0) & (furthest != stepCount ? 1 : 0)
          & isCounted(Int(row))
        latest[0] = isChange != 0 ? start : old
        let isFurther = isChange & (Int64(step) == furthest ? 1 : 0)
        own[Self.reached] = furthest &+ Int64(isFurther)
        own[Self.end] = isFurther != 0 ? time : own[Self.end]
        hits[count] = Hit(
          time: time, user: UInt32(truncatingIfNeeded: user),
          steps: 1 &<< UInt32(truncatingIfNeeded: step), value: value(Int(row)))
        count &+= isChange
      }
      return count
    }
  }

  private mutating func pointers<Result>(_ body: (Pointers) -> Result) -> Result {
    known.withUnsafeMutableBufferPointer { known in
      guard let known = known.baseAddress else { preconditionFailure("a block without users") }
      return body(Pointers(known: known))
    }
  }

  // MARK: Chains

  /// Finds the first chain that reaches furthest. No chain reaches it before `end`, and every one whose window holds `end`
  /// and that began before the one found does so at `end`: it did each step no later. Its times take the place of `latest`.
  mutating func finish(_ plan: FunnelPlan) -> FunnelOutcomes {
    var progress = [UInt8](repeating: 0, count: users.count)
    var reached = progress
    var values = [Int32](repeating: 0, count: users.count)
    let width = Pointers.width(plan)
    let (hits, hitCount, userCount) = (self.hits, self.hitCount, users.count)
    hits.withUnsafeBufferPointer { hits in
      progress.withUnsafeMutableBufferPointer { progress in
        values.withUnsafeMutableBufferPointer { values in
          pointers { state in
            for index in 0..<hitCount {
              let hit = hits[index]
              let user = Int(hit.user)
              let own = state.known + user &* width
              let done = progress[user]
              // Without a branch, as above.
              let isInTime = own[Pointers.end] &- hit.time <= plan.windowMilliseconds ? 1 : 0
              let isNext =
                Int(hit.steps &>> UInt32(done)) & (Int64(done) < own[Pointers.reached] ? 1 : 0)
                & (isInTime | (done == 0 ? 0 : 1))
              let time = own + min(Pointers.latest &+ Int(done), width &- 1)
              time.pointee = isNext != 0 ? hit.time : time.pointee
              values[user] = isNext != 0 && done == 0 ? hit.value : values[user]
              progress[user] = done &+ UInt8(truncatingIfNeeded: isNext)
            }
            for user in 0..<userCount {
              reached[user] = UInt8(truncatingIfNeeded: state.known[user &* width &+ Pointers.reached])
            }
          }
        }
      }
    }
    precondition(progress == reached, "a chain ends before the step that it reaches")
    return FunnelOutcomes(
      firstUser: users.lowerBound, reached: reached, values: values, times: known,
      first: Pointers.latest, width: width)
  }
}
