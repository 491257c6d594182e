import Events
import Store
import Synchronization

/// The second half of the way of a batch: `deduplicate` and `append` (`Step`). Used by the writer only, inside its transaction. Where that
/// is rolled back for want of space, `rollBack` takes back what is in memory; after any other failure the process ends.
final class LogAppender {
  let rows: LogRowWriter
  let quarantine: QuarantineTable
  private let devices: DeviceCache
  private let ledger: Ledger
  private var ids: EventIDs
  private let idDays: EventIDDays
  /// What deduplication knows was taken back and is read again by the next transaction.
  private var mustRecover = false
  private let figures: PipelineFigures
  private let qrSightings = QRSightings()
  /// Of the batch at hand.
  private var fates: [Fate] = []
  private var tally = FateTally()
  private var sequences = SequenceFigures()
  /// The same by event, where the events of the batch are of several versions.
  private var sequencesByEvent: [(index: Int, figures: SequenceFigures)] = []
  private var problems: [EventProblem] = []
  /// Of the transaction.
  private var groupTally = FateTally()
  private let seen = SeenCounter()
  /// Of the transaction: batches of test users, and what became of their events.
  private var observed: [(PreparedBatch, [Fate], [EventProblem])] = []
  private var before = Before()

  /// What `rollBack` restores.
  private struct Before {
    var savedTypes: [(AppEntry, [(FieldName, BatchField.Kind)])] = []
    var undo: [() -> Void] = []
  }

  init(
    _ connection: StoreConnection, dedup: DedupOptions, ledgerDays: Int,
    quarantine bounds: QuarantineBounds, figures: PipelineFigures
  ) throws {
    self.figures = figures
    ledger = Ledger(daysKept: ledgerDays)
    rows = try LogRowWriter(connection)
    quarantine = try QuarantineTable(connection, bounds: bounds)
    devices = DeviceCache(capacity: dedup.cachedDevicesMax)
    try devices.recover(connection)
    idDays = dedup.idDays
    ids = EventIDs(days: dedup.idDays)
    try ids.load(connection)
  }

  /// Before a transaction's first append.
  func begin() {
    before = Before()
    rows.begin()
    ids.begin()
  }

  /// Reads what deduplication knows where a rolled back transaction took it back.
  private func recoverIfNeeded(_ connection: StoreConnection) throws {
    guard mustRecover else { return }
    devices.removeAll()
    try devices.recover(connection)
    if ids.isEmpty {
      ids = EventIDs(days: idDays)
      try ids.load(connection)
    }
    mustRecover = false
  }

  /// For what a change does in memory within its transaction: takes it back where that is rolled back.
  func onRollBack(_ undo: @escaping () -> Void) { before.undo.append(undo) }

  /// The transaction was rolled back: memory is as it was at `begin`.
  func rollBack() {
    rows.rollBack()
    quarantine.rollBack()
    devices.removeAll()
    if ids.hasChanged { ids = EventIDs(days: idDays) }
    mustRecover = true
    ledger.removeAll()
    groupTally.removeAll()
    seen.rollBack()
    qrSightings.rollBack()
    observed.removeAll()
    for (app, types) in before.savedTypes {
      app.types.withLock { $0.putBack(types) }
      app.hasUnsavedTypes.store(true, ordering: .releasing)
    }
    for undo in before.undo.reversed() { undo() }
    before = Before()
  }

  /// Deduplicates a batch, appends what is new, and answers. The answer may be given once the transaction is durable.
  func append(_ batch: PreparedBatch, _ connection: StoreConnection) throws -> [UInt8] {
    try recoverIfNeeded(connection)
    if batch.app.hasUnsavedTypes.load(ordering: .acquiring) { try saveTypes(batch.app, connection) }
    var steps = StepClock(figures, isTimed: batch.isTimed)
    try deduplicate(batch, connection)
    steps.lap(.deduplicate)
    let kept = tally[.accepted]
    if kept > 0 { try appendRow(batch, kept: kept, connection) }
    try count(batch, connection)
    if kept > 0 { countSeen(batch) }
    if batch.isOfTestUser { observed.append((batch, fates, problems)) }
    groupTally.add(tally)
    qrSightings.note(batch) { fates[$0] == .accepted }
    let answer = try CollectAnswer.encode(
      accepted: kept + tally[.duplicate], duplicates: tally[.duplicate], number: batch.number,
      problems: problems, removals: batch.removals)
    steps.lap(.append)
    return answer
  }

  /// The fates of the events of the transaction, which is on disk now. The next one begins.
  func takeTally() -> FateTally {
    defer { groupTally.removeAll() }
    return groupTally
  }

  /// Before the first transaction: what was counted at the start.
  func adopt(seen apps: [AppEntry]) { seen.adopt(apps) }

  /// The transaction is on disk.
  ///
  /// - Returns: batches of test users, to be shown once they are answered.
  func didCommit() -> [(PreparedBatch, [Fate], [EventProblem])] {
    seen.commit()
    defer { observed.removeAll() }
    return observed
  }

  private func countSeen(_ batch: PreparedBatch) {
    let received = batch.clock.receivedMilliseconds
    seen.count(batch.app) { seen in
      for (index, fate) in fates.enumerated() where fate == .accepted {
        seen.countAccepted(batch.events[index].shape, received: received)
      }
    }
  }

  // MARK: Deduplication

  /// Leaves the final fate of each event in `fates`, how often there is each in `tally`, and of those that are not in the
  /// log why in `problems`. Events to keep aside are kept at once: a later one of the batch may be the same.
  private func deduplicate(_ batch: PreparedBatch, _ connection: StoreConnection) throws {
    // Each of these once for the batch: a class's members are guarded at every use.
    var fates: [Fate] = []
    swap(&fates, &self.fates)
    fates.removeAll(keepingCapacity: true)
    var sum = SequenceFigures()
    problems = []
    sequencesByEvent.removeAll(keepingCapacity: true)
    try ids.advance(to: batch.clock.receivedMilliseconds, connection)
    var earlier = batch.problems[...]
    var visit = try slot(of: batch, connection).map(devices.begin)
    defer { if let visit { devices.end(visit) } }
    // Asked here once more: behind the record that takes consent back no event of the user may follow.
    let isTaken = batch.app.door.takes(batch.user)
    var mayHold = quarantine.mayHoldAny
    for (index, event) in batch.events.enumerated() {
      let before = event.fate == .accepted ? nil : earlier.popFirst()
      var event = event
      if !isTaken, !event.fate.isRejected { event.fate = .rejected(.noConsent) }
      var figures = SequenceFigures()
      let fate = try fate(of: event, in: batch, &visit, mayHold: mayHold, &figures, connection)
      fates.append(fate)
      if fate.reason != nil {
        try note(fate, before, index, batch, connection)
        mayHold = quarantine.mayHoldAny
      }
      if figures.isZero { continue }
      sum.add(figures)
      if !batch.ownVersions.isEmpty { sequencesByEvent.append((index, figures)) }
    }
    tally.removeAll()
    tally.count(fates)
    self.fates = fates
    sequences = sum
  }

  private func slot(of batch: PreparedBatch, _ connection: StoreConnection) throws -> Int32? {
    guard batch.device != .zero, batch.events.contains(where: { $0.sequence > 0 }) else { return nil }
    return try devices.slot(DeviceKey(app: batch.app.number, device: batch.device), connection)
  }

  /// - Parameter figures: what the event's number says about others is added.
  private func fate(
    of event: PreparedEvent, in batch: PreparedBatch, _ visit: inout DeviceVisit?, mayHold: Bool,
    _ figures: inout SequenceFigures, _ connection: StoreConnection
  ) throws -> Fate {
    if mayHold, event.fate.isDeduplicated, quarantine.mayHold(event, of: batch),
      let fate = try fate(ofKept: event, in: batch, connection)
    {
      return fate
    }
    if event.sequence > 0, let fate = visit?.fate(of: event, &figures) { return fate }
    if !event.fate.isDeduplicated { return event.fate }
    precondition(event.hasID, "the rules let no event through that has neither number nor id")
    let key = EventIDKey(event.id, app: batch.app.number)
    switch try ids.check(key, content: event.content, connection) {
    case .new:
      if event.fate == .accepted {
        ids.insert(
          key, content: event.content, isImport: batch.clock.isImport,
          lateness: batch.app.door.policy.latenessMilliseconds)
      }
      return event.fate
    case .duplicate: return .duplicate
    case .conflict: return event.fate.isRejected ? event.fate : .conflict
    }
  }

  /// What an event is by what quarantine knows: an event is answered as it was first, and one that came into the log from
  /// there has taken its number or id.
  private func fate(
    ofKept event: PreparedEvent, in batch: PreparedBatch, _ connection: StoreConnection
  ) throws -> Fate? {
    if let known = try quarantine.find(event, of: batch, connection) {
      return known.state == .replayed ? .duplicate : .quarantined(known.reason)
    }
    // Of a user who has not agreed nothing is kept.
    if event.fate.isRejected { return nil }
    return try quarantine.hasReplayed(event, of: batch, connection) ? .conflict : nil
  }

  // MARK: Ledger

  /// Counts the batch whose `fates` are known.
  private func count(_ batch: PreparedBatch, _ connection: StoreConnection) throws {
    let line = try line(of: batch.sdkVersion, batch, connection)
    if batch.ownVersions.isEmpty {
      ledger.count(tally, events: fates.count, in: line)
      ledger.count(sequences, in: line)
    } else {
      try countEach(batch, line, connection)
    }
    for removal in batch.removals where isStored(removal.removal.event) {
      ledger.count(removal.rule, in: line)
    }
  }

  private func countEach(
    _ batch: PreparedBatch, _ line: Ledger.Line, _ connection: StoreConnection
  ) throws {
    var own = batch.ownVersions[...]
    var figures = sequencesByEvent[...]
    for (index, fate) in fates.enumerated() {
      let isOwn = own.first?.index == index
      let target = isOwn ? try self.line(of: own.removeFirst().version, batch, connection) : line
      ledger.count(fate, in: target)
      if figures.first?.index == index { ledger.count(figures.removeFirst().figures, in: target) }
    }
  }

  private func line(
    of version: ByteSlice, _ batch: PreparedBatch, _ connection: StoreConnection
  ) throws -> Ledger.Line {
    let day = batch.app.calendar.day(at: batch.clock.receivedMilliseconds)
    return try batch.message.withUnsafeBytes { message in
      try ledger.line(
        app: batch.app.number, day: day, version: version.bytes(in: message), connection)
    }
  }

  /// Whether an event of the batch is now in the log or kept aside; nil: any of them.
  private func isStored(_ index: Int?) -> Bool {
    guard let index else { return fates.contains { $0 == .accepted || $0.isQuarantined } }
    return fates[index] == .accepted || fates[index].isQuarantined
  }

  // MARK: Problems

  /// Adds why an event is not in the log; one to keep aside is kept.
  ///
  /// - Parameter before: what the steps before found.
  private func note(
    _ fate: Fate, _ before: EventProblem?, _ index: Int, _ batch: PreparedBatch,
    _ connection: StoreConnection
  ) throws {
    var problem = EventProblem(
      index: index, fate: fate, text: Self.text(fate, batch.events[index]))
    if let before, before.fate == fate { problem = before }
    guard fate.isQuarantined else { return problems.append(problem) }
    let kept = try quarantine.keep(
      problem, of: batch, request: { Self.request(of: batch) { $0 == index } }, connection)
    problems.append(kept.problem)
    guard kept.isNew, fate == .quarantined(.unregistered) else { return }
    seen.count(batch.app) { seen in
      seen.countQuarantined(
        batch.events[index].shape, received: batch.clock.receivedMilliseconds)
    }
  }

  /// Of a fate that the writer found.
  private static func text(_ fate: Fate, _ event: PreparedEvent) -> EventProblem.Text {
    switch fate {
    case .conflict: .conflict(isNumbered: event.sequence > 0)
    case .rejected(.noConsent): .noConsent
    default: .belowWindow(event.sequence)
    }
  }

  // MARK: Rows

  private func appendRow(
    _ batch: PreparedBatch, kept: Int, _ connection: StoreConnection
  ) throws {
    let isWhole = kept == fates.count
    let payload =
      isWhole ? batch.message : Self.request(of: batch) { fates[$0] == .accepted }
    try rows.add(
      payload, checksum: isWhole ? batch.checksum : CRC32C.checksum(payload), events: kept,
      clock: batch.clock, of: batch.app, connection)
  }

  /// Appends the change of an app or a token.
  ///
  /// - Returns: the record's offset.
  @discardableResult
  func append(
    _ kind: RecordKind, app: String, received: Int64, _ body: [UInt8], _ connection: StoreConnection
  ) throws -> UInt64 {
    precondition(kind != .batch && kind != .batches, "batches are deduplicated")
    return try rows.append(kind, app: app, received: received, body, connection)
  }

  /// The request with some of its events: everything else in it stays, byte for byte.
  private static func request(of batch: PreparedBatch, keeping: (Int) -> Bool) -> [UInt8] {
    let message = batch.message
    var bytes: [UInt8] = []
    bytes.reserveCapacity(message.count)
    var position = 0
    for (index, event) in batch.events.enumerated() {
      let start = Int(event.encoded.offset)
      let end = start + Int(event.encoded.length)
      precondition(start >= position && end <= message.count, "events in the order of the message")
      bytes.append(contentsOf: message[position..<start])
      if keeping(index) { bytes.append(contentsOf: message[start..<end]) }
      position = end
    }
    bytes.append(contentsOf: message[position...])
    return bytes
  }

  /// Writes down the types of fields that were decided since the last time.
  func saveTypes(_ app: AppEntry, _ connection: StoreConnection) throws {
    let unsaved = app.types.withLock { types in
      app.hasUnsavedTypes.store(false, ordering: .relaxed)
      return types.takeUnsaved()
    }
    before.savedTypes.append((app, unsaved))
    for (name, kind) in unsaved {
      try connection.execute(
        "INSERT INTO field_type(app, name, type) VALUES (?, ?, ?)",
        [.integer(app.number), .text(name.text), .integer(Int64(kind.rawValue))])
    }
  }

  /// Writes what the transaction took that is not written yet.
  func finish(_ connection: StoreConnection) throws {
    try rows.flush(connection)
    try devices.finish(connection)
    try ids.finish(connection)
    try ledger.save(connection)
    try seen.save(head: rows.headBefore, connection)
    try qrSightings.save(connection)
  }

  /// At a clean end: a start then has no journal of devices to apply.
  func close(_ connection: StoreConnection) throws {
    try recoverIfNeeded(connection)
    try devices.saveAll(connection)
  }

  /// Event ids that are remembered.
  var eventIDCount: Int { ids.count }

  // MARK: Quarantine

  /// Sends an event of quarantine the rest of the way. Where it passes it is in the log, its number or id taken.
  ///
  /// - Parameters:
  ///   - batch: of this one event, from `Collector.prepareAgain`.
  ///   - old: what it was so far.
  ///   - isDry: tells, and changes nothing.
  /// - Returns: why it is not in the log by this; of a duplicate without a reason. nil: it is.
  func replay(
    _ batch: PreparedBatch, from old: Fate, waivesBelowWindow: Bool, isDry: Bool,
    _ connection: StoreConnection
  ) throws -> EventProblem? {
    precondition(batch.events.count == 1, "a row of quarantine holds one event")
    try recoverIfNeeded(connection)
    try ids.advance(to: batch.clock.receivedMilliseconds, connection)
    if batch.app.hasUnsavedTypes.load(ordering: .acquiring) { try saveTypes(batch.app, connection) }
    let event = batch.events[0]
    var figures = SequenceFigures()
    let fate = try fate(
      ofReplayed: event, in: batch, waivesBelowWindow: waivesBelowWindow, isDry: isDry, &figures,
      connection)
    if !isDry {
      let version = batch.ownVersions.first?.version ?? batch.sdkVersion
      let line = try line(of: version, batch, connection)
      // What no longer obeys the rules stays all the same: nothing in quarantine is thrown away but by an operator.
      let new = fate.isRejected ? fate.reason.map(Fate.quarantined) ?? fate : fate
      if new != old { ledger.move(from: old, to: new, in: line) }
      ledger.count(figures, in: line)
    }
    guard fate == .accepted else {
      return batch.problems.first { $0.fate == fate }
        ?? EventProblem(index: 0, fate: fate, text: Self.text(fate, event))
    }
    if !isDry {
      fates = [fate]
      try appendRow(batch, kept: 1, connection)
      countSeen(batch)
    }
    return nil
  }

  private func fate(
    ofReplayed event: PreparedEvent, in batch: PreparedBatch, waivesBelowWindow: Bool, isDry: Bool,
    _ figures: inout SequenceFigures, _ connection: StoreConnection
  ) throws -> Fate {
    guard event.fate == .accepted else { return event.fate }
    guard batch.app.door.takes(batch.user) else { return .rejected(.noConsent) }
    if try quarantine.hasReplayed(event, of: batch, connection) { return .conflict }
    guard event.sequence > 0, let slot = try slot(of: batch, connection) else {
      return try fate(ofReplayedID: event, in: batch, isDry: isDry, connection)
    }
    let window = devices.window(slot)
    switch window.check(event.sequence, content: event.content) {
    case .new:
      if !isDry { devices.insert(slot, event.sequence, content: event.content, &figures) }
      return .accepted
    // While this event lay here it was not counted: where the content is forgotten, the number is another's.
    case .duplicate: return window.remembersContent(of: event.sequence) ? .duplicate : .conflict
    case .conflict: return .conflict
    // The window cannot take it in. The row that stays in quarantine knows it.
    case .below: return waivesBelowWindow ? .accepted : .quarantined(.belowWindow)
    }
  }

  private func fate(
    ofReplayedID event: PreparedEvent, in batch: PreparedBatch, isDry: Bool,
    _ connection: StoreConnection
  ) throws -> Fate {
    let key = EventIDKey(event.id, app: batch.app.number)
    switch try ids.check(key, content: event.content, connection) {
    case .new:
      if !isDry {
        ids.insert(
          key, content: event.content, isImport: batch.clock.isImport,
          lateness: batch.app.door.policy.latenessMilliseconds)
      }
      return .accepted
    case .duplicate: return .duplicate
    case .conflict: return .conflict
    }
  }
}

extension DeviceVisit {
  /// What a numbered event is by what its device has sent; taken in where it is new.
  fileprivate mutating func fate(of event: PreparedEvent, _ figures: inout SequenceFigures) -> Fate {
    guard event.fate.isDeduplicated else {
      excuse(event.sequence, &figures)
      return event.fate
    }
    switch window.check(event.sequence, content: event.content) {
    case .new where event.fate == .accepted:
      insert(event.sequence, content: event.content, &figures)
      return .accepted
    case .new:
      excuse(event.sequence, &figures)
      return event.fate
    case .duplicate: return .duplicate
    case .conflict: return event.fate.isRejected ? event.fate : .conflict
    // Whether it was counted cannot be told: it is kept aside rather than called known and lost.
    case .below: return event.fate == .accepted ? .quarantined(.belowWindow) : event.fate
    }
  }
}
