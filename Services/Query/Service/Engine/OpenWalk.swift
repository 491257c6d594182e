import Events
import Synchronization

/// Walks over the opens and page visits of a range of whole local days. An open that begins in the range is told whole, even
/// where it goes on after the range; of an open that began before it, what lies in the range.
///
/// Users are taken in blocks, days in batches: blocks run in parallel, each over the days of a batch in order, so that what
/// is remembered of a block's users stays in the processor's cache. Memory is bounded: where a range is not in memory at once
/// it is walked batch by batch, and where the users' state is too large to be kept meanwhile, several times, each time for a
/// part of the users.
struct OpenWalk<Visitor: OpenVisitor> {
  let source: DaySource
  let days: ClosedRange<Int>
  let control: QueryControl
  /// Whether all days before the range are told too.
  var walksHistory = false
  /// What a visitor remembers of each user of its block.
  var bytesPerUser = 0
  /// Whether opens that are known to lie in one day are told whole (`OpenVisitor.take`).
  var takesWholeOpens = false
  /// What `prepare` makes of each event.
  var markBytesPerRow = 0
  /// Called for each day that is walked, again where it is walked again.
  let prepare: (DayColumns, WalkedDay.Place) throws -> Visitor.Marks
  /// Makes the visitor of a block of users.
  let make: @Sendable (Range<UInt32>) -> Visitor

  private var threads: Int { Limits.threadsDefault }
  private var stateBytesPerUser: Int { bytesPerUser + MemoryLayout<Int64>.stride }

  /// What is done with a day.
  private struct Step {
    let number: Int32
    let place: WalkedDay.Place
    var isHistory = false
    /// Days before the range: whether opens may reach from it into the range.
    var isFollowed = false
  }

  /// A class: every block looks at every day, and a copy of a day is a reference to each of its columns.
  private final class LoadedStep: Sendable {
    let step: Step
    let columns: DayColumns
    let marks: Visitor.Marks
    let end: Int64
    /// Of days of the range, where they are known and wanted.
    let opens: DayOpens?

    init(_ step: Step, _ columns: DayColumns, _ marks: Visitor.Marks, end: Int64, _ opens: DayOpens?) {
      self.step = step
      self.columns = columns
      self.marks = marks
      self.end = end
      self.opens = opens
    }
  }

  /// A block between two batches. Unchecked: one thread at a time has it.
  private final class Box: @unchecked Sendable {
    let users: Range<UInt32>
    var walk: BlockWalk<Visitor>?
    var missing: [UInt32] = []

    init(_ users: Range<UInt32>) { self.users = users }
  }

  func run() throws -> Visitor.Summary {
    let lookBack = try control.operation("look back", "to where opens are cut for certain") {
      try LookBack(source, range: days)
    }
    let steps = steps(lookBack)
    let batches = batches(steps)
    let userCount = source.snapshot.userCount
    let blockUsers = blockUsers(userCount)
    var total = Visitor.Summary()
    for users in passes(userCount, blockUsers, batches.count) {
      let blocks = stride(from: users.lowerBound, to: users.upperBound, by: blockUsers).map {
        UInt32($0)..<UInt32(min($0 + blockUsers, users.upperBound))
      }
      let alive = batches.count == 1 ? min(threads, blocks.count) * blockUsers : users.count
      try control.charge(alive * stateBytesPerUser, for: "the state of each user")
      total.merge(try run(blocks, batches, lookBack.users.sorted()))
      control.release(alive * stateBytesPerUser)
    }
    return total
  }

  // MARK: Plan

  private func steps(_ lookBack: LookBack) -> [Step] {
    var steps: [Step] = []
    if walksHistory { source.snapshot.coverage.note(Int.min..<days.lowerBound) }
    for number in source.days where Int(number) < days.lowerBound {
      let isFollowed = lookBack.firstDay.map { $0 <= number } ?? false
      if walksHistory || isFollowed {
        steps.append(
          Step(number: number, place: .before, isHistory: walksHistory, isFollowed: isFollowed))
      }
    }
    for number in source.days(in: days.lowerBound..<days.upperBound + 1) {
      steps.append(Step(number: number, place: .inRange))
    }
    // As a rule no open reaches beyond the next day; whatever does is followed further.
    if let next = source.days.first(where: { Int($0) > days.upperBound }), reaches(next) {
      steps.append(Step(number: next, place: .behind))
    }
    return steps
  }

  /// Whether an open of the range may go on on a day behind it.
  private func reaches(_ day: Int32) -> Bool {
    let end = source.snapshot.calendar.start(ofDay: days.upperBound + 1)
    return source.begin(of: day) - end < source.snapshot.rules.timeoutMilliseconds
  }

  private func batches(_ steps: [Step]) -> [[Step]] {
    var batches: [[Step]] = []
    var bytes = 0
    for step in steps {
      let rows = source.rowCount(step.number)
      let perRow =
        markBytesPerRow + (source.isCached(step.number) ? 0 : DayColumns.bytesPerRow)
        + (wantsOpens(step) && !source.knowsOpens(step.number) ? DayOpens.bytesPerRow : 0)
      if batches.isEmpty || bytes + rows * perRow > Limits.walkBatchBytesMax {
        batches.append([])
        bytes = 0
      }
      batches[batches.count - 1].append(step)
      bytes += rows * perRow
    }
    return batches
  }

  private func wantsOpens(_ step: Step) -> Bool { takesWholeOpens && step.place == .inRange }

  /// At least eight blocks where there are so many users: threads that are done take what is left.
  private func blockUsers(_ userCount: Int) -> Int {
    let fitting = max(1, Limits.walkBlockBytesMax / stateBytesPerUser)
    return max(1, min(fitting, Limits.walkBlockUsersMax, (userCount + 7) / 8))
  }

  private func passes(_ userCount: Int, _ blockUsers: Int, _ batches: Int) -> [Range<Int>] {
    guard batches > 1 else { return batches == 0 ? [] : [0..<userCount] }
    let blocks = max(1, Limits.walkStateBytesMax / (stateBytesPerUser * blockUsers))
    return stride(from: 0, to: userCount, by: blocks * blockUsers).map {
      $0..<min($0 + blocks * blockUsers, userCount)
    }
  }

  // MARK: Days

  private func run(
    _ blocks: [Range<UInt32>], _ batches: [[Step]], _ followed: [UInt32]
  ) throws -> Visitor.Summary {
    var known: [UInt32: Int64] = [:]
    while true {
      let boxes = blocks.map(Box.init)
      let summary = Merging(Visitor.Summary())
      for (index, batch) in batches.enumerated() {
        let loaded = try load(batch)
        try control.operation("walk", rows: loaded.reduce(0) { $0 + $1.columns.count }) {
          let isLast = index == batches.count - 1
          try walk(loaded, boxes, known, followed, isLast: isLast, into: summary)
        }
      }
      try followFurther(boxes, behind: batches.last?.last, into: summary)
      let missing = Set(boxes.flatMap(\.missing))
      if missing.isEmpty { return summary.value }
      // Rare: the first thing that a user does in the range, without a gap before it, is to come back from a background
      // that began before. Look up when, then walk again.
      let found = try BackgroundSearch.run(missing, before: days.lowerBound, source)
      precondition(found.keys.allSatisfy { known[$0] == nil }, "what is known is not missing")
      known.merge(found) { _, new in new }
    }
  }

  private func load(_ batch: [Step]) throws -> [LoadedStep] {
    let wanted = batch.map(wantsOpens)
    let days = try control.operation("read days", "\(batch.count) days") { [source] in
      let numbers = batch.map(\.number)
      return try Blocks.map(numbers.count, threads: threads) { index in
        let columns = try source.load(numbers[index])
        return (columns: columns, opens: wanted[index] ? source.opens(columns) : nil)
      }
    }
    return try control.operation("filter", "what counts of each day") {
      try zip(batch, days).map { step, day in
        LoadedStep(
          step, day.columns, try prepare(day.columns, step.place),
          end: source.begin(of: step.number + 1), day.opens)
      }
    }
  }

  private func walk(
    _ loaded: [LoadedStep], _ boxes: [Box], _ known: [UInt32: Int64], _ followed: [UInt32],
    isLast: Bool, into summary: Merging<Visitor.Summary>
  ) throws {
    let snapshot = source.snapshot
    let (make, control) = (make, control)
    let last = loaded.last?.step.number ?? 0
    let hasMore = source.days.last.map { $0 > last } ?? false
    _ = try Blocks.map(boxes.count, threads: threads) { number in
      try control.check()
      let box = boxes[number]
      var walk =
        box.walk.take()
        ?? BlockWalk(
          users: box.users, visitor: make(box.users), known: known, rules: snapshot.rules,
          received: snapshot.position.receivedMilliseconds)
      for loaded in loaded { Self.walk(&walk, loaded, followed) }
      if isLast, !hasMore { walk.finish() }
      summary.merge(walk.takeSummary())
      box.missing += walk.takeMissing()
      // What is remembered of the users is given back as soon as it can be.
      if !isLast || walk.isCarrying { box.walk = consume walk }
    }
  }

  private static func walk(
    _ walk: inout BlockWalk<Visitor>, _ loaded: LoadedStep, _ followed: [UInt32]
  ) {
    let columns = loaded.columns
    WalkedDay.of(columns, end: loaded.end, loaded.step.place) { day in
      switch loaded.step.place {
      case .before:
        if loaded.step.isHistory { walk.history(columns, day, loaded.marks) }
        if loaded.step.isFollowed { walk.walk(columns, day, loaded.marks, opens: nil, followed: followed) }
      case .inRange: walk.walk(columns, day, loaded.marks, opens: loaded.opens, followed: nil)
      case .behind: walk.follow(columns, day, loaded.marks)
      }
    }
  }

  /// Opens that go on for more than a day behind the range.
  private func followFurther(
    _ boxes: [Box], behind last: Step?, into summary: Merging<Visitor.Summary>
  ) throws {
    let walked = max(Int(last?.number ?? 0), days.upperBound)
    for number in source.days where Int(number) > walked {
      let begin = source.begin(of: number)
      for box in boxes { box.walk?.endAll(before: begin) }
      guard boxes.contains(where: { $0.walk?.isCarrying ?? false }) else { break }
      for loaded in try load([Step(number: number, place: .behind)]) {
        for box in boxes {
          guard var walk = box.walk.take() else { continue }
          Self.walk(&walk, loaded, [])
          box.walk = consume walk
        }
      }
    }
    for box in boxes {
      box.walk?.finish()
      if let rest = box.walk?.takeSummary() { summary.merge(rest) }
      box.missing += box.walk?.takeMissing() ?? []
      box.walk = nil
    }
  }
}

/// What blocks counted, put together as they end.
private final class Merging<Summary: WalkSummary>: Sendable {
  private let state: Mutex<Summary>

  init(_ summary: Summary) { state = Mutex(summary) }

  func merge(_ other: Summary) { state.withLock { $0.merge(other) } }
  var value: Summary { state.withLock { $0 } }
}
