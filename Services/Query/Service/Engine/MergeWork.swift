import Events

/// What one merge puts away, as it was when the merge began.
struct MergeWork {
  let buffers: [SealedRows]
  let segments: [Int32: Segment]
  /// The last row block that holds rows of `buffers`.
  let lastBlock: Int64
  let calendar: AppCalendar
  let exclusion: SceneExclusion
  /// Days that are written anew, ascending.
  let days: [Int32]
  /// The rows of the other days, in the order of the log: they stay unsealed.
  let rest: RowBuffer
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

  /// - Parameter isWhole: all days are written. Else those whose new rows are many beside the old ones: a day that few
  ///   rows come to waits, so that it is not written again and again.
  /// - Parameter keptFrom: days before it are dropped.
  init(_ tables: inout AppTables, isWhole: Bool, keptFrom: Int32) {
    tables.freezeTail()
    buffers = tables.frozen
    segments = tables.segments
    lastBlock = tables.lastBlock
    calendar = tables.calendar
    exclusion = tables.exclusion
    var rows: [Int32: Int] = [:]
    for buffer in buffers {
      for (day, indices) in buffer.indices { rows[day, default: 0] += indices.count }
    }
    let chosen =
      isWhole || !tables.erasing.isEmpty ? Set(rows.keys) : Self.due(rows, segments)
    days = chosen.filter { $0 >= keptFrom }.sorted()
    var rest = RowBuffer()
    if chosen.count < rows.count {
      for buffer in buffers { rest.append(buffer.rows, Self.others(buffer, than: chosen)) }
    }
    self.rest = rest
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
    lastBlock = 0
    calendar = tables.calendar
    let exclusion = tables.exclusion
    self.exclusion = exclusion
    let outdated = segments.values.filter { $0.version > 1 && $0.exclusion != exclusion }
    days = outdated.map(\.day).min().map { [$0] } ?? []
    rest = RowBuffer()
  }

  /// The days that are cheapest to write for each of their new rows, until at least half of all new rows are put away.
  private static func due(_ rows: [Int32: Int], _ segments: [Int32: Segment]) -> Set<Int32> {
    let total = rows.values.reduce(0, +)
    let isFull = total > Limits.unsealedRowsMax / 2
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

  private static func others(_ buffer: SealedRows, than days: Set<Int32>) -> [UInt32] {
    buffer.indices.filter { !days.contains($0.key) }.flatMap(\.value).sorted()
  }
}
