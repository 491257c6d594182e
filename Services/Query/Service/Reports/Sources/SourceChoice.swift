import Events

/// The sources that get a row of their own: those with the most opens over the whole range, ties by value.
final class SourceChoice {
  private let breakdown: Breakdown
  private let values: [FieldValue?]
  private let hasOther: Bool
  /// By number of the value: its series, from 1 on.
  private var seriesByNumber: [Int32]
  private var otherSeries: Int32 { hasOther ? Int32(values.count + 1) : 0 }

  init(_ scope: ReportScope, _ breakdown: Breakdown, _ query: SourcesQuery) throws {
    self.breakdown = breakdown
    let opens = try Self.count(scope, breakdown, query.days)
    let seen = opens.indices.filter { opens[$0] > 0 }
    let valueOf = Dictionary(uniqueKeysWithValues: seen.map { ($0, breakdown.value(Int32($0))) })
    let ranked = seen.sorted { a, b in
      if opens[a] != opens[b] { return opens[a] > opens[b] }
      return FieldValue.isBefore(valueOf[a] ?? nil, valueOf[b] ?? nil)
    }
    let chosen = ranked.prefix(query.limit)
    values = chosen.map { valueOf[$0] ?? nil }
    hasOther = ranked.count > query.limit
    seriesByNumber = Array(
      repeating: hasOther ? Int32(chosen.count + 1) : 0, count: breakdown.keys.count)
    for (index, number) in chosen.enumerated() { seriesByNumber[number] = Int32(index + 1) }
  }

  /// All sources together, each, the rest.
  var seriesCount: Int { values.count + 1 + (hasOther ? 1 : 0) }

  func value(_ series: Int) -> FieldValue? { series <= values.count ? values[series - 1] : nil }
  func isOther(_ series: Int) -> Bool { series > values.count }

  /// - Throws: INVALID_ARGUMENT where the answer has no such row.
  func series(_ cell: SeriesCell) throws(QueryError) -> Int {
    if cell.isOther {
      guard hasOther else { throw .invalid("cell.other", "the report has no rest") }
      return values.count + 1
    }
    guard let index = values.firstIndex(of: cell.value) else {
      throw .invalid("cell.group", "the report has no such value")
    }
    return index + 1
  }

  /// The series of each row.
  func series(_ day: DayColumns) throws(QueryError) -> RowValues {
    let values = try breakdown.rowValues(day)
    // Values that only occur outside of the range.
    while seriesByNumber.count < breakdown.keys.count { seriesByNumber.append(otherSeries) }
    return values.map { seriesByNumber[Int($0)] }
  }

  /// Opens by number of the value.
  private static func count(
    _ scope: ReportScope, _ breakdown: Breakdown, _ days: ClosedRange<Int>
  ) throws -> [UInt64] {
    let marker = DayMarker(scope.filter, scope.traffic)
    var walk = OpenWalk<OpenCounter>(
      source: scope.source, days: days, control: scope.control,
      prepare: { day, place in
        let values = try breakdown.rowValues(day)
        return OpenCounter.Marks(
          day: marker.marks(day, place, values: values), valueCount: breakdown.keys.count)
      },
      make: { _ in OpenCounter() })
    walk.markBytesPerRow = scope.maskBytesPerRow
    let counts = try walk.run().opens
    return counts + Array(repeating: 0, count: max(0, breakdown.keys.count - counts.count))
  }
}

/// Counts the opens of each value.
private struct OpenCounter: OpenVisitor {
  struct Marks: Sendable {
    let day: DayMarks
    /// One more than the highest number of a value.
    let valueCount: Int
  }

  struct Summary: WalkSummary {
    var opens: [UInt64] = []

    mutating func merge(_ other: Summary) {
      if opens.count < other.opens.count {
        opens += Array(repeating: 0, count: other.opens.count - opens.count)
      }
      for (number, count) in other.opens.enumerated() { opens[number] += count }
    }
  }

  static var noOpen: Void { () }
  static var noVisit: Void { () }

  private var summary = Summary()
  private var day: WalkedDay?
  private var test = RowTest.nothing
  private var values: RowValues.Look?

  mutating func enter(_ day: WalkedDay, _ marks: Marks) {
    self.day = day
    test = marks.day.test
    values = marks.day.values?.look
    let missing = marks.valueCount - summary.opens.count
    if missing > 0 { summary.opens += Array(repeating: 0, count: missing) }
  }

  mutating func takeSummary() -> Summary {
    defer { summary = Summary() }
    return summary
  }

  @inline(__always)
  mutating func begin(_ row: Int, at time: Int64) {
    guard let day, let values, day.isInRange, test.holds(row, day) else { return }
    summary.opens[values(row, day)] += 1
  }

  mutating func view(_ row: Int, at time: Int64, _ open: inout Void) {}
  mutating func stay(_ visit: Void, _ milliseconds: Int64, _ open: inout Void) {}
  mutating func end(_ open: inout Void, of user: UInt32, _ end: OpenEnd) {}
}
