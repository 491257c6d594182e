/// Rows of some events of a day in its order, and what a walk over users asks of each, side by side: nothing of all the other rows
/// need be read then.
struct FoundRows: Sendable {
  /// Bytes of memory of a row.
  static let bytesPerRow = 16

  /// So many of each array are in use.
  private(set) var count = 0
  private(set) var rows: [UInt32] = []
  private var users: [UInt32] = []
  /// ms of the day.
  private var times: [UInt32] = []
  private var events: [UInt32] = []

  /// The columns while they are read. Good only inside `withPointers`.
  struct Pointers {
    let count: Int
    let rows: UnsafePointer<UInt32>
    let users: UnsafePointer<UInt32>
    let times: UnsafePointer<UInt32>
    let events: UnsafePointer<UInt32>
  }

  /// Bytes of memory, about.
  var byteCount: Int { rows.count * 4 + users.count * 12 }

  /// Takes the wanted ones of some rows in the place of those before. Keeps its memory.
  ///
  /// - Parameters:
  ///   - positions: of the rows' users; not empty.
  ///   - wanted: by code of an event, 1 or 0.
  mutating func find(_ positions: Range<Int>, _ day: DayPointers, wanted: [UInt8]) {
    let begin = positions.lowerBound == 0 ? 0 : Int(day.userEnds[positions.lowerBound - 1])
    let range = begin..<Int(day.userEnds[positions.upperBound - 1])
    if rows.count < range.count { rows = Array(repeating: 0, count: range.count * 3 / 2) }
    count = day.rows(range, wanted: wanted, into: &rows)
    if users.count < count {
      users = Array(repeating: 0, count: count * 3 / 2)
      (times, events) = (users, users)
    }
    lookUp(positions.lowerBound, day)
  }

  private mutating func lookUp(_ firstPosition: Int, _ day: DayPointers) {
    var position = firstPosition
    var end = day.userEnds[position]
    let count = count
    rows.withUnsafeBufferPointer { rows in
      users.withUnsafeMutableBufferPointer { users in
        times.withUnsafeMutableBufferPointer { times in
          events.withUnsafeMutableBufferPointer { events in
            for index in 0..<count {
              let row = rows[index]
              while row >= end {
                position &+= 1
                end = day.userEnds[position]
              }
              users[index] = day.users[position]
              times[index] = day.time[Int(row)]
              events[index] = day.event[Int(row)]
            }
          }
        }
      }
    }
  }

  init() {}

  /// The rows of some events of a whole day, in no more memory than they need; nil: they are more than `most`.
  init?(_ events: Set<UInt32>, of day: DayColumns, most: Int) {
    let found = day.rows(of: events)
    guard found.count <= most else { return nil }
    count = found.count
    // A copy: there was room for every row of the day.
    rows = found.map { $0 }
    users = day.eachUser(of: rows)
    (times, self.events) = day.withPointers { day in
      (rows.map { day.time[Int($0)] }, rows.map { day.event[Int($0)] })
    }
  }

  /// Where the rows of some users stand.
  func range(of wanted: Range<UInt32>) -> Range<Int> {
    users.withUnsafeBufferPointer { users in
      let users = UnsafeBufferPointer(rebasing: users[..<count])
      let lower = Self.firstIndex(users, notBelow: wanted.lowerBound)
      return lower..<max(lower, Self.firstIndex(users, notBelow: wanted.upperBound))
    }
  }

  private static func firstIndex(_ users: UnsafeBufferPointer<UInt32>, notBelow user: UInt32) -> Int {
    var (low, high) = (0, users.count)
    while low < high {
      let middle = (low + high) / 2
      if users[middle] >= user { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Calls `body` with some of them; not where the range is empty.
  func withPointers(_ range: Range<Int>, _ body: (Pointers) -> Void) {
    precondition(range.upperBound <= count)
    if range.isEmpty { return }
    rows.withUnsafeBufferPointer { rows in
      users.withUnsafeBufferPointer { users in
        times.withUnsafeBufferPointer { times in
          events.withUnsafeBufferPointer { events in
            guard let rows = rows.baseAddress, let users = users.baseAddress,
              let times = times.baseAddress, let events = events.baseAddress
            else { preconditionFailure("rows without columns") }
            let first = range.lowerBound
            body(
              Pointers(
                count: range.count, rows: rows + first, users: users + first, times: times + first,
                events: events + first))
          }
        }
      }
    }
  }
}

extension DaySource {
  /// The rows of these events of a sealed day, kept between queries where they are not most of the day's.
  ///
  /// - Parameter day: as it was loaded, with events.
  /// - Returns: nil: they are too many, or the day has rows that are not sealed.
  func found(_ events: Set<UInt32>, in day: DayColumns) -> FoundRows? {
    guard let segment = sealedSegment(day.day), day.count > 0 else { return nil }
    return engine.cache.found(segment, events) {
      FoundRows(events, of: day, most: day.count / Limits.foundRowsShare)
    }
  }

  /// Whether nothing must be looked for to know them.
  func knowsFound(_ events: Set<UInt32>, _ day: Int32) -> Bool {
    sealedSegment(day).map { engine.cache.holdsFound($0, events) } ?? true
  }
}
