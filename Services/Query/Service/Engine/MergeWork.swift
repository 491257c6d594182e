import Events

/// What one merge puts away, as it was when the merge began.
struct MergeWork {
  let buffers: [SealedRows]
  let segments: [Int32: Segment]
  let calendar: AppCalendar
  let exclusion: SceneExclusion
  /// Days that are written anew, ascending.
  let days: [Int32]
  /// The days whose rows are put away, or dropped: those of others stay unsealed.
  private let chosen: Set<Int32>
  /// Users whose rows are taken out.
  var erasing: Set<UInt32> = []
  /// Begun before any row was looked at, where there are such users.
  var sweep: DictionarySweep?
  var textFields: Set<UInt32> = []
  /// Segments of days that are too old.
  var dropped: [Segment] = []
  /// The day behind the last of the days, sealed or not, that are dropped.
  var droppedBefore: Int32?

  var isEmpty: Bool { days.isEmpty && erasing.isEmpty && droppedBefore == nil }

  /// - Parameters:
  ///   - choice: which days are written.
  ///   - isFull: there is hardly room for more rows.
  ///   - keptFrom: days before it are dropped.
  init(_ tables: inout AppTables, _ choice: MergeChoice, isFull: Bool, keptFrom: Int32) {
    tables.freezeTail()
    buffers = tables.frozen
    segments = tables.segments
    calendar = tables.calendar
    exclusion = tables.exclusion
    var rows: [Int32: Int] = [:]
    for buffer in buffers {
      for (day, selected) in buffer.days { rows[day, default: 0] += selected.count }
    }
    chosen = tables.erasing.isEmpty ? choice.days(rows, segments, isFull: isFull) : Set(rows.keys)
    days = chosen.filter { $0 >= keptFrom }.sorted()
    dropped = segments.values.filter { $0.day < keptFrom }
    droppedBefore = chosen.union(segments.keys).filter { $0 < keptFrom }.max().map { $0 + 1 }
    erasing = tables.erasing
    if !erasing.isEmpty {
      sweep = DictionarySweep(tables)
      textFields = DictionarySweep.textFields(tables)
    }
  }

  /// A day whose flags follow another table of scenes than the one in force, if there is one: it is written anew as it is.
  init(_ tables: inout AppTables, outdated: ()) {
    buffers = []
    segments = tables.segments
    calendar = tables.calendar
    let exclusion = tables.exclusion
    self.exclusion = exclusion
    let outdated = segments.values.filter { $0.version > 1 && $0.exclusion != exclusion }
    days = outdated.map(\.day).min().map { [$0] } ?? []
    chosen = []
  }

  /// Cost: copies the rows that stay of buffers with rows of both kinds.
  func rest() -> RestOfRows { RestOfRows(buffers, without: chosen) }
}

/// Which days a merge writes.
package enum MergeChoice: Sendable {
  /// Every one with new rows.
  case all
  /// Those whose new rows are many beside the old ones: a day that few rows come to waits, so that it is not written again and
  /// again.
  case cheap
  /// The same without the last one, unless it has most of the rows: the log, far ahead, is about to bring the rest of it.
  case past

  /// Whether there is enough to write.
  ///
  /// - Parameters:
  ///   - waiting: those that the last merge left.
  ///   - least: rows. Of `past` those of days that the log has gone past.
  func isDue(_ unsealed: UnsealedRows, _ waiting: UnsealedRows, least: Int) -> Bool {
    switch self {
    case .all: unsealed.all >= least
    case .cheap: unsealed.all - waiting.all >= least
    case .past: unsealed.ofPastDays - waiting.ofPastDays >= least
    }
  }

  /// The log, far ahead, soon waits for the merge.
  var threads: Int { self == .past ? Limits.threadsDefault : 1 }

  /// - Parameters:
  ///   - rows: new ones by day.
  ///   - isFull: there is hardly room for more: some are put away whatever it costs.
  func days(
    _ rows: [Int32: Int], _ segments: [Int32: Segment], isFull: Bool
  ) -> Set<Int32> {
    let total = rows.values.reduce(0, +)
    var candidates = rows
    switch self {
    case .all: return Set(rows.keys)
    case .cheap: break
    case .past:
      guard let last = rows.keys.max(), let ofLast = rows[last] else { break }
      if Double(ofLast) < Limits.partOfUnfinishedDayMax * Double(total) { candidates[last] = nil }
    }
    return Self.cheapest(candidates, total, segments, isFull: isFull)
  }

  /// The days that are cheapest to write for each of their new rows, until at least half of all new rows are put away.
  private static func cheapest(
    _ rows: [Int32: Int], _ total: Int, _ segments: [Int32: Segment], isFull: Bool
  ) -> Set<Int32> {
    let cost = rows.map { day, fresh in
      (day: day, fresh: fresh, perRow: Double(segments[day]?.rows ?? 0) / Double(fresh))
    }.sorted { ($0.perRow, $0.day) < ($1.perRow, $1.day) }
    var chosen: Set<Int32> = []
    var put = 0
    for one in cost {
      let isCheap = one.perRow <= Limits.rewrittenRowsPerRow
      if !isCheap, !isFull || put * 2 >= total { break }
      chosen.insert(one.day)
      put += one.fresh
    }
    return chosen
  }
}

/// What a merge leaves unsealed. Buffers that it takes no row of stay as they are, in memory and in the file.
struct RestOfRows {
  /// In the order of the log.
  private(set) var buffers: [SealedRows] = []
  /// Of the file's row blocks those that some row was taken of.
  private(set) var changes: [Change] = []

  struct Change {
    /// They lie behind `behind`, up to `upTo`.
    let behind: Int64
    let upTo: Int64
    /// What comes in their place.
    let left: SealedRows?
  }

  init(_ all: [SealedRows], without days: Set<Int32>) {
    var touched: [SealedRows] = []
    var behind: Int64 = 0
    for buffer in all {
      if days.isDisjoint(with: buffer.days.keys) {
        change(touched, behind: behind, without: days)
        touched = []
        behind = buffer.lastBlock
        buffers.append(buffer)
      } else {
        touched.append(buffer)
      }
    }
    change(touched, behind: behind, without: days)
  }

  var count: Int { buffers.reduce(0) { $0 + $1.rows.count } }

  private mutating func change(_ touched: [SealedRows], behind: Int64, without days: Set<Int32>) {
    guard let last = touched.last else { return }
    var rows = RowBuffer()
    for buffer in touched { rows.append(buffer.rows, Self.others(buffer, than: days)) }
    // In the place of the last of them, so that it comes before what the log brought after them.
    let left = rows.isEmpty ? nil : SealedRows(rows, lastBlock: last.lastBlock)
    if let left { buffers.append(left) }
    changes.append(Change(behind: behind, upTo: last.lastBlock, left: left))
  }

  private static func others(_ buffer: SealedRows, than days: Set<Int32>) -> RowSelection {
    let ranges = buffer.days.filter { !days.contains($0.key) }.flatMap(\.value.ranges)
    var selected = RowSelection()
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) { selected.append(range) }
    return selected
  }
}
