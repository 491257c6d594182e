import Events

/// What a funnel's threads share: the question as tables.
struct FunnelPlan: Sendable {
  /// Longer than any two times are apart.
  static let noWindow = Int64.max / 4
  /// A time so early that everything is later than it by more than any window.
  static let never = Int64.min / 2

  let stepCount: Int
  let clock: FunnelClock
  /// By code of an event: bit k for step k + 1.
  let stepMasks: [UInt32]
  /// The same as the step, from 0, of those that do one; nil: some event does several.
  let singleSteps: [UInt8]?
  /// That one event may do.
  var stepsPerEventMax: Int { singleSteps == nil ? stepCount : 1 }
  /// By code of an event: 1 where a scan must look at it.
  let isWanted: [UInt8]
  /// The same events, where their rows may be kept for the next funnel.
  let keptEvents: Set<UInt32>?
  /// Nothing is asked of a row but its event, its time and whether it counts.
  let asksKeptOnly: Bool
  let hasBreakdown: Bool
  /// By the flags of a row: 1 where it counts.
  let counted: [UInt8]
  /// A scope counts what it leaves out by itself.
  let countsFlags: Bool
  let chains: FunnelChainPlan
}

/// A day made ready for a funnel: what filters and fields say is decided once, before threads share it. An object, so that they
/// need not count the uses of each of its columns.
final class FunnelDay: Sendable {
  /// Without its columns where nothing is asked of them.
  let day: DayColumns
  /// Step 1 may happen on it.
  let isInRange: Bool
  /// The steps that may happen on it.
  let allowed: UInt32
  /// Whether all traffic of the day counts; whether its rows have been added up by their flags.
  let isAllCounted: Bool
  let isTallied: Bool
  /// Of the steps that have one.
  let stepFilters: [(step: UInt32, mask: [UInt8])]
  let exclusionFilters: [(exclusion: UInt32, mask: [UInt8])]
  let scope: [UInt8]?
  let labels: RowLabels?
  /// By row: the values that are held constant.
  let keys: [Int32]?
  let shares: ShareColumns?
  /// The rows that a scan must look at, where they are kept.
  let found: FoundRows?

  init(
    day: DayColumns, isInRange: Bool, allowed: UInt32, isAllCounted: Bool, isTallied: Bool,
    stepFilters: [(step: UInt32, mask: [UInt8])],
    exclusionFilters: [(exclusion: UInt32, mask: [UInt8])], scope: [UInt8]?, labels: RowLabels?,
    keys: [Int32]?, shares: ShareColumns?, found: FoundRows?
  ) {
    self.day = day
    self.isInRange = isInRange
    self.allowed = allowed
    self.isAllCounted = isAllCounted
    self.isTallied = isTallied
    self.stepFilters = stepFilters
    self.exclusionFilters = exclusionFilters
    self.scope = scope
    self.labels = labels
    self.keys = keys
    self.shares = shares
    self.found = found
  }

  /// Bytes of memory, about.
  var byteCount: Int {
    let masks = stepFilters.count + exclusionFilters.count + (scope == nil ? 0 : 1)
    let words = (keys == nil ? 0 : 1) + (shares == nil ? 0 : 2)
    return day.byteCount + (masks + words * 4) * day.count + (labels?.byteCount ?? 0)
  }

  /// The steps that a row may do, of those that its event may do.
  @inline(__always)
  func steps(_ mask: UInt32, _ row: Int) -> UInt32 {
    if let scope, scope[row] == 0 { return 0 }
    var mask = mask & allowed
    for filter in stepFilters where filter.mask[row] == 0 { mask &= ~(1 << filter.step) }
    return mask
  }
}

extension FunnelPlan {
  /// Whether all rows count of which so many have which flags; nil: it is not known.
  func countsAll(_ flagCounts: [Int]?) -> Bool {
    guard let flagCounts else { return false }
    return flagCounts.indices.allSatisfy { flagCounts[$0] == 0 || counted[$0] != 0 }
  }

  static func singleSteps(_ masks: [UInt32]) -> [UInt8]? {
    guard masks.allSatisfy({ $0 & ($0 &- 1) == 0 }) else { return nil }
    return masks.map { $0 == 0 ? 0 : UInt8($0.trailingZeroBitCount) }
  }
}

extension FunnelDay {
  /// The states that an event cuts.
  func cuts(_ event: Int, _ row: Int, _ chains: FunnelChainPlan) -> UInt32 {
    var exclusions = chains.exclusionMasks[event]
    if exclusions == 0 { return 0 }
    for filter in exclusionFilters where filter.mask[row] == 0 {
      exclusions &= ~(1 << filter.exclusion)
    }
    return chains.exclusionCuts.indices.reduce(0) {
      exclusions & (1 << UInt32($1)) != 0 ? $0 | chains.exclusionCuts[$1] : $0
    }
  }

  func share(_ row: Int) -> FunnelShare {
    shares.map { FunnelShare(given: $0.given[row], cameBy: $0.cameBy[row]) } ?? FunnelShare()
  }
}

/// The steps of a funnel made ready for an app.
struct StepMatcher {
  private let filters: [(step: UInt32, program: FilterProgram)]
  /// By code of an event; covers every event of the snapshot.
  let masks: [UInt32]
  let count: Int
  let reads: RowReads

  var hasFilters: Bool { !filters.isEmpty }

  init(_ steps: [FunnelQuery.Step], in snapshot: AppSnapshot) throws(QueryError) {
    var filters: [(step: UInt32, program: FilterProgram)] = []
    var masks = EventCodes.table(in: snapshot)
    var reads = RowReads(columns: [.event, .time])
    for (index, step) in steps.enumerated() {
      let asked = "steps[\(index)]"
      try EventCodes.check(step.events, asked: "\(asked).events")
      try Self.check(label: step.label, asked: "\(asked).label")
      if let tree = step.filter {
        let filter = try FilterProgram(tree, in: snapshot, asked: "\(asked).filter")
        reads.add(filter.reads)
        filters.append((UInt32(index), filter))
      }
      for code in EventCodes.of(step.events, in: snapshot) { masks[code] |= 1 << UInt32(index) }
    }
    self.filters = filters
    self.masks = masks
    count = steps.count
    self.reads = reads
  }

  private static func check(label: String, asked: String) throws(QueryError) {
    guard label.utf8.count <= Limits.labelBytesMax else {
      throw .invalid(
        asked, "has \(label.utf8.count) bytes, must have at most \(Limits.labelBytesMax)")
    }
  }

  func filters(_ day: DayColumns) -> [(step: UInt32, mask: [UInt8])] {
    filters.map { ($0.step, $0.program.mask(day)) }
  }
}

/// Names of events as a question gives them, and their codes.
enum EventCodes {
  /// Zeros, one for each event that a snapshot may hold.
  static func table(in snapshot: AppSnapshot) -> [UInt32] {
    Array(repeating: 0, count: snapshot.app.codeCount(.events))
  }

  static func check(_ events: [String], asked: String) throws(QueryError) {
    guard (1...Limits.eventsPerStepMax).contains(events.count) else {
      throw .invalid(asked, "\(events.count) given, must be 1-\(Limits.eventsPerStepMax)")
    }
    try checkNames(events, asked: asked)
  }

  static func checkNames(_ events: [String], asked: String) throws(QueryError) {
    for event in events where EventName(event) == nil {
      let shown = event.count > 64 ? event.prefix(64) + "..." : event.prefix(64)
      throw .invalid(
        asked,
        "\"\(shown)\" is no name of an event: a built-in one ($launch), or a letter a-z and at most "
          + "\(EventLimits.nameBytesMax - 1) of a-z, 0-9, _ behind it")
    }
  }

  /// Without those that never happened.
  static func of(_ events: [String], in snapshot: AppSnapshot) -> [Int] {
    events.compactMap { snapshot.app.code(.events, of: $0).map { Int($0) } }
  }
}
