package import Store

/// A device of an app.
package struct DeviceKey: Hashable, BitwiseCopyable, Sendable {
  package let app: Int64
  package let device: Hash128

  package init(app: Int64, device: Hash128) {
    self.app = app
    self.device = device
  }

  // The device's bits are a keyed hash already: hashing them again would only cost time.
  package func _rawHashValue(seed: Int) -> Int {
    Int(truncatingIfNeeded: device.low ^ UInt64(bitPattern: app) &* 0x9E37_79B9_7F4A_7C15) ^ seed
  }
}

/// The windows of the devices that sent last, over those on disk (`DeviceRuns`).
///
/// What a transaction adds to windows goes into a journal with it, in one row. The windows themselves are written later, many
/// as one run: while one half of the journal fills, the windows that the other half speaks of are written, a few
/// with each transaction. Then the halves change places, and the rows that are not needed any more are deleted, a few with each
/// transaction too. After a crash the journal is applied to the windows on disk: what these know already changes nothing.
///
/// Used by the writer only.
package final class DeviceCache {
  private struct Entry {
    var key: DeviceKey
    var newer: Int32
    var older: Int32
    var isDirty: Bool
  }

  private static let none: Int32 = -1
  private static let chunkSlots = 256
  /// Windows that have changed and are passed over in search of the place of one that has not.
  private static let passedOverMax = 64
  /// Leaving windows that one transaction writes: everybody waits for it.
  private static let writtenAtOnceMax = 1_024

  private let capacity: Int
  private let journalBytesMax: Int
  private var slots: [DeviceKey: Int32] = [:]
  private var entries: [Entry] = []
  private var chunks: [UnsafeMutableRawPointer] = []
  private var newest = none
  private var oldest = none
  private var scratch: [UInt8] = []
  private var runs = DeviceRuns()

  private var journal = DeviceJournal()
  /// The half of the journal that fills, 0 or 1, its bytes, and the windows that it speaks of.
  private var half = 0
  private var halfBytes = 0
  private var dirty: [Int32] = []
  private var leaving = LeavingWindows()
  /// How full the half was when the windows began to leave.
  private var filledBefore = 0.0
  private var nextRow: Int64 = 1
  /// The first row of each half's own; those before it in the half that fills are spent.
  private var firstRows: [Int64] = [1, 1]
  /// Rows of the half that fills whose windows are all written, and how many of them are deleted.
  private var spent: Range<Int64> = 1..<1
  private var deleted = 0

  /// - Parameters:
  ///   - capacity: windows in memory; more where more have changed and are not on disk yet, as after a start.
  ///   - journalBytesMax: of one half of the journal.
  package init(capacity: Int, journalBytesMax: Int = Limits.deviceJournalBytesMax) {
    precondition(capacity > 0 && journalBytesMax > 0)
    self.capacity = capacity
    self.journalBytesMax = journalBytesMax
  }

  deinit { for chunk in chunks { chunk.deallocate() } }

  package var count: Int { entries.count }
  /// Rows that were read to look for devices, since the start.
  package var bucketReads: Int { runs.bucketReads }
  /// Runs in which the windows on disk lie.
  package var runCount: Int { runs.runCount }

  /// The slot of a device's window, loaded or made. Valid until the next call.
  package func slot(_ key: DeviceKey, _ connection: StoreConnection) throws -> Int32 {
    if let slot = slots[key] {
      touch(slot)
      return slot
    }
    let slot = makeRoom(for: key)
    memory(slot).initializeMemory(as: UInt8.self, repeating: 0, count: DeviceWindow.byteCount)
    try runs.find(key, window(slot), connection)
    return slot
  }

  package func window(_ slot: Int32) -> DeviceWindow { DeviceWindow(memory: memory(slot)) }

  /// Takes in a number that the window's `check` called new.
  ///
  /// - Parameter figures: what this says about missing numbers is added.
  package func insert(
    _ slot: Int32, _ sequence: UInt64, content: UInt64, _ figures: inout SequenceFigures
  ) {
    var visit = begin(slot)
    visit.insert(sequence, content: content, &figures)
    end(visit)
  }

  /// A number came whose event is not kept: it is not missing.
  package func excuse(_ slot: Int32, _ sequence: UInt64, _ figures: inout SequenceFigures) {
    var visit = begin(slot)
    visit.excuse(sequence, &figures)
    end(visit)
  }

  /// For many numbers of one device: looks its window up once. Nothing else is asked of the cache before `end`.
  func begin(_ slot: Int32) -> DeviceVisit {
    var taken = DeviceJournal()
    swap(&taken, &journal)
    return DeviceVisit(
      slot: slot, key: entries[Int(slot)].key, window: window(slot), journal: taken)
  }

  func end(_ visit: DeviceVisit) {
    journal = visit.journal
    if visit.hasChanged { markDirty(visit.slot) }
  }

  private func markDirty(_ slot: Int32) {
    guard !entries[Int(slot)].isDirty else { return }
    entries[Int(slot)].isDirty = true
    dirty.append(slot)
  }

  /// Forgets everything; `recover` reads it again. After a transaction that was rolled back.
  package func removeAll() {
    slots.removeAll(keepingCapacity: true)
    entries.removeAll(keepingCapacity: true)
    for chunk in chunks { chunk.deallocate() }
    chunks.removeAll()
    dirty.removeAll(keepingCapacity: true)
    leaving = LeavingWindows()
    runs = DeviceRuns()
    journal = DeviceJournal()
    (newest, oldest) = (Self.none, Self.none)
    (half, halfBytes, nextRow, filledBefore) = (0, 0, 1, 0)
    (firstRows, spent, deleted) = ([1, 1], 1..<1, 0)
  }

  // MARK: Writing

  /// Writes what the transaction changed into it.
  package func finish(_ connection: StoreConnection) throws {
    journal.close()
    guard !journal.bytes.isEmpty else { return }
    let insert = try connection.statement("INSERT INTO device_journal_\(half) VALUES (?, ?)")
    try insert.bind(1, nextRow)
    nextRow += 1
    try journal.bytes.withUnsafeBytes { bytes in
      try insert.bind(2, blob: bytes)
      try insert.run()
    }
    halfBytes += journal.bytes.count
    journal.removeAll()
    try writeLeaving(connection)
  }

  /// So many of the leaving windows that they are gone when the half that fills is full: by its bytes, or by windows. These
  /// are written before the cache needs their places: of those that fit, half are changed and half leave. Where a start has found
  /// many to leave and the half almost full, it becomes fuller than that.
  private func writeLeaving(_ connection: StoreConnection) throws {
    let share = (filled - filledBefore) / max(1 - filledBefore, 0.01)
    let due = min(Int(Double(leaving.count) * min(share, 1) * 1.25) + 1, leaving.written + Self.writtenAtOnceMax)
    try writeLeaving(upTo: due, connection)
    try runs.work(connection)
    try deleteSpent(filled, connection)
    guard filled >= 1, leaving.written == leaving.count else { return }
    startLeaving()
    changeHalves()
  }

  /// How full the half is that fills, 1 when it is to leave.
  private var filled: Double {
    max(
      Double(halfBytes) / Double(journalBytesMax), Double(dirty.count) / Double(max(capacity / 2, 1)))
  }

  /// Writes the buckets of leaving windows until so many are written, or all.
  private func writeLeaving(upTo due: Int, _ connection: StoreConnection) throws {
    guard leaving.count > 0, leaving.written < leaving.count else { return }
    if leaving.starts.isEmpty {
      let bits = try runs.begin(count: leaving.count, connection)
      leaving.arrange(bits: bits) { DevicePlace(entries[Int($0)].key) }
    }
    while leaving.written < min(due, leaving.count) {
      for slot in leaving.nextBucket({ DevicePlace(entries[Int($0)].key) }) {
        window(slot).encoded(into: &scratch)
        try runs.append(DevicePlace(entries[Int(slot)].key), scratch, connection)
        entries[Int(slot)].isDirty = false
      }
      try runs.close(upTo: leaving.bucket, connection)
    }
    if leaving.written == leaving.count { try runs.finish(connection) }
  }

  /// The rows of the other half are spent: it is the one that fills from here on.
  private func changeHalves() {
    half = 1 - half
    spent = firstRows[half]..<firstRows[1 - half]
    (firstRows[half], halfBytes, deleted, filledBefore) = (nextRow, 0, 0, 0)
  }

  /// So many spent rows that they are gone when the half is half full: all at once would be 32 MiB in one transaction, for which
  /// everybody waits.
  private func deleteSpent(_ filled: Double, _ connection: StoreConnection) throws {
    let due = min(spent.count, Int(Double(spent.count) * filled * 2) + 1)
    guard deleted < due else { return }
    let statement = try connection.statement("DELETE FROM device_journal_\(half) WHERE number < ?")
    try statement.bind(1, spent.lowerBound + Int64(due))
    try statement.run()
    deleted = due
  }

  /// The windows that have changed so far are to be written next.
  private func startLeaving() {
    precondition(leaving.written == leaving.count, "windows leave before others do")
    leaving = LeavingWindows(dirty)
    dirty.removeAll(keepingCapacity: true)
  }

  /// Writes all windows that have changed and empties the journal.
  package func saveAll(_ connection: StoreConnection) throws {
    try writeLeaving(upTo: leaving.count, connection)
    startLeaving()
    try writeLeaving(upTo: leaving.count, connection)
    for half in 0...1 { try connection.execute("DELETE FROM device_journal_\(half)") }
    (halfBytes, filledBefore) = (0, 0)
    (firstRows, spent, deleted) = ([nextRow, nextRow], nextRow..<nextRow, 0)
  }

  /// At the start: applies what a crash has left in the journal, and goes on with it. Nothing is written: a full disk does not
  /// keep the log from starting.
  package func recover(_ connection: StoreConnection) throws {
    try runs.load(connection)
    let rows = try (0...1).map { half in
      try connection.first(
        """
        SELECT (SELECT min(number) FROM device_journal_\(half)), (SELECT max(number) FROM device_journal_\(half))
        """) { $0.int64(0)..<$0.int64(1) + 1 } ?? 0..<1
    }
    half = rows[1].upperBound > rows[0].upperBound ? 1 : 0
    let (own, other) = (rows[half], rows[1 - half])
    nextRow = own.upperBound
    // Numbers rise from transaction to transaction: what lies before the other half's rows is spent.
    let first = max(own.lowerBound, other.upperBound)
    firstRows[half] = first
    firstRows[1 - half] = other.upperBound == 1 ? first : other.lowerBound
    (spent, deleted) = (min(own.lowerBound, first)..<first, 0)
    _ = try apply(1 - half, from: firstRows[1 - half], connection)
    startLeaving()
    halfBytes = try apply(half, from: first, connection)
    filledBefore = min(filled, 1)
  }

  /// - Returns: bytes of this half's rows from a number on.
  private func apply(_ half: Int, from first: Int64, _ connection: StoreConnection) throws -> Int {
    let rows = try connection.query(
      "SELECT entries FROM device_journal_\(half) WHERE number >= ? ORDER BY number", [.integer(first)]
    ) { $0.bytes(0) }
    for row in rows {
      try row.withUnsafeBytes { bytes in
        try DeviceJournal.read(bytes) { key, sequence, content in
          let slot = try slot(key, connection)
          let window = window(slot)
          // What it says about missing numbers was counted with the transaction that wrote the row.
          var figures = SequenceFigures()
          if let content {
            guard window.check(sequence, content: content) == .new else { return }
            window.insert(sequence, content: content, &figures)
          } else {
            guard window.excuse(sequence, &figures) else { return }
          }
          markDirty(slot)
        }
      }
    }
    return rows.reduce(0) { $0 + $1.count }
  }

  // MARK: Least recently used

  private func makeRoom(for key: DeviceKey) -> Int32 {
    let slot: Int32
    if entries.count >= capacity, let unchanged = oldestUnchanged() {
      slot = unchanged
      unlink(slot)
      slots[entries[Int(slot)].key] = nil
      entries[Int(slot)].key = key
    } else {
      slot = Int32(entries.count)
      if entries.count % Self.chunkSlots == 0 {
        chunks.append(
          .allocate(byteCount: DeviceWindow.byteCount * Self.chunkSlots, alignment: 8))
      }
      entries.append(Entry(key: key, newer: Self.none, older: Self.none, isDirty: false))
    }
    slots[key] = slot
    link(slot)
    return slot
  }

  /// The window whose place another may take. What has changed is not on disk, and stays; mostly it is not among the oldest. nil:
  /// none was found soon, because a transaction changes more windows than there are places for.
  private func oldestUnchanged() -> Int32? {
    for _ in 0..<Self.passedOverMax {
      let slot = oldest
      guard entries[Int(slot)].isDirty else { return slot }
      touch(slot)
    }
    return nil
  }

  private func touch(_ slot: Int32) {
    guard slot != newest else { return }
    unlink(slot)
    link(slot)
  }

  private func link(_ slot: Int32) {
    entries[Int(slot)].older = newest
    entries[Int(slot)].newer = Self.none
    if newest == Self.none { oldest = slot } else { entries[Int(newest)].newer = slot }
    newest = slot
  }

  private func unlink(_ slot: Int32) {
    let entry = entries[Int(slot)]
    if entry.newer == Self.none {
      newest = entry.older
    } else {
      entries[Int(entry.newer)].older = entry.older
    }
    if entry.older == Self.none {
      oldest = entry.newer
    } else {
      entries[Int(entry.older)].newer = entry.newer
    }
  }

  private func memory(_ slot: Int32) -> UnsafeMutableRawPointer {
    chunks[Int(slot) / Self.chunkSlots] + Int(slot) % Self.chunkSlots * DeviceWindow.byteCount
  }
}

/// One device while the events of a batch are looked at, with the journal of the transaction.
struct DeviceVisit {
  fileprivate let slot: Int32
  fileprivate let key: DeviceKey
  let window: DeviceWindow
  fileprivate var journal: DeviceJournal
  fileprivate var hasChanged = false

  /// See `DeviceCache.insert`.
  mutating func insert(_ sequence: UInt64, content: UInt64, _ figures: inout SequenceFigures) {
    window.insert(sequence, content: content, &figures)
    journal.note(key, sequence, content: content)
    hasChanged = true
  }

  /// See `DeviceCache.excuse`.
  mutating func excuse(_ sequence: UInt64, _ figures: inout SequenceFigures) {
    guard window.excuse(sequence, &figures) else { return }
    journal.note(key, sequence, content: nil)
    hasChanged = true
  }
}

/// The windows that a half of the journal speaks of, on their way to disk in the order of the buckets of their run.
private struct LeavingWindows {
  private var slots: [Int32]
  /// Where each bucket's begin, and the end. Empty before they are arranged.
  private(set) var starts: [Int32] = []
  /// Buckets that are written, and windows in them.
  private(set) var bucket = 0
  private(set) var written = 0

  init(_ slots: [Int32] = []) { self.slots = slots }

  var count: Int { slots.count }

  mutating func arrange(bits: Int, _ place: (Int32) -> DevicePlace) {
    let buckets = slots.map { Int32(place($0).bucket(bits: bits)) }
    starts = [Int32](repeating: 0, count: 1 << bits + 1)
    for bucket in buckets { starts[Int(bucket) + 1] += 1 }
    for bucket in 1..<starts.count { starts[bucket] += starts[bucket - 1] }
    var places = starts
    var arranged = slots
    for (slot, bucket) in zip(slots, buckets) {
      arranged[Int(places[Int(bucket)])] = slot
      places[Int(bucket)] += 1
    }
    slots = arranged
  }

  /// The windows of the next bucket, in the order of their places.
  mutating func nextBucket(_ place: (Int32) -> DevicePlace) -> [Int32] {
    let own = slots[Int(starts[bucket])..<Int(starts[bucket + 1])]
    bucket += 1
    written += own.count
    return own.count < 2 ? Array(own) : own.sorted { place($0) < place($1) }
  }
}
