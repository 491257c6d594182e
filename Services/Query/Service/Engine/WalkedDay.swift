import Events

/// The columns of a day while it is walked over. Its pointers are good until the walk leaves the day.
struct WalkedDay {
  let number: Int32
  /// [begin, end), ms since 1970.
  let begin: Int64
  let end: Int64
  /// Days before and behind the range that was asked for are walked for the opens that reach into or out of it.
  let place: Place
  let columns: DayPointers

  enum Place: Sendable { case before, inRange, behind }

  @inline(__always) var isInRange: Bool { place == .inRange }
  @inline(__always) var isBehindRange: Bool { place == .behind }

  /// ms since 1970.
  @inline(__always) func time(_ row: Int) -> Int64 { begin + Int64(columns.time[row]) }
  /// Code of the event's name.
  @inline(__always) func event(_ row: Int) -> Int { Int(columns.event[row]) }
  /// Code of the page, 0: none.
  @inline(__always) func page(_ row: Int) -> Int { Int(columns.page[row]) }
  @inline(__always) func context(_ row: Int) -> Int { Int(columns.context[row]) }
  @inline(__always) func isPassive(_ row: Int) -> Bool { columns.flags[row] & 1 != 0 }

  /// The first position from a range on whose user is not below another; its end where there is none.
  func position(of user: UInt32, in positions: Range<Int>) -> Int {
    var (low, high) = (positions.lowerBound, positions.upperBound)
    while low < high {
      let middle = (low + high) / 2
      if columns.users[middle] >= user { high = middle } else { low = middle + 1 }
    }
    return low
  }

  // Written out: whatever is worked out at the first use is asked for at every use whether it has been.
  static let launch = 1
  static let foreground = 2
  static let background = 3
  static let pageView = 4
  static let pageLeave = 5
  static let share = 6

  static func assertCodes() {
    let codes = [launch, foreground, background, pageView, pageLeave, share]
    let events: [BuiltInEvent] = [.launch, .foreground, .background, .pageView, .pageLeave, .share]
    precondition(codes == events.map { Int($0.rawValue) }, "a built-in event's code is its raw value")
  }
}

extension WalkedDay {
  /// Stands before the first day.
  static var none: WalkedDay {
    WalkedDay(number: 0, begin: 0, end: 0, place: .before, columns: .none)
  }

  /// Calls `body` with the day's columns; not where it has no events.
  ///
  /// - Parameter end: when the next day begins, ms since 1970.
  static func of(
    _ day: DayColumns, end: Int64, _ place: Place, _ body: (WalkedDay) -> Void
  ) {
    guard day.count > 0 else { return }
    day.withPointers { columns in
      body(
        WalkedDay(
          number: day.day, begin: day.beginMilliseconds, end: end, place: place, columns: columns))
    }
  }
}

/// `stay_ms` of the events of a day.
struct StayCursor {
  private let column: FieldColumn
  private var next: Int

  /// - Parameter row: the first that will be asked for.
  init(_ day: DayColumns, from row: Int) {
    column = day.fields[FieldKey.stayCode] ?? FieldColumn()
    next = column.rows.partitioningIndex { Int($0) >= row }
  }

  /// nil: the row has none. Rows must be asked for in ascending order.
  mutating func value(_ row: Int) -> Int64? {
    while next < column.rows.count, Int(column.rows[next]) < row { next += 1 }
    guard next < column.rows.count, Int(column.rows[next]) == row else { return nil }
    return Int64(bitPattern: column.values[next])
  }
}
