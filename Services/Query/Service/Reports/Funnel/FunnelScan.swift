import Synchronization

/// What a scan remembers of a block of users, from day to day.
///
/// Its memory is charged as it grows, so that it throws RESOURCE_EXHAUSTED where that is too much.
protocol FunnelState: Sendable {
  associatedtype Part: Sendable
  init(_ plan: FunnelPlan, _ control: QueryControl)
  /// Begins anew, for these users.
  mutating func begin(_ users: Range<UInt32>, _ plan: FunnelPlan) throws
  /// Takes the users' rows of a day. Days come in order.
  mutating func scan(_ day: FunnelDay, _ plan: FunnelPlan) throws
  /// The users have no further day.
  mutating func finish(_ plan: FunnelPlan) throws -> Part
  /// Rows of the range by flags.
  var flagCounts: [Int] { get }
  /// Bytes of memory that are charged: for whoever lets go of the state to release.
  var chargedBytes: Int { get }
  static func byteCount(of part: Part) -> Int
}

/// Runs blocks of users over the days of a range, on several threads.
///
/// All days are held at once where they are few bytes; then each block goes over all of them, and only the blocks at work have
/// a state. Else the days come in batches, and the states of all blocks wait between them: where these would be too many
/// bytes, the upper half of the blocks is put off and the days are read again for it.
/// Charges a query for memory that grows.
struct FunnelCharge: Sendable {
  private let control: QueryControl
  private(set) var bytes = 0

  init(_ control: QueryControl) { self.control = control }

  /// - Parameter bytes: held now.
  mutating func hold(_ bytes: Int) throws(QueryError) {
    if bytes == self.bytes { return }
    try control.charge(bytes - self.bytes, for: "what the funnel's users have done")
    self.bytes = bytes
  }
}

struct FunnelScan<State: FunnelState> {
  let plan: FunnelPlan
  let source: DaySource
  let days: ArraySlice<Int32>
  let userCount: Int
  let control: QueryControl

  private struct Done: Sendable {
    let part: State.Part
    let flagCounts: [Int]
  }

  private var usersPerBlock: Int {
    let even = (userCount + 8 * Limits.threadsDefault - 1) / (8 * Limits.threadsDefault)
    return min(max(even, 1), Limits.funnelBlockUsersMax)
  }

  /// - Parameter prepare: makes a day ready, with the rows that are kept of it; called again where it is read again.
  /// - Returns: the parts, by users, and how many rows of the range had which flags.
  func run(
    _ prepare: (DayColumns, FoundRows?) throws -> FunnelDay
  ) throws -> (parts: [State.Part], flagCounts: [Int]) {
    var parts: [State.Part] = []
    var counts = [Int](repeating: 0, count: 256)
    let blocks = (userCount + usersPerBlock - 1) / usersPerBlock
    var first = 0
    while first < blocks {
      let done = try pass(first, blocks, prepare)
      for block in done {
        parts.append(block.part)
        for flags in 0..<256 { counts[flags] += block.flagCounts[flags] }
      }
      first += done.count
    }
    return (parts, counts)
  }

  private func users(_ block: Int) -> Range<UInt32> {
    UInt32(block * usersPerBlock)..<UInt32(min((block + 1) * usersPerBlock, userCount))
  }

  /// Goes once over the days, for blocks from `first` on.
  ///
  /// - Returns: the blocks that were done; at least one.
  private func pass(
    _ first: Int, _ end: Int, _ prepare: (DayColumns, FoundRows?) throws -> FunnelDay
  ) throws -> [Done] {
    var active = end - first
    var waiting: [State] = []
    var rest = days
    while true {
      let (batch, bytes) = try nextDays(&rest, prepare)
      defer { control.release(bytes) }
      if rest.isEmpty { return try finish(batch, first, active, &waiting) }
      try scan(batch, first, active, &waiting)
      active = waiting.count
      let states = waiting.map(\.chargedBytes)
      while states[..<active].reduce(0, +) > stateBytesMax, active > 1 { active /= 2 }
      control.release(states[active...].reduce(0, +))
      waiting.removeLast(waiting.count - active)
    }
  }

  private var stateBytesMax: Int { min(Limits.funnelStateBytesMax, control.bytesMax / 4) }

  /// A day of a batch that is yet to be read.
  private struct Awaited: Sendable {
    let number: Int32
    /// Bytes that it takes beyond what is charged, should more of its rows be kept than it seems.
    let wholeBytes: Int
  }

  /// As many days as may be held at once, read on several threads, and the bytes charged for them.
  private func nextDays(
    _ rest: inout ArraySlice<Int32>, _ prepare: (DayColumns, FoundRows?) throws -> FunnelDay
  ) throws -> ([FunnelDay], Int) {
    let heldMax = min(Limits.funnelHeldDaysBytesMax, control.bytesMax / 2)
    var awaited: [Awaited] = []
    var bytes = 0
    let holdsKeptOnly = try holdsKeptOnly(rest)
    for number in rest {
      let isLean = holdsKeptOnly && source.sealedSegment(number) != nil && !source.isCached(number)
      // What is cached is held anyway.
      let own = source.rowCount(number) * bytesPerRow(number, isLean: isLean)
      // The first is held as by any report.
      let isFirst = awaited.isEmpty
      if !isFirst, bytes + own > heldMax { break }
      if !isFirst { bytes += own }
      awaited.append(
        Awaited(
          number: number,
          wholeBytes: isLean && !isFirst ? source.rowCount(number) * DayColumns.bytesPerRow : 0))
    }
    try control.charge(bytes, for: "the days of the funnel")
    let room = Atomic<Int>(heldMax - bytes)
    let read = try control.operation("read days", "\(awaited.count) days") { [source, plan] in
      try Blocks.map(awaited.count, threads: Limits.threadsDefault) { [awaited] in
        try Self.read(awaited[$0], source, plan, room)
      }
    }
    // From the first one on that there was no room for, they come with the next batch.
    let days = read.prefix { $0 != nil }.compactMap { $0 }
    rest = rest.dropFirst(days.count)
    let wholeBytes = days.reduce(0) { $0 + $1.wholeBytes }
    try control.charge(wholeBytes, for: "the days of the funnel")
    return (try days.map { try prepare($0.columns, $0.found) }, bytes + wholeBytes)
  }

  private struct ReadDay: Sendable {
    let columns: DayColumns
    let found: FoundRows?
    /// Held beyond what was charged.
    var wholeBytes = 0
  }

  /// A day with the rows that are kept of it; where nothing else is asked of it, only the flags that a scan must look at.
  ///
  /// - Parameter room: bytes that days may still take beyond what is charged.
  /// - Returns: nil: there is no room for all of its rows.
  private static func read(
    _ day: Awaited, _ source: DaySource, _ plan: FunnelPlan, _ room: borrowing Atomic<Int>
  ) throws -> ReadDay? {
    let number = day.number
    if plan.asksKeptOnly, let events = plan.keptEvents,
      let found = try source.foundAlone(events, number)
    {
      let isAllCounted = plan.countsAll(try source.sealedFlagCounts(number))
      return ReadDay(
        columns: isAllCounted ? source.emptyDay(number) : try source.flags(number), found: found)
    }
    if day.wholeBytes > 0 {
      let left = room.wrappingSubtract(day.wholeBytes, ordering: .relaxed).newValue
      if left < 0 { return nil }
    }
    let columns = try source.load(number)
    return ReadDay(
      columns: columns, found: plan.keptEvents.flatMap { source.found($0, in: columns) },
      wholeBytes: day.wholeBytes)
  }

  /// Whether of sealed days only the rows are held that are kept: that they are not too many, the first day tells.
  private func holdsKeptOnly(_ numbers: ArraySlice<Int32>) throws -> Bool {
    guard plan.asksKeptOnly, let events = plan.keptEvents,
      let first = numbers.first(where: { source.sealedSegment($0) != nil })
    else { return false }
    return try source.foundAlone(events, first) != nil
  }

  /// Of what is read of a day, and found in it.
  ///
  /// - Parameter isLean: nothing else is held of it.
  private func bytesPerRow(_ day: Int32, isLean: Bool) -> Int {
    guard let events = plan.keptEvents else {
      return source.isCached(day) ? 0 : DayColumns.bytesPerRow
    }
    let isFound = source.knowsFound(events, day)
    return (isLean || source.isCached(day) ? 0 : DayColumns.bytesPerRow)
      + (isFound ? 0 : MemoryLayout<FoundRow>.stride / Limits.foundRowsShare)
  }

  /// Scans a batch of days that is not the last. Of the first one only so many blocks as may wait: the others are put off.
  private func scan(
    _ batch: [FunnelDay], _ first: Int, _ active: Int, _ waiting: inout [State]
  ) throws {
    let isFirst = waiting.isEmpty
    let states = Mutex(Self.taken(&waiting))
    let held = Atomic<Int>(0)
    let scanned: [State?] = try Blocks.map(active, threads: Limits.threadsDefault) { [self] index in
      if isFirst, index > 0, held.load(ordering: .relaxed) > stateBytesMax { return nil }
      var state = isFirst ? try begun(first + index) : Self.take(index, states)
      try scan(batch, &state)
      held.wrappingAdd(state.chargedBytes, ordering: .relaxed)
      return state
    }
    waiting = scanned.prefix { $0 != nil }.compactMap { $0 }
    control.release(scanned[waiting.count...].reduce(0) { $0 + ($1?.chargedBytes ?? 0) })
  }

  private static func taken(_ states: inout [State]) -> [State?] {
    defer { states = [] }
    return states.map(Optional.some)
  }

  /// Moves a state out, so that its arrays are not copied when it goes on.
  private static func take(_ index: Int, _ states: borrowing Mutex<[State?]>) -> State {
    guard let state = states.withLock({ $0[index].take() }) else {
      preconditionFailure("a block is scanned once per batch")
    }
    return state
  }

  private func begun(_ block: Int) throws -> State {
    var state = State(plan, control)
    try state.begin(users(block), plan)
    return state
  }

  private func scan(_ batch: [FunnelDay], _ state: inout State) throws {
    try control.check()
    try batch.withUnsafeBufferPointer { batch in
      // Where it stands: a copy would count one more user of each of its columns.
      for index in batch.indices { try state.scan(batch[index], plan) }
    }
  }

  /// Scans the last batch of days.
  private func finish(
    _ batch: [FunnelDay], _ first: Int, _ active: Int, _ waiting: inout [State]
  ) throws -> [Done] {
    let isFirst = waiting.isEmpty
    let states = Mutex(Self.taken(&waiting))
    let spare = Mutex<[State]>([])
    let done = try Blocks.map(active, threads: Limits.threadsDefault) { [self] index in
      var state: State
      if isFirst {
        state = spare.withLock { $0.popLast() } ?? State(plan, control)
        try state.begin(users(first + index), plan)
      } else {
        state = Self.take(index, states)
      }
      try scan(batch, &state)
      let done = Done(part: try state.finish(plan), flagCounts: state.flagCounts)
      try control.charge(State.byteCount(of: done.part), for: "how far each user came")
      if isFirst {
        spare.withLock { $0.append(state) }
      } else {
        control.release(state.chargedBytes)
      }
      return done
    }
    control.release(spare.withLock { $0.reduce(0) { $0 + $1.chargedBytes } })
    return done
  }
}
