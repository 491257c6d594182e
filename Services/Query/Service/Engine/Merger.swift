import Events
import Store
import Synchronization

extension QueryEngine {
  /// Seals unsealed rows of apps that have enough of them. Called by one thread, again and again.
  ///
  /// - Parameter rows: from how many unsealed rows on an app is sealed.
  /// - Returns: the rows sealed.
  @discardableResult
  package func mergeIfDue(rows: Int? = nil) throws -> Int {
    try merging.withLock { _ in try mergeNow(max(rows ?? Limits.sealRows, 1)) }
  }

  private func mergeNow(_ least: Int) throws -> Int {
    var sealed = 0
    for app in apps {
      let unsealed = app.tables.withLock { $0.unsealedRows }
      if unsealed >= least { sealed += try merge(app) }
      if unsealed == 0 { try storeRecountedTimes(app) }
    }
    try deleteRetired()
    return sealed
  }

  /// Whether some app has so many unsealed rows that the log must wait.
  package var isOverfull: Bool {
    apps.contains { $0.tables.withLock { $0.unsealedRows } > Limits.unsealedRowsMax }
  }

  /// Puts the unsealed rows of an app into its days: each day is written as a new segment by itself; then one short
  /// transaction puts all of them in force and deletes the row blocks that they hold. A crash before it changes nothing.
  private func merge(_ app: AppState) throws -> Int {
    let work = app.tables.withLock { tables in
      tables.freezeTail()
      return MergeWork(
        buffers: tables.frozen, segments: tables.segments, lastBlock: tables.lastBlock,
        calendar: tables.calendar)
    }
    let parts = DaySource.byDay(work.buffers)
    var written: [Segment] = []
    for day in parts.keys.sorted() {
      written.append(try seal(day, parts[day] ?? [], work, app))
    }
    try putInForce(written, work, app)
    return work.buffers.reduce(0) { $0 + $1.rows.count }
  }

  private func seal(
    _ day: Int32, _ parts: [DayMerge.Part], _ work: MergeWork, _ app: AppState
  ) throws -> Segment {
    let old = try work.segments[day].map { segment in
      try store.read { try DayLoader.load(segment, .everything, from: $0) }
    }
    let begin = work.calendar.start(ofDay: Int(day))
    var merge = DayMerge(
      sealed: old ?? DayColumns(day: day, beginMilliseconds: begin), parts: parts)
    let columns = merge.merged().compacted().canonical()
    defer { CrashPoint.reached("merge.segmentWritten") }
    return try store.write { try SegmentTable.insert(columns, app: app.id, into: $0) }
  }

  private func putInForce(_ written: [Segment], _ work: MergeWork, _ app: AppState) throws {
    CrashPoint.reached("merge.beforeEnforce")
    try storeTimes(app) { connection in
      for segment in written {
        try SegmentTable.enforce(segment, replacing: work.segments[segment.day], in: connection)
      }
      CrashPoint.reached("merge.inEnforce")
      try EngineFile.deleteRowBlocks(app.id, upTo: work.lastBlock, in: connection)
      try EngineFile.compactDictionaries(app.id, in: connection)
      CrashPoint.reached("merge.rowBlocksDeleted")
    }
    CrashPoint.reached("merge.enforced")
    app.tables.withLock { tables in
      for segment in written { tables.segments[segment.day] = segment }
      tables.frozen.removeFirst(work.buffers.count)
    }
    retire(written.compactMap { work.segments[$0.day] })
  }

  /// First active times that a changed table of scenes made anew, of an app whose rows are all sealed.
  private func storeRecountedTimes(_ app: AppState) throws {
    guard app.tables.withLock({ $0.storedExclusion != $0.exclusion }) else { return }
    try storeTimes(app) { _ in }
  }

  /// Writes the first active times that changed, in one transaction with what else the caller writes. The log goes on
  /// meanwhile, and may change the table of scenes: they are as of now, and the file says by which table they were made.
  private func storeTimes(_ app: AppState, _ others: (StoreConnection) throws -> Void) throws {
    let (times, exclusion, stored) = app.tables.withLock { tables in
      let dirty = tables.times.dirty
      tables.times.clearDirty()
      let times = Dictionary(uniqueKeysWithValues: dirty.map { ($0, tables.times.chunk($0)) })
      return (times, tables.exclusion, tables.storedExclusion)
    }
    do {
      try store.write { connection in
        try others(connection)
        try EngineFile.storeTimes(app.id, times, exclusion, replacing: stored, in: connection)
      }
    } catch {
      app.tables.withLock { $0.times.markDirty(times.keys) }
      throw error
    }
    app.tables.withLock { $0.storedExclusion = exclusion }
  }

  private func retire(_ segments: [Segment]) {
    retired.withLock { list in
      list += segments.map { RetiredSegment(id: $0.id, segment: $0) }
    }
    for segment in segments { cache.remove(segment.id) }
  }

  /// Deletes the columns of replaced segments that no query holds any more.
  private func deleteRetired() throws {
    let free = retired.withLock { list in list.filter { $0.segment == nil }.map(\.id) }
    guard !free.isEmpty else { return }
    try store.write { connection in
      for id in free { try SegmentTable.delete(id, in: connection) }
      CrashPoint.reached("merge.retiredDeleted")
    }
    retired.withLock { list in list.removeAll { free.contains($0.id) } }
    for id in free { cache.remove(id) }
  }
}

/// What one merge puts away, as it was when the merge began.
private struct MergeWork: Sendable {
  let buffers: [SealedRows]
  let segments: [Int32: Segment]
  let lastBlock: Int64
  let calendar: AppCalendar
}
