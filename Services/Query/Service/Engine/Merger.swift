import Events
import Store
import Synchronization

extension QueryEngine {
  /// Seals unsealed rows of apps that have enough of them, takes erased users out, drops old days. Called by one thread, again
  /// and again.
  ///
  /// - Parameters:
  ///   - rows: from how many unsealed rows on an app is sealed, as `choice` counts them.
  ///   - choice: which days are written then.
  ///   - retentionDays: how many days are kept, the log's last one included; 0: all.
  ///   - overfullRows: nothing is done unless there are more unsealed rows, of all apps together, at the time when no other merge
  ///     runs any more; then the apps that have most of them are sealed.
  ///   - nowMilliseconds: a last moment of the log that lies beyond it counts as this: the clock of ingest may have been set ahead.
  /// - Returns: the rows sealed.
  @discardableResult
  package func mergeIfDue(
    rows: Int? = nil, _ choice: MergeChoice = .all, overfullRows: Int? = nil, retentionDays: Int = 0,
    nowMilliseconds: Int64 = .max
  ) throws -> Int {
    try merging.withLock { _ in
      if let overfullRows, !isOverfull(overfullRows) { return 0 }
      return try mergeNow(
        max(rows ?? Limits.sealRows, 1), choice, overfullRows, retentionDays: retentionDays,
        nowMilliseconds)
    }
  }

  private func mergeNow(
    _ least: Int, _ choice: MergeChoice, _ overfullRows: Int?, retentionDays: Int, _ now: Int64
  ) throws -> Int {
    var sealed = 0
    let received = min(currentPosition.receivedMilliseconds, now)
    let (all, apps) = (unsealedRows, apps)
    let isFull = overfullRows != nil || all >= Limits.sealRowsAlways
    for app in apps {
      let (unsealed, waiting, keptFrom, removes) = app.tables.withLock { tables in
        let keptFrom = tables.firstKeptDay(retentionDays, at: received)
        let removes = !tables.erasing.isEmpty || tables.segments.keys.contains { $0 < keptFrom }
        return (tables.unsealed, tables.waiting, keptFrom, removes)
      }
      let isDue =
        isFull && unsealed.all * apps.count >= all || choice.isDue(unsealed, waiting, least: least)
      if removes || isDue {
        sealed += try merge(app, choice, isFull: isFull, keptFrom: keptFrom)
      }
      if unsealed.all == 0 { try storeRecountedTimes(app) }
      try resealOutdated(app)
    }
    try deleteRetired()
    try scrub()
    if sealed >= Limits.sealRows { Allocator.trim() }
    return sealed
  }

  /// Whether there are so many unsealed rows, of all apps together, that the log must wait.
  package func isOverfull(_ rowsMax: Int) -> Bool { unsealedRows > rowsMax }

  /// Puts the unsealed rows of an app into its days: each day is written as a new segment by itself; then one short
  /// transaction puts all of them in force and deletes the row blocks that they hold. A crash before it changes nothing.
  private func merge(
    _ app: AppState, _ choice: MergeChoice, isFull: Bool, keptFrom: Int32
  ) throws -> Int {
    let work = app.tables.withLock { MergeWork(&$0, choice, isFull: isFull, keptFrom: keptFrom) }
    CrashPoint.reached("merge.begun")
    guard !work.isEmpty else {
      app.tables.withLock { $0.waiting = $0.unsealed }
      return 0
    }
    // Not under the lock, which queries wait for.
    var outcome = MergeOutcome(rest: work.rest(), gone: work.dropped)
    for day in try (work.days + daysOfErased(work)).sorted() {
      if let segment = try seal(day, work, app, threads: choice.threads) {
        outcome.written.append(segment)
      } else if let emptied = work.segments[day] {
        outcome.gone.append(emptied)
      }
    }
    if let begun = work.sweep { outcome.sweep = try sweep(begun, work, outcome) }
    try putInForce(outcome, work, app)
    if !outcome.gone.isEmpty || !work.erasing.isEmpty {
      historyVersion.wrappingAdd(1, ordering: .releasing)
    }
    return work.buffers.reduce(0) { $0 + $1.rows.count } - outcome.rest.count
  }

  /// Days that no new rows came to but erased users have events of.
  private func daysOfErased(_ work: MergeWork) throws -> [Int32] {
    guard !work.erasing.isEmpty else { return [] }
    let others = Set(work.segments.keys).subtracting(work.days)
      .subtracting(work.dropped.map(\.day))
    return try others.filter { day in
      guard let segment = work.segments[day] else { return false }
      let users = try store.read {
        try DayLoader.load(segment, DayNeeds(rows: [], contexts: []), from: $0)
      }
      return users.holds(anyOf: work.erasing)
    }
  }

  /// - Returns: nil where no row of the day is left.
  private func seal(
    _ day: Int32, _ work: MergeWork, _ app: AppState, threads: Int = 1
  ) throws -> Segment? {
    let parts = work.buffers.compactMap { buffer in
      buffer.days[day].map { DayMerge.Part(rows: buffer.rows, selected: $0) }
    }
    let old = try work.segments[day].map { segment in
      try store.read { try DayLoader.load(segment, .everything, from: $0) }
    }
    let begin = work.calendar.start(ofDay: Int(day))
    let merge = DayMerge(
      sealed: old ?? DayColumns(day: day, beginMilliseconds: begin), parts: parts)
    let columns = merge.merged().without(work.erasing).canonical(work.exclusion)
    guard columns.count > 0 else { return nil }
    defer { CrashPoint.reached("merge.segmentWritten") }
    // Packed before the transaction: the log waits while the file is written, not while the processor works.
    return try insert(PackedDay(columns, threads: threads), app)
  }

  /// Writes a segment that is not in force, a few columns at a time, so that the log never waits for all of a large day.
  private func insert(_ day: PackedDay, _ app: AppState) throws -> Segment {
    let segment = try store.write(checkpoint: false) {
      try SegmentTable.insert(day, app: app.id, into: $0)
    }
    var rest = day.blocks[...]
    while !rest.isEmpty {
      var bytes = 0
      let some = rest.prefix { block in
        defer { bytes += block.bytes.count }
        return bytes < Limits.columnBytesPerTransaction
      }
      try store.write { try SegmentTable.insert(some, of: segment.id, into: $0) }
      rest = rest.dropFirst(some.count)
    }
    return segment
  }

  private func putInForce(_ outcome: MergeOutcome, _ work: MergeWork, _ app: AppState) throws {
    var unused: [DictionaryKind: [UInt32]] = [:]
    let blocks = outcome.rest.changes.map { change in
      (change: change, bytes: change.left.map { RowBlock.encode($0.rows) })
    }
    CrashPoint.reached("merge.beforeEnforce")
    try storeTimes(app, without: work.erasing) { connection in
      for segment in outcome.written {
        try SegmentTable.enforce(segment, replacing: work.segments[segment.day], in: connection)
      }
      try SegmentTable.withdraw(outcome.gone, in: connection)
      CrashPoint.reached("merge.inEnforce")
      for (change, bytes) in blocks {
        try EngineFile.deleteRowBlocks(
          app.id, behind: change.behind, upTo: change.upTo, in: connection)
        guard let left = change.left, let bytes else { continue }
        try EngineFile.insertRowBlock(
          app.id, number: left.lastBlock, rows: left.rows.count, bytes, in: connection)
      }
      if let day = work.droppedBefore {
        try EngineFile.storeDroppedBefore(app.id, day, in: connection)
      }
      if let sweep = outcome.sweep { unused = try eraseUnused(sweep, work, outcome.rest, app, connection) }
      CrashPoint.reached("merge.rowBlocksDeleted")
    }
    CrashPoint.reached("merge.enforced")
    try store.write { try EngineFile.compactDictionaries(app, in: $0) }
    app.tables.withLock { tables in
      for segment in outcome.written { tables.segments[segment.day] = segment }
      for segment in outcome.gone { tables.segments[segment.day] = nil }
      tables.replaceFrozen(first: work.buffers.count, with: outcome.rest.buffers)
      tables.waiting = UnsealedRows(outcome.rest.buffers)
      tables.droppedBefore = max(tables.droppedBefore, work.droppedBefore ?? .min)
      if !work.erasing.isEmpty { tables.finishErasing(work.erasing, unused) }
    }
    retire(outcome.written.compactMap { work.segments[$0.day] } + outcome.gone)
    scrubs.withLock { $0.add(app.id, work.erasing) }
  }

  /// First active times that a changed table of scenes made anew, of an app whose rows are all sealed.
  private func storeRecountedTimes(_ app: AppState) throws {
    guard app.tables.withLock({ $0.storedExclusion != $0.exclusion }) else { return }
    try storeTimes(app) { _ in }
  }

  /// Writes the first active times that changed, in one transaction with what else the caller writes. The log goes on
  /// meanwhile, and may change the table of scenes: they are as of now, and the file says by which table they were made.
  ///
  /// - Parameter erased: users that are left out.
  private func storeTimes(
    _ app: AppState, without erased: Set<UInt32> = [],
    _ others: (StoreConnection) throws -> Void
  ) throws {
    let (times, exclusion, stored) = app.tables.withLock { tables in
      var left = tables.times
      left.erase(erased)
      tables.times.clearDirty()
      let times = Dictionary(uniqueKeysWithValues: left.dirty.map { ($0, left.chunk($0)) })
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
      guard let segment = try seal(day, work, app) else { return }
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
