import Events

/// Which strings a dictionary holds. The raw values are stored.
enum DictionaryKind: Int64, CaseIterable, Sendable {
  case users = 1
  case events = 2
  case pages = 3
  /// Text of contexts and of the events' fields.
  case values = 4
  /// One byte of type, then the field's name.
  case fields = 5
}

/// Everything of one app that changes, behind one lock (`AppState`).
struct AppTables {
  private(set) var definition: AppDefinition
  var calendar: AppCalendar
  /// Of `definition`: by which `times` are made.
  private(set) var exclusion: SceneExclusion
  /// What the transaction that is being made changes.
  private var change: Change?

  /// A changed definition, and the first active times where another table of scenes makes others of them.
  private struct Change {
    let definition: AppDefinition
    let exclusion: SceneExclusion
    let times: UserTimes?
  }

  private var dictionaries: [ByteDictionary]
  /// How many entries of each dictionary are in the file.
  private(set) var storedCounts: [DictionaryKind: Int] = [:]
  /// The same once the transaction is committed.
  var pendingCounts: [DictionaryKind: Int] = [:]

  /// Rows of the transaction that is being made: not visible.
  var pending = RowBuffer()
  /// Open_ids of those from `codedRows` on, which have their numbers here instead of users until `codeUsers`.
  private var openIDs = ByteStrings()
  private var codedRows = 0
  /// The row block that holds `pending`, once it is written.
  var pendingBlock: Int64?

  /// Rows in row blocks of the file, oldest first.
  private(set) var frozen: [SealedRows] = []
  private(set) var tail = RowBuffer()
  /// The tail as the last query saw it: queries share it until more comes.
  private var sharedTail: SealedRows?
  /// Goes up where unsealed rows are taken away, by a merge or otherwise: what was put together of them holds no more.
  private(set) var generation: UInt64 = 0
  /// Those that the last merge left.
  var waiting = UnsealedRows()
  /// The last row block that is part of `frozen` or `tail`.
  var lastBlock: Int64 = 0

  /// Users whose rows are still here but are to be taken out by the next merge.
  private(set) var erasing: Set<UInt32> = []
  /// Those of the transaction that is being made.
  var pendingErasures: [UInt32] = []
  /// Those whose rows are gone since the last transaction ended: what it has read of them before must not come back.
  private var erasedLately: Set<UInt32> = []

  /// Days before it were dropped for their age.
  var droppedBefore = Int32.min
  var segments: [Int32: Segment] = [:]
  var times = UserTimes()
  /// By which the times in the file were made; nil: not known.
  var storedExclusion: SceneExclusion?
  /// 0: no events.
  var lastEventMilliseconds: Int64 = 0

  init(definition: AppDefinition, calendar: AppCalendar) {
    self.definition = definition
    self.calendar = calendar
    exclusion = SceneExclusion(definition.sources)
    dictionaries = DictionaryKind.allCases.map { _ in ByteDictionary() }
    // Their codes are the same in every app: a built-in event's is its raw value.
    for event in BuiltInEvent.allCases {
      let code = self[.events].code(event.name)
      precondition(code == UInt32(event.rawValue), "built-in events are numbered from 1 without gaps")
    }
    let stay = self[.fields].code(FieldKey.stay.text)
    precondition(stay == FieldKey.stayCode)
    for kind in DictionaryKind.allCases { storedCounts[kind] = self[kind].count }
  }

  /// Notes that the file holds all entries.
  mutating func noteAllStored() {
    for kind in DictionaryKind.allCases { storedCounts[kind] = self[kind].count }
  }

  subscript(_ kind: DictionaryKind) -> ByteDictionary {
    get { dictionaries[Int(kind.rawValue) - 1] }
    _modify { yield &dictionaries[Int(kind.rawValue) - 1] }
  }

  /// The same as `self[kind].packedStrings`, without a copy.
  func packedStrings(_ kind: DictionaryKind) -> PackedStrings? {
    dictionaries[Int(kind.rawValue) - 1].packedStrings
  }

  var unsealed: UnsealedRows { UnsealedRows(frozen, tail) }

  var unsealedRows: Int { frozen.reduce(tail.count) { $0 + $1.rows.count } }

  // MARK: Definition

  /// What rows of the transaction follow.
  var exclusionInTransaction: SceneExclusion { change?.exclusion ?? exclusion }

  var definitionInTransaction: AppDefinition { change?.definition ?? definition }

  /// Notes a definition that holds once the transaction is committed.
  ///
  /// - Parameter times: of all rows but the transaction's own, where they change.
  mutating func define(_ definition: AppDefinition, times: UserTimes?) {
    change = Change(
      definition: definition, exclusion: SceneExclusion(definition.sources),
      times: times ?? change?.times)
  }

  private mutating func commitChange() {
    guard let change else { return }
    definition = change.definition
    exclusion = change.exclusion
    if var times = change.times {
      times.erase(erasedLately)
      self.times = times
    }
    // Rows from before the change were received under the earlier table.
    if !pending.isEmpty {
      pending.flags = exclusion.flags(pending.flags, pending.context, pending.contexts)
    }
    self.change = nil
  }

  // MARK: Rows

  /// Notes whose rows come next. Returns what stands for the user in `pending` until `codeUsers`.
  mutating func addUser(_ openID: UnsafeRawBufferPointer) -> UInt32 {
    openIDs.append(openID)
    return UInt32(openIDs.count - 1)
  }

  /// Gives the pending rows the codes of their users: those of a whole transaction are looked up together.
  mutating func codeUsers() {
    guard openIDs.count > 0 else { return }
    let codes = self[.users].codes(openIDs)
    for row in codedRows..<pending.count { pending.user[row] = codes[Int(pending.user[row])] }
    codedRows = pending.count
    openIDs = ByteStrings()
  }

  /// Makes the pending rows, and a pending change of the definition, part of what queries see.
  mutating func commitPending() {
    storedCounts.merge(pendingCounts) { _, new in new }
    pendingCounts = [:]
    commitChange()
    erasedLately = []
    beginErasing(pendingErasures)
    pendingErasures = []
    guard !pending.isEmpty else { return }
    note(pending)
    sharedTail = nil
    tail.append(pending)
    if let pendingBlock { lastBlock = pendingBlock }
    discardPending()
    if tail.count >= Limits.hotBufferRowsMax { freezeTail() }
  }

  mutating func discardPending() {
    pending.removeAll()
    openIDs = ByteStrings()
    codedRows = 0
    pendingBlock = nil
    pendingCounts = [:]
    pendingErasures = []
    erasedLately = []
    change = nil
  }

  // MARK: Erasing

  /// What comes of these users from now on is of strangers, under other codes.
  mutating func beginErasing(_ users: [UInt32]) {
    self[.users].hide(users)
    erasing.formUnion(users)
  }

  /// Forgets users whose rows are gone, and strings that nothing uses.
  mutating func finishErasing(_ users: Set<UInt32>, _ unused: [DictionaryKind: [UInt32]]) {
    self[.users].erase(users)
    for (kind, codes) in unused { self[kind].erase(Set(codes)) }
    times.erase(users)
    erasedLately.formUnion(users)
    erasing.subtract(users)
    let unsealed = (frozen.map(\.rows) + [tail]).compactMap { $0.time.max() }
    lastEventMilliseconds = max(
      unsealed.max() ?? 0, segments.values.map(\.lastMilliseconds).max() ?? 0)
  }

  /// Updates what is known of users from rows that have become visible. Their flags follow `exclusion`.
  private mutating func note(_ rows: RowBuffer) {
    // Most rows follow another one of their user and come later: they change nothing.
    var last: (user: UInt32, flags: UInt8, time: Int64) = (0, 0, .max)
    for row in 0..<rows.count {
      let time = rows.time[row]
      lastEventMilliseconds = max(lastEventMilliseconds, time)
      if rows.user[row] == last.user, rows.flags[row] == last.flags, time >= last.time { continue }
      last = (rows.user[row], rows.flags[row], time)
      let flags = RowFlags(rawValue: rows.flags[row])
      if !flags.isPassive { times.note(rows.user[row], flags.traffic, at: time) }
    }
  }

  /// The first day that is kept where so many are, up to the last moment of the log.
  func firstKeptDay(_ retentionDays: Int, at receivedMilliseconds: Int64) -> Int32 {
    guard retentionDays > 0, receivedMilliseconds > 0 else { return .min }
    return Int32(clamping: calendar.day(at: receivedMilliseconds) - retentionDays + 1)
  }

  mutating func freezeTail() {
    guard !tail.isEmpty else { return }
    frozen.append(sharedTail ?? SealedRows(tail, lastBlock: lastBlock))
    tail = RowBuffer()
    sharedTail = nil
  }

  /// All unsealed rows, in the order of the log.
  mutating func visibleBuffers() -> [SealedRows] {
    if tail.isEmpty { return frozen }
    let last = sharedTail ?? SealedRows(tail, lastBlock: lastBlock)
    sharedTail = last
    return frozen + [last]
  }

  /// Puts other rows in the place of the oldest buffers: what is left of them.
  mutating func replaceFrozen(first count: Int, with rest: [SealedRows]) {
    frozen.replaceSubrange(0..<count, with: rest)
    generation += 1
  }
}

/// How many rows of an app are in no day yet.
struct UnsealedRows {
  var all = 0
  /// Of days before the last one that any of them belongs to: a log that comes by time has gone past those.
  var ofPastDays = 0

  init() {}

  init(_ buffers: [SealedRows], _ tail: RowBuffer = RowBuffer()) {
    let last = max(buffers.lazy.flatMap(\.days.keys).max() ?? .min, tail.day.max() ?? .min)
    all = buffers.reduce(tail.count) { $0 + $1.rows.count }
    ofPastDays = buffers.reduce(tail.day.count { $0 < last }) { $0 + $1.rows.count - $1.count(last) }
  }
}

/// A field of events: its name and its type. The same name may occur with several types where ingest has no rule for it.
struct FieldKey: Hashable, Sendable {
  let kind: BatchField.Kind
  let name: String

  static let stay = FieldKey(kind: .integer, name: "stay_ms")
  /// The code of `stay` in every app.
  static let stayCode: UInt32 = 1

  init(kind: BatchField.Kind, name: String) {
    self.kind = kind
    self.name = name
  }

  /// As the dictionary `fields` holds it.
  init?(text: String) {
    guard let first = text.utf8.first, let kind = BatchField.Kind(rawValue: first) else { return nil }
    self.init(kind: kind, name: String(text.dropFirst()))
  }

  var text: String { String(UnicodeScalar(kind.rawValue)) + name }

  var type: FieldType {
    switch kind {
    case .integer, .double: .number
    case .boolean: .boolean
    case .text, .missing: .text
    }
  }
}
