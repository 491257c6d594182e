import Store

/// Counts what became of events, by app, day of receipt and SDK version, in memory, and adds it to the table `ledger` in the
/// transaction that stores the events. Used by the writer only.
///
/// Cost: a dictionary look-up and two or three additions per batch; an UPSERT per figure that a transaction changed.
final class Ledger {
  /// The version of all versions beyond the first `Limits.ledgerVersionsMax` of a day.
  static let otherVersion = "(other)"

  /// A line of the ledger, valid until the next `save`.
  struct Line {
    fileprivate let index: Int
  }

  private struct LineKey: Hashable {
    let day: DayKey
    /// Of the version's name, under the process's own random key.
    let version: Int
  }

  private struct DayKey: Hashable {
    let app: Int64
    let day: Int
  }

  private struct Row {
    let day: DayKey
    let version: String
    /// A handful: a search from the front beats a dictionary.
    var fates: [(fate: Fate, events: Int)] = []
    var received = 0
    var sequences = SequenceFigures()
    var removed: [PrivacyRule: Int] = [:]
    var isTouched = false

    mutating func add(_ fate: Fate, _ events: Int) {
      if let place = fates.firstIndex(where: { $0.fate == fate }) {
        fates[place].events += events
      } else {
        fates.append((fate, events))
      }
    }
  }

  private struct Day {
    var versions: [Int]
    var other: Int?
  }

  private let daysKept: Int
  private var rows: [Row] = []
  private var lines: [LineKey: Int] = [:]
  private var days: [DayKey: Day] = [:]
  private var touched: [Int] = []

  init(daysKept: Int) { self.daysKept = daysKept }

  // MARK: Counting

  /// The line of a version on a day; that of all others where the day has too many.
  ///
  /// - Parameters:
  ///   - day: days since 1970-01-01, in the app's time zone.
  ///   - version: as the batch or the event has it, at most `EventLimits.contextTextBytesMax` bytes.
  func line(
    app: Int64, day: Int, version: UnsafeRawBufferPointer, _ connection: StoreConnection
  ) throws -> Line {
    let key = LineKey(day: DayKey(app: app, day: day), version: Self.hash(version))
    if let index = lines[key] { return Line(index: index) }
    try open(key.day, connection)
    return Line(index: lines[key] ?? add(key, version))
  }

  func count(_ fates: FateTally, events: Int, in line: Line) {
    touch(line)
    rows[line.index].received += events
    for (fate, events) in fates.fates { rows[line.index].add(fate, events) }
  }

  func count(_ fate: Fate, in line: Line) {
    touch(line)
    rows[line.index].received += 1
    rows[line.index].add(fate, 1)
  }

  func count(_ figures: SequenceFigures, in line: Line) {
    guard !figures.isZero else { return }
    touch(line)
    rows[line.index].sequences.add(figures)
  }

  func count(_ rule: PrivacyRule, in line: Line) {
    touch(line)
    rows[line.index].removed[rule, default: 0] += 1
  }

  /// An event has another fate than it had when it came: a replay from quarantine.
  func move(from old: Fate, to new: Fate, in line: Line) {
    touch(line)
    rows[line.index].add(old, -1)
    rows[line.index].add(new, 1)
  }

  private func touch(_ line: Line) {
    guard !rows[line.index].isTouched else { return }
    rows[line.index].isTouched = true
    touched.append(line.index)
  }

  // MARK: Days and versions

  private static func hash(_ version: UnsafeRawBufferPointer) -> Int {
    var hasher = Hasher()
    hasher.combine(bytes: version)
    return hasher.finalize()
  }

  private static func hash(_ version: String) -> Int {
    var copy = version
    return copy.withUTF8 { hash(UnsafeRawBufferPointer($0)) }
  }

  /// Makes the versions known that a day has already, and lets go of the days that are too old.
  private func open(_ day: DayKey, _ connection: StoreConnection) throws {
    guard days[day] == nil else { return }
    let versions = try connection.query(
      "SELECT DISTINCT version FROM ledger WHERE app = ? AND day = ?",
      [.integer(day.app), .integer(Int64(day.day))]
    ) { $0.string(0) }
    days[day] = Day(versions: [])
    for version in versions { addRow(day, version) }
    if versions.isEmpty {
      try connection.execute(
        "DELETE FROM ledger WHERE app = ? AND day <= ?",
        [.integer(day.app), .integer(Int64(day.day - daysKept))])
    }
  }

  private func add(_ key: LineKey, _ version: UnsafeRawBufferPointer) -> Int {
    if let day = days[key.day], day.versions.count >= Limits.ledgerVersionsMax {
      return day.other ?? addRow(key.day, Self.otherVersion)
    }
    return addRow(key.day, String(decoding: version, as: UTF8.self))
  }

  @discardableResult
  private func addRow(_ day: DayKey, _ version: String) -> Int {
    let index = rows.count
    rows.append(Row(day: day, version: version))
    lines[LineKey(day: day, version: Self.hash(version))] = index
    if version == Self.otherVersion {
      days[day]?.other = index
    } else {
      days[day]?.versions.append(index)
    }
    return index
  }

  // MARK: Saving

  /// Adds what was counted to the table, in the current transaction.
  func save(_ connection: StoreConnection) throws {
    for index in touched {
      try save(rows[index], connection)
      rows[index].fates.removeAll(keepingCapacity: true)
      rows[index].received = 0
      rows[index].sequences = SequenceFigures()
      rows[index].removed.removeAll()
      rows[index].isTouched = false
    }
    touched.removeAll(keepingCapacity: true)
    // All of it is in the table now: what is asked for again is read again.
    if rows.count > Limits.ledgerRowsMax { removeAll() }
  }

  /// Forgets what is in memory, also what was counted and not saved: its transaction was rolled back.
  func removeAll() {
    rows.removeAll()
    lines.removeAll()
    days.removeAll()
    touched.removeAll()
  }

  private func save(_ row: Row, _ connection: StoreConnection) throws {
    let statement = try connection.statement(
      """
      INSERT INTO ledger(app, day, version, figure, count) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET count = CASE
        WHEN excluded.count > 0 AND count > 9223372036854775807 - excluded.count
        THEN 9223372036854775807 ELSE count + excluded.count END
      """)
    func add(_ figure: LedgerFigure, _ count: Int) throws {
      guard count != 0 else { return }
      try statement.bind(1, row.day.app)
      try statement.bind(2, row.day.day)
      try statement.bind(3, row.version)
      try statement.bind(4, figure.word)
      try statement.bind(5, count)
      try statement.run()
    }
    try add(.received, row.received)
    for (fate, events) in row.fates { try add(LedgerFigure(fate), events) }
    try add(.missing, Int(clamping: row.sequences.missing))
    try add(.recovered, Int(clamping: row.sequences.recovered))
    try add(.lost, Int(clamping: row.sequences.lost))
    try add(.beforeFirst, Int(clamping: row.sequences.beforeFirst))
    try add(.beforeFirstReceived, Int(clamping: row.sequences.beforeFirstReceived))
    for (rule, values) in row.removed { try add(.removed(rule), values) }
  }
}
