/// Events as columns in the order of the log: what has been received but not yet been sealed into days.
struct RowBuffer: Sendable {
  var user: [UInt32] = []
  /// Corrected event time, ms since 1970.
  var time: [Int64] = []
  /// The device's own count of its events; 0: none.
  var sequence: [UInt64] = []
  /// Local day of the app's time zone that the event belongs to.
  var day: [Int32] = []
  var event: [UInt32] = []
  /// 0: none.
  var page: [UInt32] = []
  /// Number in `contexts`.
  var context: [UInt32] = []
  var flags: [UInt8] = []
  var contexts = ContextSet()

  /// The events' own fields: of which row, which field, its value. Rows ascend.
  var fieldRow: [UInt32] = []
  var fieldID: [UInt32] = []
  /// A dictionary code, an integer, the bits of a double, or 0 and 1.
  var fieldValue: [UInt64] = []

  init() {}

  var count: Int { user.count }
  var isEmpty: Bool { user.isEmpty }

  /// Bytes of memory, about.
  var byteCount: Int {
    count * (4 + 8 + 8 + 4 + 4 + 4 + 4 + 1) + fieldRow.count * 16 + contexts.byteCount
  }

  /// Behind the last field of each row. Empty: no row has any.
  var fieldEnds: [UInt32] {
    if fieldRow.isEmpty { return [] }
    var ends = [UInt32](repeating: 0, count: count)
    for row in fieldRow { ends[Int(row)] += 1 }
    for row in 1..<max(count, 1) { ends[row] += ends[row - 1] }
    return ends
  }

  /// Adds the rows of another buffer behind these.
  mutating func append(_ other: RowBuffer) {
    let base = UInt32(count)
    user += other.user
    time += other.time
    sequence += other.sequence
    day += other.day
    event += other.event
    page += other.page
    flags += other.flags
    let numbers = renumbered(other.contexts)
    context.append(contentsOf: other.context.lazy.map { numbers[Int($0)] })
    fieldRow.append(contentsOf: other.fieldRow.lazy.map { $0 + base })
    fieldID += other.fieldID
    fieldValue += other.fieldValue
  }

  private mutating func renumbered(_ other: ContextSet) -> [UInt32] {
    (0..<other.count).map { number($0, of: other) }
  }

  /// Adds some rows of another buffer, ascending, behind these.
  mutating func append(_ other: RowBuffer, _ rows: RowSelection) {
    var numbers = [UInt32](repeating: .max, count: other.contexts.count)
    var places = [UInt32](repeating: .max, count: other.fieldRow.isEmpty ? 0 : other.count)
    for row in rows {
      let index = Int(row)
      if !places.isEmpty { places[index] = UInt32(count) }
      let old = Int(other.context[index])
      if numbers[old] == .max { numbers[old] = number(old, of: other.contexts) }
      user.append(other.user[index])
      time.append(other.time[index])
      sequence.append(other.sequence[index])
      day.append(other.day[index])
      event.append(other.event[index])
      page.append(other.page[index])
      context.append(numbers[old])
      flags.append(other.flags[index])
    }
    for index in other.fieldRow.indices {
      let place = places[Int(other.fieldRow[index])]
      guard place != .max else { continue }
      fieldRow.append(place)
      fieldID.append(other.fieldID[index])
      fieldValue.append(other.fieldValue[index])
    }
  }

  private mutating func number(_ old: Int, of other: ContextSet) -> UInt32 {
    other.words.withUnsafeBufferPointer { words in
      let begin = old * ContextColumns.count
      return contexts.number(
        UnsafeBufferPointer(rebasing: words[begin..<begin + ContextColumns.count]))
    }
  }

  /// Empties the buffer but keeps its memory.
  mutating func removeAll() {
    user.removeAll(keepingCapacity: true)
    time.removeAll(keepingCapacity: true)
    sequence.removeAll(keepingCapacity: true)
    day.removeAll(keepingCapacity: true)
    event.removeAll(keepingCapacity: true)
    page.removeAll(keepingCapacity: true)
    context.removeAll(keepingCapacity: true)
    flags.removeAll(keepingCapacity: true)
    contexts = ContextSet()
    fieldRow.removeAll(keepingCapacity: true)
    fieldID.removeAll(keepingCapacity: true)
    fieldValue.removeAll(keepingCapacity: true)
  }
}

/// A row buffer that will not change any more, shared between snapshots.
final class SealedRows: Sendable {
  let rows: RowBuffer
  /// The last of the row blocks that hold its rows.
  let lastBlock: Int64
  let days: [Int32: RowSelection]

  init(_ rows: RowBuffer, lastBlock: Int64) {
    self.rows = rows
    self.lastBlock = lastBlock
    var days: [Int32: RowSelection] = [:]
    var row = 0
    while row < rows.count {
      let day = rows.day[row]
      let end = rows.day[row...].firstIndex { $0 != day } ?? rows.count
      days[day, default: RowSelection()].append(UInt32(row)..<UInt32(end))
      row = end
    }
    self.days = days
  }

  /// How many of its rows belong to a day.
  func count(_ day: Int32) -> Int { days[day]?.count ?? 0 }
}

/// Some rows of a buffer, ascending: neighbours mostly belong to the same day.
struct RowSelection: Sequence, Sendable {
  private(set) var ranges: [Range<UInt32>] = []
  private(set) var count = 0

  /// Adds rows that lie behind all that are selected.
  mutating func append(_ rows: Range<UInt32>) {
    precondition((ranges.last?.upperBound ?? 0) <= rows.lowerBound, "selected rows ascend")
    if let last = ranges.last, last.upperBound == rows.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<rows.upperBound
    } else {
      ranges.append(rows)
    }
    count += rows.count
  }

  /// The same without the first ones.
  func dropFirst(_ skipped: Int) -> RowSelection {
    var result = RowSelection()
    var rest = skipped
    for rows in ranges {
      let some = rows.dropFirst(rest)
      rest -= rows.count - some.count
      if !some.isEmpty { result.append(some) }
    }
    return result
  }

  func makeIterator() -> FlattenSequence<[Range<UInt32>]>.Iterator { ranges.joined().makeIterator() }
}
