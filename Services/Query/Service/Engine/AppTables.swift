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
  /// The row block that holds `pending`, once it is written.
  var pendingBlock: Int64?

  /// Rows in row blocks of the file, oldest first.
  var frozen: [SealedRows] = []
  var tail = RowBuffer()
  /// The last row block that is part of `frozen` or `tail`.
  var lastBlock: Int64 = 0

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
    if let times = change.times { self.times = times }
    // Rows from before the change were received under the earlier table.
    if !pending.isEmpty {
      pending.flags = exclusion.flags(pending.flags, pending.context, pending.contexts.words)
    }
    self.change = nil
  }

  // MARK: Rows

  /// Makes the pending rows, and a pending change of the definition, part of what queries see.
  mutating func commitPending() {
    storedCounts.merge(pendingCounts) { _, new in new }
    commitChange()
    guard !pending.isEmpty else { return }
    note(pending)
    tail.append(pending)
    if let pendingBlock { lastBlock = max(lastBlock, pendingBlock) }
    discardPending()
    if tail.count >= Limits.hotBufferRowsMax { freezeTail() }
  }

  mutating func discardPending() {
    pending.removeAll()
    pendingBlock = nil
    pendingCounts = [:]
    change = nil
  }

  /// Updates what is known of users from rows that have become visible. Their flags follow `exclusion`.
  private mutating func note(_ rows: RowBuffer) {
    for row in 0..<rows.count {
      lastEventMilliseconds = max(lastEventMilliseconds, rows.time[row])
      let flags = RowFlags(rawValue: rows.flags[row])
      if !flags.isPassive { times.note(rows.user[row], flags.traffic, at: rows.time[row]) }
    }
  }

  mutating func freezeTail() {
    guard !tail.isEmpty else { return }
    frozen.append(SealedRows(tail))
    tail = RowBuffer()
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
