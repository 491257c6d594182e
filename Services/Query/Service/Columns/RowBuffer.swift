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
    count * (4 + 8 + 8 + 4 + 4 + 4 + 4 + 1) + fieldRow.count * 16 + contexts.words.count * 8
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
    other.words.withUnsafeBufferPointer { words in
      (0..<other.count).map { number in
        let begin = number * ContextColumns.count
        return contexts.number(
          UnsafeBufferPointer(rebasing: words[begin..<begin + ContextColumns.count]))
      }
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
  init(_ rows: RowBuffer) { self.rows = rows }
}
