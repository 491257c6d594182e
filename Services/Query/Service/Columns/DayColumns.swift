/// The events of one local day of one app as columns, ordered by user, time, sequence number and log offset.
///
/// Columns that nobody asked for are empty (`has`).
struct DayColumns: Sendable {
  /// Number of the local day (days since 1970-01-01).
  var day: Int32
  /// When the day begins, ms since 1970: `time` counts from it.
  var beginMilliseconds: Int64
  /// The distinct users, ascending.
  var users: [UInt32] = []
  /// `userEnds[i]`: the row behind the last one of `users[i]`.
  var userEnds: [UInt32] = []
  var time: [UInt32] = []
  /// Empty where nobody needs it: all numbers of the day are 0, or the day is only read.
  var sequence: [UInt64] = []
  var event: [UInt32] = []
  var page: [UInt32] = []
  /// Number of the row's context in `contexts`.
  var context: [UInt32] = []
  /// The same, run by run.
  var contextRuns = ContextRuns()
  var flags: [UInt8] = []
  /// By which the flags say whether a scene counts; nil: as it was when the rows were received.
  var exclusion: SceneExclusion?
  var contexts = ContextTable()
  /// By field.
  var fields: [UInt32: FieldColumn] = [:]
  /// Of each row, where it is a part of a day that lists them: looked up faster than where each user's rows end.
  var rowUsers: [UInt32] = []
  /// Which of the rows' columns were read; users and flags always are.
  var has: RowColumns = .all

  init(day: Int32, beginMilliseconds: Int64) {
    self.day = day
    self.beginMilliseconds = beginMilliseconds
  }

  var count: Int { flags.count }

  /// Rows of the user at a position of `users`.
  func rows(ofUserAt position: Int) -> Range<Int> {
    let begin = position == 0 ? 0 : Int(userEnds[position - 1])
    return begin..<Int(userEnds[position])
  }

  /// Positions of `users` whose user lies in a range.
  func positions(of range: Range<UInt32>) -> Range<Int> {
    let lower = users.partitioningIndex { $0 >= range.lowerBound }
    let upper = users.partitioningIndex { $0 >= range.upperBound }
    return lower..<upper
  }

  /// The words of a column of the contexts, one per context: `values[Int(day.context[row])]` is a row's.
  func contextColumn(_ position: Int) -> [UInt32] { contexts.column(position) }

  /// The rows' sequence numbers, where none is other than 0 too.
  var allSequences: [UInt64] {
    sequence.isEmpty ? Array(repeating: 0, count: count) : sequence
  }

  /// Bytes of memory of a row without fields of its own.
  static let bytesPerRow = 17

  /// Bytes of memory, about.
  var byteCount: Int {
    let fieldBytes = fields.values.reduce(0) { $0 + $1.rows.count * 12 }
    let numbers = time.count + event.count + page.count + context.count
    return users.count * 8 + rowUsers.count * 4 + count + numbers * 4 + sequence.count * 8
      + contextRuns.byteCount + contexts.byteCount + fieldBytes
  }
}

/// Columns of rows that a query may do without.
struct RowColumns: OptionSet, Sendable {
  let rawValue: UInt8

  static let event = RowColumns(rawValue: 1)
  static let page = RowColumns(rawValue: 2)
  /// Also needed for whatever is said of contexts.
  static let context = RowColumns(rawValue: 4)
  static let time = RowColumns(rawValue: 8)
  /// Instead of the context of each row.
  static let contextRuns = RowColumns(rawValue: 16)
  /// What a day has as it is written.
  static let all: RowColumns = [.event, .page, .context, .time]
}

/// One field of the events of a day: only the rows that have it.
struct FieldColumn: Sendable {
  /// Ascending. A row appears once.
  var rows: [UInt32] = []
  var values: [UInt64] = []
}

extension RandomAccessCollection where Index == Int {
  /// The first index at which the condition holds, where it holds from there to the end.
  func partitioningIndex(_ holds: (Element) -> Bool) -> Int {
    var low = startIndex
    var high = endIndex
    while low < high {
      let middle = (low + high) / 2
      if holds(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension [UInt32] {
  /// 0 where there are none. Several are compared at a time.
  var highest: UInt32 {
    withUnsafeBufferPointer { numbers in
      var highest: UInt32 = 0
      for number in numbers { highest = Swift.max(highest, number) }
      return highest
    }
  }
}
