import Store

/// What of a sealed day is read.
struct DayNeeds: Sendable {
  /// Sequence numbers: for merging only.
  var sequence = false
  /// All fields, or these.
  var allFields = false
  var fields: Set<UInt32> = []

  static let everything = DayNeeds(sequence: true, allFields: true)

  func wants(_ field: UInt32) -> Bool { allFields || fields.contains(field) }
}

/// Reads a sealed day. Checks that its columns fit together, so that scans need not.
enum DayLoader {
  static func load(
    _ segment: Segment, _ needs: DayNeeds, from connection: StoreConnection
  ) throws -> DayColumns {
    func column<T: FixedWidthInteger>(_ column: SegmentColumn, _ type: T.Type) throws -> [T] {
      try SegmentTable.read(column, of: segment, as: type, from: connection)
    }
    var day = DayColumns(day: segment.day, beginMilliseconds: segment.beginMilliseconds)
    day.users = try column(.users, UInt32.self)
    day.userEnds = ends(try column(.userCounts, UInt32.self))
    day.time = try column(.time, UInt32.self)
    day.event = try column(.event, UInt32.self)
    day.page = try column(.page, UInt32.self)
    day.context = try column(.context, UInt32.self)
    day.flags = try column(.flags, UInt8.self)
    let words = try column(.contextWords, UInt32.self)
    let width = try SegmentTable.contextColumns(of: segment, from: connection)
    day.contextWords = try ContextWords.widen(words, from: width)
    if needs.sequence { day.sequence = try column(.sequence, UInt64.self) }
    for field in segment.fields where needs.wants(field) {
      day.fields[field] = FieldColumn(
        rows: try column(.fieldRows(field), UInt32.self),
        values: try column(.fieldValues(field), UInt64.self))
    }
    try check(day, segment)
    return day
  }

  private static func ends(_ counts: [UInt32]) -> [UInt32] {
    var end: UInt32 = 0
    return counts.map { count in
      end &+= count
      return end
    }
  }

  private static func check(_ day: DayColumns, _ segment: Segment) throws {
    let rows = segment.rows
    let contexts = day.contextWords.count / ContextColumns.count
    let fits =
      day.time.count == rows && day.event.count == rows && day.page.count == rows
      && day.context.count == rows && day.flags.count == rows
      && (day.sequence.isEmpty || day.sequence.count == rows)
      && day.users.count == day.userEnds.count && Int(day.userEnds.last ?? 0) == rows
      && day.context.allSatisfy { Int($0) < contexts }
      && day.fields.values.allSatisfy { column in
        column.rows.count == column.values.count && column.rows.allSatisfy { Int($0) < rows }
      }
    guard fits else { throw FormatError("segment \(segment.id): its columns do not fit together") }
  }
}
