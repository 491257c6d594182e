import Store

/// What of a sealed day is read.
struct DayNeeds: Sendable {
  /// Sequence numbers: for merging only.
  var sequence = false
  var rows: RowColumns = .all
  /// Columns of contexts; nil: all.
  var contexts: Set<Int>?
  /// All fields, or these.
  var allFields = false
  var fields: Set<UInt32> = []

  static let everything = DayNeeds(sequence: true, allFields: true)

  func wants(_ field: UInt32) -> Bool { allFields || fields.contains(field) }
  func wants(context position: Int) -> Bool { contexts?.contains(position) ?? true }

  var wantsContexts: Bool { rows.contains(.context) || rows.contains(.contextRuns) }

  /// To know anew whether rows' scenes count.
  mutating func addScene() {
    rows.insert(.context)
    contexts?.insert(SceneExclusion.column)
  }
}

/// Reads a sealed day. Checks that its columns fit together, so that scans need not.
enum DayLoader {
  /// - Parameter known: what has been read of it: only the rest is.
  static func load(
    _ segment: Segment, _ needs: DayNeeds, known: DayColumns? = nil,
    from connection: StoreConnection
  ) throws -> DayColumns {
    let reader = Reader(segment: segment, connection: connection)
    var day = try known ?? reader.base()
    try reader.addContexts(needs, to: &day)
    try reader.addRows(needs, to: &day)
    for field in segment.fields where needs.wants(field) && day.fields[field] == nil {
      day.fields[field] = try reader.field(field, of: day)
    }
    return day
  }

  /// Whether a day that has been read holds all that is asked for.
  static func holds(_ day: DayColumns, _ needs: DayNeeds, of segment: Segment) -> Bool {
    day.has.isSuperset(of: needs.rows)
      && (!needs.sequence || day.sequence.count == segment.rows)
      && (!needs.wantsContexts || holdsContexts(day, needs))
      && segment.fields.allSatisfy { !needs.wants($0) || day.fields[$0] != nil }
  }

  /// Whether it holds the columns of contexts that are asked for.
  static func holdsContexts(_ day: DayColumns, _ needs: DayNeeds) -> Bool {
    (0..<ContextColumns.count).allSatisfy { !needs.wants(context: $0) || day.contexts.holds($0) }
  }

  private struct Reader {
    let source: SegmentReader

    init(segment: Segment, connection: StoreConnection) {
      source = SegmentReader(segment, from: connection)
    }

    var segment: Segment { source.segment }

    func column<T: ColumnNumber>(
      _ column: SegmentColumn, _ type: T.Type, most: Int? = nil, ends: [UInt32] = []
    ) throws -> [T] {
      try source.column(column, type, most: most, ends: ends)
    }

    func fail(_ what: String) -> FormatError { source.fail(what) }

    /// Users and flags.
    func base() throws -> DayColumns {
      var day = DayColumns(day: segment.day, beginMilliseconds: segment.beginMilliseconds)
      day.users = try column(.users, UInt32.self)
      day.userEnds = Self.ends(try column(.userCounts, UInt32.self))
      day.flags = try column(.flags, UInt8.self)
      day.exclusion = segment.exclusion
      day.has = []
      guard day.flags.count == segment.rows, day.users.count == day.userEnds.count, Int(day.userEnds.last ?? 0) == segment.rows,
        Self.isAscending(day.users), Self.isAscending(day.userEnds)
      else { throw fail("its users and flags do not fit together") }
      day.contexts = ContextTable(count: segment.contexts, isRead: false)
      return day
    }

    private static func ends(_ counts: [UInt32]) -> [UInt32] {
      var end: UInt32 = 0
      return counts.map { count in
        end &+= count
        return end
      }
    }

    private static func isAscending(_ values: [UInt32]) -> Bool {
      values.withUnsafeBufferPointer { values in
        var isAscending = true
        for index in 1..<max(values.count, 1) {
          isAscending = isAscending && values[index - 1] < values[index]
        }
        return isAscending
      }
    }

    func addRows(_ needs: DayNeeds, to day: inout DayColumns) throws {
      let missing = needs.rows.subtracting(day.has)
      if missing.contains(.time) { day.time = try rows(.time, of: day) }
      if missing.contains(.event) { day.event = try rows(.event, of: day) }
      if missing.contains(.page) { day.page = try rows(.page, of: day) }
      if missing.contains(.context) { day.context = try contexts(of: day) }
      if missing.contains(.contextRuns) { day.contextRuns = try contextRuns(of: day) }
      day.has.formUnion(missing)
      if needs.sequence, day.sequence.isEmpty {
        day.sequence = try column(.sequence, UInt64.self, ends: day.userEnds)
        guard day.sequence.count == segment.rows else { throw fail("its sequence numbers do not fit it") }
      }
    }

    private func check(_ contexts: [UInt32], areOf day: DayColumns) throws {
      guard Int(contexts.highest) < max(day.contexts.count, 1) else {
        throw fail("it has rows of contexts that it does not have")
      }
    }

    private func contexts(of day: DayColumns) throws -> [UInt32] {
      if day.has.contains(.contextRuns) { return day.contextRuns.rowContexts }
      let contexts = try rows(.rowContext, of: day)
      try check(contexts, areOf: day)
      return contexts
    }

    private func contextRuns(of day: DayColumns) throws -> ContextRuns {
      if day.has.contains(.context) { return ContextRuns(day.context, userEnds: day.userEnds) }
      let runs = try source.contextRuns(ends: day.userEnds)
      try check(runs.contexts, areOf: day)
      return runs
    }

    private func rows(_ which: SegmentColumn, of day: DayColumns) throws -> [UInt32] {
      let values = try column(which, UInt32.self, ends: day.userEnds)
      guard values.count == segment.rows else {
        throw fail("column \(which.number) does not fit the others")
      }
      return values
    }

    func addContexts(_ needs: DayNeeds, to day: inout DayColumns) throws {
      guard needs.wantsContexts else { return }
      if segment.version == 1 {
        // All columns are one: read once.
        if day.contexts.holds(0) { return }
        let words = try column(
          .contextWords, UInt32.self, most: segment.rows * ContextColumns.count)
        day.contexts = ContextTable(
          words: try ContextWords.widen(words, from: segment.contextColumns))
        return
      }
      for position in 0..<ContextColumns.count
      where needs.wants(context: position) && !day.contexts.holds(position) {
        let isPresent = segment.contextPositions.contains(position)
        let words = isPresent ? try source.contextColumn(position) : []
        guard !isPresent || words.count == day.contexts.count else {
          throw fail("column \(position) of its contexts does not fit the others")
        }
        day.contexts.set(position, words)
      }
    }

    func field(_ field: UInt32, of day: DayColumns) throws -> FieldColumn {
      let values = try column(.fieldValues(field), UInt64.self)
      let rows = try source.fieldRows(
        field, count: values.count, events: day.has.contains(.event) ? day.event : nil)
      let result = FieldColumn(rows: rows, values: values)
      guard result.rows.count == result.values.count, Self.isAscending(result.rows),
        Int(result.rows.last ?? 0) < max(segment.rows, 1)
      else { throw fail("field \(field) does not fit the rows") }
      return result
    }
  }
}
