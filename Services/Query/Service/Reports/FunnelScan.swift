import Events

/// How far one user came: the times of the steps along the first chain that reaches furthest.
struct FunnelUser {
  let times: [Int64]
  /// Number of the breakdown's value at step 1; 0 without a breakdown.
  let value: Int32
}

/// Which steps an event may do: bit k for step k + 1.
struct StepMatcher {
  private let steps: [(codes: Set<UInt32>, filter: FilterProgram?)]
  private let masks: [UInt32]
  let fieldCodes: Set<UInt32>

  init(_ steps: [FunnelQuery.Step], in snapshot: AppSnapshot) throws(QueryError) {
    var built: [(codes: Set<UInt32>, filter: FilterProgram?)] = []
    var masks: [UInt32] = []
    var fields: Set<UInt32> = []
    for (index, step) in steps.enumerated() {
      try Self.check(step, index)
      let codes = Set(step.events.compactMap { snapshot.app.code(.events, of: $0) })
      var filter: FilterProgram?
      if let tree = step.filter {
        filter = try FilterProgram(tree, in: snapshot, asked: "steps[\(index)].filter")
      }
      fields.formUnion(filter?.fieldCodes ?? [])
      built.append((codes, filter))
      for code in codes {
        while masks.count <= Int(code) { masks.append(0) }
        masks[Int(code)] |= 1 << UInt32(index)
      }
    }
    self.steps = built
    self.masks = masks
    fieldCodes = fields
  }

  private static func check(_ step: FunnelQuery.Step, _ index: Int) throws(QueryError) {
    guard (1...Limits.eventsPerStepMax).contains(step.events.count) else {
      throw .invalid(
        "steps[\(index)].events", "\(step.events.count) given, must be 1-\(Limits.eventsPerStepMax)")
    }
    for event in step.events where EventName(event) == nil {
      throw .invalid("steps[\(index)].events", "\"\(event.prefix(64))\" is no name of an event")
    }
    guard step.label.utf8.count <= Limits.labelBytesMax else {
      throw .invalid(
        "steps[\(index)].label",
        "has \(step.label.utf8.count) bytes, must have at most \(Limits.labelBytesMax)")
    }
  }

  var count: Int { steps.count }

  /// The steps that each row may do.
  func masks(_ day: DayColumns) -> [UInt32] {
    var result = day.event.map { Int($0) < masks.count ? masks[Int($0)] : 0 }
    for (index, step) in steps.enumerated() {
      guard let matches = step.filter?.mask(day) else { continue }
      let others = ~(UInt32(1) << UInt32(index))
      for row in result.indices where matches[row] == 0 { result[row] &= others }
    }
    return result
  }
}

/// Collects the events that may do a step, user by user, and walks each user's chains. Memory is bounded: where the range
/// has many events, it is read several times, each time for a part of the users.
struct FunnelScan {
  let source: DaySource
  let matcher: StepMatcher
  let breakdown: Breakdown?
  let days: ClosedRange<Int>
  let windowMilliseconds: Int64?
  let traffic: TrafficChoice
  let control: QueryControl

  private struct Hit {
    let time: Int64
    let user: UInt32
    let steps: UInt32
    let value: Int32
  }

  private static let hitBytesMax = 64 << 20

  func run() throws -> (users: [FunnelUser], tally: EventTally) {
    let numbers = source.days(in: days.lowerBound..<lastDay + 1)
    let rows = numbers.reduce(0) { $0 + source.rowCount($1) }
    let passes = max(1, (rows * MemoryLayout<Hit>.stride + Self.hitBytesMax - 1) / Self.hitBytesMax)
    let userCount = source.snapshot.userCount
    let step = (userCount + passes - 1) / passes
    var users: [FunnelUser] = []
    var tally = EventTally()
    for pass in 0..<passes {
      let range = UInt32(min(pass * step, userCount))..<UInt32(min((pass + 1) * step, userCount))
      let before = users.count
      var counted = EventTally()
      let found = try hits(numbers, range, &counted)
      if pass == 0 { tally = counted }
      try walk(found, range, into: &users)
      try control.charge(
        (users.count - before) * (MemoryLayout<FunnelUser>.stride + 48), for: "the users of the funnel")
    }
    return (users, tally)
  }

  /// The last day on which a step may happen.
  private var lastDay: Int {
    guard let windowMilliseconds else { return days.upperBound }
    let calendar = source.snapshot.calendar
    let end = calendar.range(ofDays: days).upperBound
    return max(days.upperBound, calendar.day(at: end - 1 + windowMilliseconds))
  }

  private func hits(
    _ numbers: ArraySlice<Int32>, _ users: Range<UInt32>, _ tally: inout EventTally
  ) throws -> [Hit] {
    let counted = traffic.countedByFlags
    var hits: [Hit] = []
    for number in numbers {
      let day = try source.load(number)
      // Step 1 must happen in the range, later steps may happen after it.
      let allowed: UInt32 = Int(number) > days.upperBound ? ~1 : ~0
      if Int(number) <= days.upperBound { tally.add(day, traffic, mask: nil) }
      let masks = matcher.masks(day)
      let values = try breakdown?.values(day)
      let before = hits.count
      for position in day.positions(of: users) {
        let user = day.users[position]
        for row in day.rows(ofUserAt: position) {
          let steps = masks[row] & allowed
          guard steps != 0, counted[Int(day.flags[row])] else { continue }
          hits.append(
            Hit(time: day.time(row), user: user, steps: steps, value: values?[row] ?? 0))
        }
      }
      try control.charge(
        (hits.count - before) * MemoryLayout<Hit>.stride, for: "the events of the funnel")
    }
    return hits
  }

  /// Sorts the events by user, keeping their order, and walks each user's chains.
  private func walk(
    _ hits: [Hit], _ range: Range<UInt32>, into users: inout [FunnelUser]
  ) throws {
    var ends = [Int](repeating: 0, count: range.count + 1)
    for hit in hits { ends[Int(hit.user - range.lowerBound) + 1] += 1 }
    for index in 1..<ends.count { ends[index] += ends[index - 1] }
    var next = ends
    var order = [Int32](repeating: 0, count: hits.count)
    for (index, hit) in hits.enumerated() {
      let user = Int(hit.user - range.lowerBound)
      order[next[user]] = Int32(index)
      next[user] += 1
    }
    var chain = Chain(steps: matcher.count, window: windowMilliseconds)
    for user in 0..<range.count where ends[user] < ends[user + 1] {
      let own = order[ends[user]..<ends[user + 1]].map { hits[Int($0)] }
      if let found = chain.furthest(own) { users.append(found) }
    }
    control.release(hits.count * MemoryLayout<Hit>.stride)
    try control.check()
  }

  /// Finds a user's furthest step in one pass over the user's events.
  private struct Chain {
    /// `latest[k]`: the latest step-1 time of a chain that has reached step k + 1. The latest is enough: whatever an
    /// older chain can still reach within its window, it can reach too.
    private var latest: [Int64]
    private let window: Int64

    init(steps: Int, window: Int64?) {
      latest = Array(repeating: 0, count: steps)
      // No window: longer than any two times are apart.
      self.window = window ?? Int64.max / 4
    }

    mutating func furthest(_ hits: [Hit]) -> FunnelUser? {
      var reached = 0
      var end = 0
      for (index, hit) in hits.enumerated() {
        // Higher steps first: one event does one step of a chain.
        var step = min(reached, latest.count - 1)
        while step >= 1 {
          if hit.steps & (1 << UInt32(step)) != 0, hit.time - latest[step - 1] <= window {
            latest[step] = latest[step - 1]
            if step == reached {
              reached += 1
              end = index
            }
          }
          step -= 1
        }
        if hit.steps & 1 != 0 {
          latest[0] = hit.time
          if reached == 0 {
            reached = 1
            end = index
          }
        }
      }
      return reached == 0 ? nil : first(hits, reaching: reached, end: hits[end].time)
    }

    /// The first chain that reaches a step. No chain reaches it before `end`, and every one whose window holds `end` and
    /// that began before the one found does so at `end`: it took each step no later.
    private func first(_ hits: [Hit], reaching count: Int, end: Int64) -> FunnelUser? {
      guard
        let start = hits.firstIndex(where: { $0.steps & 1 != 0 && end - $0.time <= window })
      else { return nil }
      var times = [hits[start].time]
      for hit in hits[(start + 1)...] where times.count < count {
        if hit.steps & (1 << UInt32(times.count)) != 0 { times.append(hit.time) }
      }
      precondition(times.count == count, "a chain ends before the step that it reaches")
      return FunnelUser(times: times, value: hits[start].value)
    }
  }
}
