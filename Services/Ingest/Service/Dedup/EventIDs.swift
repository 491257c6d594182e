import Events
import RPC
import ServiceKit
package import Store

/// How long ids are remembered, days after the day of receipt on which they came.
package struct EventIDDays: Sendable, Equatable {
  /// Of events that came in time.
  package let live: Int
  /// Of imports.
  package let imported: Int

  package init(live: Int = Limits.eventIDDays, imported: Int = Limits.importIDDays) {
    precondition(live > 0 && imported >= live)
    self.live = live
    self.imported = imported
  }
}

/// The ids of events that came without a number, for a window of days.
///
/// New ids go into a journal with their transaction, one row for all of them, and into an open run in memory. A run that is
/// full, or whose day is over, is sealed: written as buckets of about 4 KiB that follow one another, a few with each
/// transaction. `EventIDIndex` says in memory which run may hold an id, so that a new id reads no page and a known one reads
/// one. A run whose days are over is forgotten at once and deleted a few rows at a time.
///
/// Used by the writer only.
package final class EventIDs {
  package enum Verdict { case new, duplicate, conflict }

  /// A run on disk.
  private struct Run {
    let number: Int64
    /// The last day of receipt on which it counts.
    var lastDay: Int64
    let bucketBits: Int
    let count: Int
  }

  /// A run that is being written.
  private struct Sealing {
    let run: Run
    let ids: [EventIDKey: UInt32]
    /// Entries in the order of their buckets; where each bucket begins, and the end.
    let entries: [EventIDEntry]
    let starts: [Int]
    var written = 0
  }

  private static let bucketShift: Int64 = 20

  private let days: EventIDDays
  private let runIDsMax: Int
  private var day: Int64 = .min
  private var open: [EventIDKey: UInt32] = [:]
  private var openLastDay: Int64 = .min
  private var sealing: Sealing?
  private var runs: [Int64: Run] = [:]
  private var leaving: [Run] = []
  private var leavingBucket: Int64 = 0
  private var indexes: [EventIDIndex] = []
  private var nextRun: Int64 = 1
  private var sealedIDs = 0
  private var scratch: [UInt8] = []
  private var journal: [UInt8] = []
  private var half = 0
  private var nextRow: Int64 = 1
  /// Reads of sealed runs.
  package private(set) var bucketReads = 0

  package init(days: EventIDDays = EventIDDays(), runIDsMax: Int = Limits.eventIDRunMax) {
    precondition(runIDsMax > 0)
    self.days = days
    self.runIDsMax = runIDsMax
  }

  /// Whether anything was taken in or written since `begin`.
  private(set) var hasChanged = false

  var isEmpty: Bool { count == 0 }

  /// A transaction begins; the one before is on disk.
  func begin() { hasChanged = false }

  /// Ids that are remembered.
  package var count: Int { open.count + (sealing?.ids.count ?? 0) + sealedIDs }

  /// Bytes of the index in memory.
  package var indexBytes: Int { indexes.reduce(0) { $0 + $1.byteCount } }

  // MARK: Looking up

  /// What an event is, without taking it in.
  package func check(
    _ key: EventIDKey, content: UInt64, _ connection: StoreConnection
  ) throws -> Verdict {
    guard let known = try content32(of: key, connection) else { return .new }
    return known == UInt32(truncatingIfNeeded: content) ? .duplicate : .conflict
  }

  /// Takes in an id that `check` called new.
  ///
  /// - Parameter lateness: the app's bound, ms: the id is remembered for longer than an event may be late.
  package func insert(
    _ key: EventIDKey, content: UInt64, isImport: Bool,
    lateness: Int64 = EventClock.latenessMilliseconds
  ) {
    hasChanged = true
    let content = UInt32(truncatingIfNeeded: content)
    open[key] = content
    let kept = max(Int64(isImport ? days.imported : days.live), lateness / 86_400_000 + 1)
    openLastDay = max(openLastDay, day + kept)
    EventIDEntry(key: key, content: content).append(to: &journal)
  }

  private func content32(of key: EventIDKey, _ connection: StoreConnection) throws -> UInt32? {
    if let content = open[key] { return content }
    if let content = sealing?.ids[key] { return content }
    var found: UInt32?
    for index in indexes.reversed() {
      let isFound = try index.search(key) { number in
        guard let run = runs[number] else { return false }
        found = try content32(of: key, in: run, connection)
        return found != nil
      }
      if isFound { return found }
    }
    return nil
  }

  private func content32(
    of key: EventIDKey, in run: Run, _ connection: StoreConnection
  ) throws -> UInt32? {
    bucketReads += 1
    let statement = try connection.statement("SELECT entries FROM event_id_bucket WHERE number = ?")
    defer { statement.reset() }
    try statement.bind(1, run.number << Self.bucketShift + Int64(key.bucket(bits: run.bucketBits)))
    guard try statement.step() else { return nil }
    let bytes = statement.blob(0)
    for index in 0..<bytes.count / EventIDEntry.byteCount {
      let entry = EventIDEntry.read(bytes, index)
      if entry.key == key { return entry.content }
    }
    return nil
  }

  // MARK: Days

  /// Tells the time of receipt of what comes next, ms since 1970. A clock that goes back changes nothing, and days on which
  /// nothing came do not count: one that is set forward by years makes no id be forgotten that a batch on its way may bring
  /// again.
  package func advance(to received: Int64, _ connection: StoreConnection) throws {
    let today = received / 86_400_000
    guard today > day else { return }
    if !open.isEmpty { try seal(connection) }
    let skipped = day == .min ? 0 : today - day - 1
    if skipped > 0 { try keepLonger(by: skipped, connection) }
    day = today
    if let sealing, sealing.run.lastDay < today { try finishSealing(connection) }
    // Ids or not: the day is known after a restart.
    hasChanged = true
    try writeJournal([], connection)
    forgetOld()
  }

  private func keepLonger(by skipped: Int64, _ connection: StoreConnection) throws {
    try finishSealing(connection)
    for number in runs.keys { runs[number]?.lastDay += skipped }
    for index in indexes { index.lastDay += skipped }
    try connection.execute(
      "UPDATE event_id_run SET last_day = last_day + ?", [.integer(skipped)])
  }

  /// Of runs that are out of their window nothing is known from here on.
  private func forgetOld() {
    let gone = runs.values.filter { $0.lastDay < day }.sorted { $0.number < $1.number }
    for run in gone { forget(run) }
    indexes.removeAll { $0.lastDay < day }
  }

  private func forget(_ run: Run) {
    runs[run.number] = nil
    sealedIDs -= run.count
    leaving.append(run)
  }

  // MARK: Writing

  /// Writes what the transaction took in into it, and a share of the work that waits.
  package func finish(_ connection: StoreConnection) throws {
    try deleteLeaving(connection)
    guard !journal.isEmpty else { return }
    try writeJournal(journal, connection)
    journal.removeAll(keepingCapacity: true)
    if let sealing {
      let filled = Double(open.count) / Double(runIDsMax)
      let buckets = sealing.starts.count - 1
      try writeBuckets(upTo: min(buckets, Int(Double(buckets) * filled * 1.25) + 1), connection)
    }
    if open.count >= runIDsMax { try seal(connection) }
  }

  private func writeJournal(_ entries: [UInt8], _ connection: StoreConnection) throws {
    let insert = try connection.statement("INSERT INTO event_id_journal_\(half) VALUES (?, ?, ?, ?)")
    try insert.bind(1, nextRow)
    nextRow += 1
    try insert.bind(2, day)
    try insert.bind(3, openLastDay)
    try entries.withUnsafeBytes { bytes in
      try insert.bind(4, blob: bytes)
      try insert.run()
    }
  }

  /// Makes the open run a sealed one, whose buckets are written from now on.
  private func seal(_ connection: StoreConnection) throws {
    hasChanged = true
    try finishSealing(connection)
    let isWhole = journal.isEmpty
    precondition(isWhole || day != .min, "ids are taken in after a day is told")
    // Ids of this transaction belong to the run's half of the journal.
    if !isWhole {
      try writeJournal(journal, connection)
      journal.removeAll(keepingCapacity: true)
    }
    sealing = makeSealing()
    open = [:]
    openLastDay = .min
    half = 1 - half
  }

  private func makeSealing() -> Sealing {
    let bits = Self.bucketBits(open.count)
    var starts = [Int](repeating: 0, count: 1 << bits + 1)
    for key in open.keys { starts[key.bucket(bits: bits) + 1] += 1 }
    for bucket in 1..<starts.count { starts[bucket] += starts[bucket - 1] }
    var places = starts
    let none = EventIDEntry(key: EventIDKey(high: 0, low: 0), content: 0)
    var entries = [EventIDEntry](repeating: none, count: open.count)
    for (key, content) in open {
      let bucket = key.bucket(bits: bits)
      entries[places[bucket]] = EventIDEntry(key: key, content: content)
      places[bucket] += 1
    }
    let run = Run(number: nextRun, lastDay: openLastDay, bucketBits: bits, count: open.count)
    nextRun += 1
    return Sealing(run: run, ids: open, entries: entries, starts: starts)
  }

  /// So that a bucket holds 128 to 256 ids, 2 to 4 KiB.
  private static func bucketBits(_ count: Int) -> Int {
    var bits = 0
    while count >> bits > 256 { bits += 1 }
    return bits
  }

  private func finishSealing(_ connection: StoreConnection) throws {
    guard let sealing else { return }
    try writeBuckets(upTo: sealing.starts.count - 1, connection)
  }

  private func writeBuckets(upTo end: Int, _ connection: StoreConnection) throws {
    guard var work = sealing else { return }
    hasChanged = true
    sealing = nil
    let insert = try connection.statement("INSERT OR REPLACE INTO event_id_bucket VALUES (?, ?)")
    while work.written < end {
      scratch.removeAll(keepingCapacity: true)
      for entry in work.entries[work.starts[work.written]..<work.starts[work.written + 1]] {
        entry.append(to: &scratch)
      }
      try insert.bind(1, work.run.number << Self.bucketShift + Int64(work.written))
      try scratch.withUnsafeBytes { bytes in
        try insert.bind(2, blob: bytes)
        try insert.run()
      }
      work.written += 1
    }
    guard work.written == work.starts.count - 1 else {
      sealing = work
      return
    }
    try sealed(work, connection)
  }

  private func sealed(_ work: Sealing, _ connection: StoreConnection) throws {
    let run = work.run
    try connection.execute(
      "INSERT INTO event_id_run VALUES (?, ?, ?, ?)",
      [.integer(run.number), .integer(run.lastDay), .integer(run.bucketBits), .integer(run.count)])
    try connection.execute("DELETE FROM event_id_journal_\(1 - half)")
    runs[run.number] = run
    sealedIDs += run.count
    let index = index(for: run)
    for entry in work.entries { index.insert(entry.key, run: run.number) }
  }

  private func index(for run: Run) -> EventIDIndex {
    if let last = indexes.last, last.lastDay == run.lastDay,
      last.hasRoom(run: run.number, ids: run.count)
    {
      return last
    }
    // As many as the last days had, or double what this day has had.
    let sameDay = indexes.filter { $0.lastDay == run.lastDay }.reduce(0) { $0 + $1.count }
    let dayBefore = indexes.filter { $0.lastDay == run.lastDay - 1 }.reduce(0) { $0 + $1.count }
    let room = min(max(run.count, sameDay, sameDay == 0 ? dayBefore : 0), Limits.eventIDIndexMax)
    let index = EventIDIndex(
      firstRun: run.number, lastDay: run.lastDay, room: max(room, run.count))
    indexes.append(index)
    return index
  }

  private func deleteLeaving(_ connection: StoreConnection) throws {
    guard let run = leaving.first else { return }
    hasChanged = true
    let first = run.number << Self.bucketShift + leavingBucket
    leavingBucket = min(leavingBucket + Int64(Limits.eventIDBucketsDeletedAtOnce), 1 << Int64(run.bucketBits))
    try connection.execute(
      "DELETE FROM event_id_bucket WHERE number >= ? AND number < ?",
      [.integer(first), .integer(run.number << Self.bucketShift + leavingBucket)])
    guard leavingBucket == 1 << Int64(run.bucketBits) else { return }
    try connection.execute("DELETE FROM event_id_run WHERE number = ?", [.integer(run.number)])
    leaving.removeFirst()
    leavingBucket = 0
  }

  // MARK: Start

  /// Reads the ids of sealed runs into the index, and the journal into the open run.
  package func load(_ connection: StoreConnection) throws {
    let stored = try connection.query(
      "SELECT number, last_day, bucket_bits, count FROM event_id_run ORDER BY number"
    ) {
      Run(number: $0.int64(0), lastDay: $0.int64(1), bucketBits: $0.int(2), count: $0.int(3))
    }
    nextRun = (stored.last?.number ?? 0) + 1
    // Buckets beyond are of a run that was not sealed to its end: it is sealed again under this number, out of the journal.
    for (position, run) in stored.enumerated() {
      runs[run.number] = run
      sealedIDs += run.count
      let rest = stored[position...].prefix { $0.lastDay == run.lastDay }.prefix(EventIDIndex.runsMax)
      try load(run, into: loading(run, rest), connection)
    }
    try recover(connection)
    // A run whose rows were not all deleted before the process ended is still in the table.
    forgetOld()
    try moveOldTable(connection)
  }

  /// The index that a run is read into: one for all runs of a day, with room for just those.
  private func loading(_ run: Run, _ rest: ArraySlice<Run>.SubSequence) -> EventIDIndex {
    if let last = indexes.last, last.lastDay == run.lastDay,
      last.hasRoom(run: run.number, ids: run.count)
    {
      return last
    }
    let index = EventIDIndex(
      firstRun: run.number, lastDay: run.lastDay, room: rest.reduce(0) { $0 + $1.count })
    indexes.append(index)
    return index
  }

  private func load(
    _ run: Run, into index: EventIDIndex, _ connection: StoreConnection
  ) throws {
    let statement = try connection.statement(
      "SELECT entries FROM event_id_bucket WHERE number >= ? AND number < ?")
    defer { statement.reset() }
    try statement.bind(1, run.number << Self.bucketShift)
    try statement.bind(2, (run.number + 1) << Self.bucketShift)
    var count = 0
    while try statement.step() {
      let bytes = statement.blob(0)
      count += bytes.count / EventIDEntry.byteCount
      // A run that is being deleted lacks buckets; more than it had it cannot have.
      guard bytes.count % EventIDEntry.byteCount == 0, count <= run.count else {
        throw StoreError(.corrupt, "run \(run.number) of event ids is damaged")
      }
      for entry in 0..<bytes.count / EventIDEntry.byteCount {
        index.insert(EventIDEntry.read(bytes, entry).key, run: run.number)
      }
    }
  }

  /// Takes up where the process ended, without writing: a full disk does not keep the log from starting. A half of the journal
  /// holds one run; where both hold one, the older one was being sealed, and is sealed anew.
  private func recover(_ connection: StoreConnection) throws {
    let last = try (0...1).map { half in
      try connection.first("SELECT max(number) FROM event_id_journal_\(half)") { $0.int64(0) } ?? 0
    }
    half = last[1] > last[0] ? 1 : 0
    nextRow = max(last[0], last[1]) + 1
    if last[1 - half] > 0 {
      try readJournal(1 - half, connection)
      sealing = makeSealing()
      open = [:]
      openLastDay = .min
    }
    try readJournal(half, connection)
  }

  private func readJournal(_ half: Int, _ connection: StoreConnection) throws {
    let select = try connection.statement(
      "SELECT day, last_day, entries FROM event_id_journal_\(half) ORDER BY number")
    defer { select.reset() }
    while try select.step() {
      let bytes = select.blob(2)
      guard bytes.count % EventIDEntry.byteCount == 0 else {
        throw StoreError(.corrupt, "a row of the event ids' journal is damaged")
      }
      for index in 0..<bytes.count / EventIDEntry.byteCount {
        let entry = EventIDEntry.read(bytes, index)
        open[entry.key] = entry.content
      }
      day = max(day, select.int64(0))
      openLastDay = max(openLastDay, select.int64(1))
    }
  }

  /// Ids of a release that kept them for ever: they are remembered as if they had come today.
  private func moveOldTable(_ connection: StoreConnection) throws {
    let select = try connection.statement("SELECT app, high, low, content FROM event_id_old")
    defer { select.reset() }
    guard try select.step() else { return }
    try advance(to: WallClock.nowMilliseconds, connection)
    repeat {
      let id = Hash128(
        high: UInt64(bitPattern: select.int64(1)), low: UInt64(bitPattern: select.int64(2)))
      insert(
        EventIDKey(id, app: select.int64(0)), content: UInt64(bitPattern: select.int64(3)),
        isImport: false)
      if open.count >= runIDsMax { try finish(connection) }
    } while try select.step()
    try finish(connection)
    select.reset()
    try connection.execute("DELETE FROM event_id_old")
  }
}
