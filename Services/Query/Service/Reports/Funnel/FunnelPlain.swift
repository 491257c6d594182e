/// The plain funnel: steps in order, each user once, nothing cut.
///
/// Of a user, `latest[k]` is the latest time of a step 1 whose chain has reached step k + 1. The latest is enough: whatever
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

  private var users: Range<UInt32> = 0..<0
  /// By user and step; once finished, the times of the first chain.
  private var latest: [Int64] = []
  /// By user: the furthest step so far, from 1; 0: none.
  private var reached: [UInt8] = []
  /// By user: when it was reached.
  private var end: [Int64] = []
  private var hits: [Hit] = []
  private var rows: [UInt32] = []
  private(set) var flagCounts = [Int](repeating: 0, count: 256)

  init(_ plan: FunnelPlan) {}

  var byteCount: Int {
    latest.count * 8 + reached.count * 9 + hits.capacity * MemoryLayout<Hit>.stride + rows.count * 4
  }

  static func byteCount(of part: FunnelOutcomes) -> Int { part.byteCount }

  mutating func begin(_ users: Range<UInt32>, _ plan: FunnelPlan) {
    self.users = users
    Self.fill(&latest, users.count * plan.stepCount, FunnelPlan.never)
    Self.fill(&reached, users.count, 0)
    Self.fill(&end, users.count, 0)
    hits.removeAll(keepingCapacity: true)
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

  mutating func scan(_ day: FunnelDay, _ plan: FunnelPlan) {
    let positions = day.day.positions(of: users)
    guard let firstPosition = positions.first, let lastPosition = positions.last else { return }
    let range = day.day.rows(ofUserAt: firstPosition).lowerBound..<Int(day.day.userEnds[lastPosition])
    if rows.count < range.count { rows = Array(repeating: 0, count: range.count * 3 / 2) }
    day.day.withPointers { pointers in
      if plan.countsFlags, day.isInRange { pointers.countFlags(range, into: &flagCounts) }
      let found = pointers.rows(range, wanted: plan.isWanted, into: &rows)
      walk(found, firstPosition, pointers, day, plan)
    }
  }

  /// Takes the rows found, in order.
  private mutating func walk(
    _ found: Int, _ firstPosition: Int, _ day: DayPointers, _ prepared: FunnelDay, _ plan: FunnelPlan
  ) {
    // Moved into local variables: the loop holds pointers to some while it appends to others.
    var hits = self.hits
    self.hits = []
    let base = users.lowerBound
    let begin = prepared.day.beginMilliseconds
    let window = plan.windowMilliseconds
    let stepCount = plan.stepCount
    let isSimple = prepared.stepFilters.isEmpty && prepared.scope == nil && prepared.isInRange
    var position = firstPosition
    var userEnd = Int(day.userEnds[position])
    rows.withUnsafeBufferPointer { rows in
      latest.withUnsafeMutableBufferPointer { latest in
        reached.withUnsafeMutableBufferPointer { reached in
          end.withUnsafeMutableBufferPointer { end in
            for index in 0..<found {
              let row = Int(rows[index])
              while row >= userEnd {
                position &+= 1
                userEnd = Int(day.userEnds[position])
              }
              let user = Int(day.users[position] &- base)
              if plan.counted[Int(day.flags[row])] == 0 || Int(reached[user]) == stepCount {
                continue
              }
              var steps = plan.stepMasks[Int(day.event[row])]
              if !isSimple { steps = prepared.steps(steps, row) }
              let time = begin &+ Int64(day.time[row])
              let first = user &* stepCount
              var rest = steps
              var isChanged = false
              // Higher steps first: one event does one step of a chain.
              while rest != 0 {
                let step = 31 &- rest.leadingZeroBitCount
                rest &= ~(1 &<< UInt32(truncatingIfNeeded: step))
                let start = step == 0 ? time : latest[first &+ step &- 1]
                if time &- start > window || latest[first &+ step] == start { continue }
                latest[first &+ step] = start
                isChanged = true
                if step == Int(reached[user]) {
                  reached[user] &+= 1
                  end[user] = time
                }
              }
              if isChanged {
                let value =
                  steps & 1 == 0 ? 0 : prepared.labels?.number(row, context: day.context[row]) ?? 0
                hits.append(Hit(time: time, user: UInt32(user), steps: steps, value: value))
              }
            }
          }
        }
      }
    }
    self.hits = hits
  }

  /// Finds the first chain that reaches furthest. No chain reaches it before `end`, and every one whose window holds `end`
  /// and that began before the one found does so at `end`: it did each step no later.
  mutating func finish(_ plan: FunnelPlan) -> FunnelOutcomes {
    let stepCount = plan.stepCount
    var progress = [UInt8](repeating: 0, count: users.count)
    var values = [Int32](repeating: 0, count: users.count)
    for hit in hits {
      let user = Int(hit.user)
      let done = Int(progress[user])
      if done == 0 {
        guard hit.steps & 1 != 0, end[user] - hit.time <= plan.windowMilliseconds else { continue }
        values[user] = hit.value
      } else {
        guard done < Int(reached[user]), hit.steps & (1 << UInt32(done)) != 0 else { continue }
      }
      latest[user * stepCount + done] = hit.time
      progress[user] += 1
    }
    var outcomes = FunnelOutcomes()
    for user in 0..<users.count where reached[user] > 0 {
      precondition(progress[user] == reached[user], "a chain ends before the step that it reaches")
      let first = user * stepCount
      outcomes.append(
        user: users.lowerBound + UInt32(user), value: values[user],
        times: latest[first..<first + Int(reached[user])])
    }
    return outcomes
  }
}
