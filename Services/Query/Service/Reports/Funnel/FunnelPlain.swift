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
  /// By user, `stepCount + 1` times each.
  private var latest: [Int64] = []
  /// By user: the furthest step so far, from 1; 0: none.
  private var reached: [UInt8] = []
  /// By user: when it was reached.
  private var end: [Int64] = []
  /// The first `hitCount` of them.
  private var hits: [Hit] = []
  private var hitCount = 0
  private var rows: [UInt32] = []
  private(set) var flagCounts = [Int](repeating: 0, count: 256)

  init(_ plan: FunnelPlan) {}

  var byteCount: Int {
    latest.count * 8 + reached.count * 9 + hits.count * MemoryLayout<Hit>.stride + rows.count * 4
  }

  static func byteCount(of part: FunnelOutcomes) -> Int { part.byteCount }

  mutating func begin(_ users: Range<UInt32>, _ plan: FunnelPlan) {
    self.users = users
    Self.fill(&latest, users.count * (plan.stepCount + 1), FunnelPlan.never)
    Self.fill(&reached, users.count, 0)
    Self.fill(&end, users.count, 0)
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
      if plan.countsFlags, day.isInRange { pointers.countFlags(range, into: &flagCounts) }
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
                  day: day, begin: begin, base: base, firstPosition: firstPosition, steps: steps,
                  counted: counted)
                guard let labels else {
                  return state.takeSingles(found, looks, plan, hits, before) { _ in 0 }
                }
                return state.takeSingles(found, looks, plan, hits, before) {
                  labels.number($0, context: day.context[$0])
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
    /// By flags.
    let counted: UnsafeBufferPointer<UInt8>
  }

  /// What is known of the users while rows are taken.
  private struct Pointers {
    let latest: UnsafeMutablePointer<Int64>
    let reached: UnsafeMutablePointer<UInt8>
    let end: UnsafeMutablePointer<Int64>

    /// Returns whether the hit changes anything.
    @inline(__always)
    func take(_ user: Int, _ steps: UInt32, _ time: Int64, _ plan: FunnelPlan) -> Bool {
      if Int(reached[user]) == plan.stepCount { return false }
      let latest = latest + user &* (plan.stepCount &+ 1)
      latest[0] = time
      if steps & (steps &- 1) == 0 {
        return step(user, steps.trailingZeroBitCount, time, latest, plan.windowMilliseconds)
      }
      var isChanged = false
      var rest = steps
      // Higher steps first: one event does one step of a chain.
      while rest != 0 {
        let step = 31 &- rest.leadingZeroBitCount
        rest &= ~(1 &<< UInt32(truncatingIfNeeded: step))
        if self.step(user, step, time, latest, plan.windowMilliseconds) { isChanged = true }
      }
      return isChanged
    }

    /// The same for many rows whose events do one step each. Without a branch on what a row does: it cannot be predicted.
    ///
    /// - Parameter value: of the breakdown, of a row.
    /// - Returns: the number of hits, with those `before`.
    @inline(__always)
    func takeSingles(
      _ rows: UnsafeBufferPointer<UInt32>, _ looks: HitLooks, _ plan: FunnelPlan,
      _ hits: UnsafeMutableBufferPointer<Hit>, _ before: Int, _ value: (Int) -> Int32
    ) -> Int {
      let (day, window, stepCount) = (looks.day, plan.windowMilliseconds, plan.stepCount)
      var count = before
      var position = looks.firstPosition
      var userEnd = Int(day.userEnds[position])
      for found in rows {
        let row = Int(found)
        while row >= userEnd {
          position &+= 1
          userEnd = Int(day.userEnds[position])
        }
        let user = Int(day.users[position] &- looks.base)
        let step = Int(looks.steps[Int(day.event[row])])
        let time = looks.begin &+ Int64(day.time[row])
        let latest = latest + user &* (stepCount &+ 1)
        let furthest = Int(reached[user])
        let start = step == 0 ? time : latest[step]
        let old = latest[step &+ 1]
        let isChange =
          (time &- start <= window ? 1 : 0) & (old != start ? 1 : 0) & (furthest != stepCount ? 1 : 0)
          & Int(looks.counted[Int(day.flags[row])])
        latest[step &+ 1] = isChange != 0 ? start : old
        let isFurther = isChange & (step == furthest ? 1 : 0)
        reached[user] = UInt8(truncatingIfNeeded: furthest &+ isFurther)
        end[user] = isFurther != 0 ? time : end[user]
        hits[count] = Hit(
          time: time, user: UInt32(truncatingIfNeeded: user), steps: 1 &<< UInt32(truncatingIfNeeded: step),
          value: value(row))
        count &+= isChange
      }
      return count
    }

    @inline(__always)
    private func step(
      _ user: Int, _ step: Int, _ time: Int64, _ latest: UnsafeMutablePointer<Int64>, _ window: Int64
    ) -> Bool {
      let start = latest[step]
      if time &- start > window || latest[step &+ 1] == start { return false }
      latest[step &+ 1] = start
      if step == Int(reached[user]) {
        reached[user] &+= 1
        end[user] = time
      }
      return true
    }
  }

  private mutating func pointers<Result>(_ body: (Pointers) -> Result) -> Result {
    latest.withUnsafeMutableBufferPointer { latest in
      reached.withUnsafeMutableBufferPointer { reached in
        end.withUnsafeMutableBufferPointer { end in
          guard let latest = latest.baseAddress, let reached = reached.baseAddress,
            let end = end.baseAddress
          else { preconditionFailure("a block without users") }
          return body(Pointers(latest: latest, reached: reached, end: end))
        }
      }
    }
  }

  // MARK: Chains

  /// Finds the first chain that reaches furthest. No chain reaches it before `end`, and every one whose window holds `end`
  /// and that began before the one found does so at `end`: it did each step no later. Its times take the place of `latest`.
  mutating func finish(_ plan: FunnelPlan) -> FunnelOutcomes {
    var progress = [UInt8](repeating: 0, count: users.count)
    var values = [Int32](repeating: 0, count: users.count)
    let width = plan.stepCount + 1
    let (hits, hitCount) = (self.hits, self.hitCount)
    hits.withUnsafeBufferPointer { hits in
      progress.withUnsafeMutableBufferPointer { progress in
        values.withUnsafeMutableBufferPointer { values in
          pointers { state in
            for index in 0..<hitCount {
              let hit = hits[index]
              let user = Int(hit.user)
              let done = progress[user]
              // Without a branch, as above.
              let isInTime = state.end[user] &- hit.time <= plan.windowMilliseconds ? 1 : 0
              let isNext =
                Int(hit.steps &>> UInt32(done)) & (done < state.reached[user] ? 1 : 0)
                & (isInTime | (done == 0 ? 0 : 1))
              let time = state.latest + (user &* width &+ Int(done))
              time.pointee = isNext != 0 ? hit.time : time.pointee
              values[user] = isNext != 0 && done == 0 ? hit.value : values[user]
              progress[user] = done &+ UInt8(truncatingIfNeeded: isNext)
            }
          }
        }
      }
    }
    precondition(progress == reached, "a chain ends before the step that it reaches")
    return FunnelOutcomes(
      firstUser: users.lowerBound, reached: reached, values: values, times: latest, width: width)
  }
}
