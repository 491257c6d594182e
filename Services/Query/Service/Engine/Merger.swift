import Events
import Store
import Synchronization

extension QueryEngine {
  /// Seals unsealed rows of apps that have enough of them. Called by one thread, again and again.
  ///
  /// - Parameters:
  ///   - rows: from how many unsealed rows on an app is sealed.
  ///   - leavesFew: days that few rows came to wait for more.
  /// - Returns: the rows sealed.
  @discardableResult
  package func mergeIfDue(rows: Int? = nil, leavesFew: Bool = false) throws -> Int {
    try merging.withLock { _ in
      try mergeNow(max(rows ?? Limits.sealRows, 1), leavesFew: leavesFew)
    }
  }

  private func mergeNow(_ least: Int, leavesFew: Bool) throws -> Int {
    var sealed = 0
    for app in apps {
      let (unsealed, waiting) = app.tables.withLock { ($0.unsealedRows, $0.waitingRows) }
      if unsealed - (leavesFew ? waiting : 0) >= least {
        sealed += try merge(app, leavesFew: leavesFew)
      }
      if unsealed == 0 { try storeRecountedTimes(app) }
      try resealOutdated(app)
    }
    try deleteRetired()
    if sealed >= Limits.sealRows { Allocator.trim() }
    return sealed
  }

  /// Whether some app has so many unsealed rows that the log must wait.
  package var isOverfull: Bool {
    apps.contains { $0.tables.withLock { $0.unsealedRows } > Limits.unsealedRowsMax }
  }

  /// Puts the unsealed rows of an app into its days: each day is written as a new segment by itself; then one short
  /// transaction puts all of them in force and deletes the row blocks that they hold. A crash before it changes nothing.
  private func merge(_ app: AppState, leavesFew: Bool) throws -> Int {
    let work = app.tables.withLock { MergeWork(&$0, isWhole: !leavesFew) }
    guard !work.days.isEmpty else {
      app.tables.withLock { $0.waitingRows = $0.unsealedRows }
      return 0
    }
    let written = try work.days.map { try seal($0, work, app) }
    try putInForce(written, work, app)
    return work.buffers.reduce(0) { $0 + $1.rows.count } - work.rest.count
  }

  private func seal(_ day: Int32, _ work: MergeWork, _ app: AppState) throws -> Segment {
    let parts = work.buffers.compactMap { buffer in
      buffer.indices[day].map { DayMerge.Part(rows: buffer.rows, indices: $0) }
    }
    let old = try work.segments[day].map { segment in
      try store.read { try DayLoader.load(segment, .everything, from: $0) }
    }
    let begin = work.calendar.start(ofDay: Int(day))
    let merge = DayMerge(
      sealed: old ?? DayColumns(day: day, beginMilliseconds: begin), parts: parts)
    let columns = merge.merged().canonical(work.exclusion)
    defer { CrashPoint.reached("merge.segmentWritten") }
    // Packed before the transaction: the log waits while the file is written, not while the processor works.
    return try insert(PackedDay(columns), app)
  }

  /// Writes a segment that is not in force, a few columns at a time, so that the log never waits for all of a large day.
  private func insert(_ day: PackedDay, _ app: AppState) throws -> Segment {
    let segment = try store.write(checkpoint: false) {
      try SegmentTable.insert(day, app: app.id, into: $0)
    }
    var rest = day.columns[...]
    while !rest.isEmpty {
      var bytes = 0
      let some = rest.prefix { column in
        defer { bytes += column.bytes.count }
        return bytes < Limits.columnBytesPerTransaction
      }
      try store.write { try SegmentTable.insert(some, of: segment.id, into: $0) }
      rest = rest.dropFirst(some.count)
    }
    return segment
  }

  private func putInForce(_ written: [Segment], _ work: MergeWork, _ app: AppState) throws {
    let rest = work.rest.isEmpty ? nil : RowBlock.encode(work.rest)
    CrashPoint.reached("merge.beforeEnforce")
    try storeTimes(app) { connection in
      for segment in written {
        try SegmentTable.enforce(segment, replacing: work.segments[segment.day], in: connection)
      }
      CrashPoint.reached("merge.inEnforce")
      try EngineFile.deleteRowBlocks(app.id, upTo: work.lastBlock, in: connection)
      if let rest {
        // In the place of the last of them, so that it comes before what the log brought meanwhile.
        try EngineFile.insertRowBlock(
          app.id, number: work.lastBlock, rows: work.rest.count, rest, in: connection)
      }
      CrashPoint.reached("merge.rowBlocksDeleted")
    }
    CrashPoint.reached("merge.enforced")
    try store.write { try EngineFile.compactDictionaries(app, in: $0) }
    app.tables.withLock { tables in
      for segment in written { tables.segments[segment.day] = segment }
      tables.replaceFrozen(
        first: work.buffers.count, with: work.rest.isEmpty ? [] : [SealedRows(work.rest)])
      tables.waitingRows = work.rest.count
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
      let packed = EngineFile.pack(times)
      try store.write { connection in
        try others(connection)
        try EngineFile.storeTimes(app.id, packed, exclusion, replacing: stored, in: connection)
      }
    } catch {
      app.tables.withLock { $0.times.markDirty(times.keys) }
      throw error
    }
    app.tables.withLock { $0.storedExclusion = exclusion }
  }

  /// Writes the days anew whose flags follow a table of scenes that holds no more: until then queries make them anew each
  /// time.
  private func resealOutdated(_ app: AppState) throws {
    while true {
      let work = app.tables.withLock { MergeWork(&$0, outdated: ()) }
      guard let day = work.days.first else { return }
      let segment = try seal(day, work, app)
      try store.write { connection in
        try SegmentTable.enforce(segment, replacing: work.segments[day], in: connection)
      }
      app.tables.withLock { $0.segments[day] = segment }
      retire(work.segments[day].map { [$0] } ?? [])
    }
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
    for id in free {
      try store.write { connection in
        try SegmentTable.delete(id, in: connection)
        CrashPoint.reached("merge.retiredDeleted")
      }
      retired.withLock { list in list.removeAll { $0.id == id } }
      cache.remove(id)
    }
  }
}
