import Events

/// What a scan remembers of one user: where opens are cut, and the open that has not ended.
struct UserOpens {
  var cutter: OpenCutter
  var meter = CodedStayMeter()
  /// Where the open counts; nil: it does not, or there is none.
  private(set) var cell: Int?
  private(set) var series = 0
  /// ms.
  var stay: Int64 = 0
  var pages = PageSet()

  /// A user without an open that could go on.
  ///
  /// - Parameter background: when the user went to the background, `Int64.min` where not there.
  init(background: Int64) {
    cutter = OpenCutter(lastMilliseconds: Int64.min, backgroundMilliseconds: background)
  }

  mutating func begin(cell: Int?, series: Int) {
    self.cell = cell
    self.series = series
    stay = 0
    pages.removeAll()
  }
}

/// The distinct pages of an open: few as a rule.
struct PageSet {
  private static let listMax = 32

  private var list: [UInt32] = []
  private var rest: Set<UInt32> = []

  var count: Int { list.count + rest.count }

  /// Code 0, a visit without a page, is no page.
  mutating func insert(_ page: UInt32) {
    if page == 0 || list.contains(page) { return }
    if list.count < Self.listMax { list.append(page) } else { rest.insert(page) }
  }

  mutating func removeAll() {
    list.removeAll(keepingCapacity: true)
    rest = []
  }
}

/// `stay_ms` of the events of a day, read in the order of the rows.
struct StayColumn {
  private let column: FieldColumn
  private var next = 0

  init(_ day: DayColumns) { column = day.fields[FieldKey.stayCode] ?? FieldColumn() }

  /// nil: the row has none. Rows must be asked for in ascending order.
  mutating func value(_ row: Int) -> Int64? {
    while next < column.rows.count, Int(column.rows[next]) < row { next += 1 }
    guard next < column.rows.count, Int(column.rows[next]) == row else { return nil }
    return Int64(bitPattern: column.values[next])
  }
}

/// When each user went to the background, as far as a scan has seen. Outlasts the end of an open: a custom event may come
/// while the app is in the background, and the return to the foreground after it.
struct KnownBackgrounds {
  private var times: [Int64]
  private var known: [Bool]

  init(userCount: Int, _ initial: [UInt32: Int64]) {
    times = Array(repeating: Int64.min, count: userCount)
    known = Array(repeating: false, count: userCount)
    for (user, time) in initial {
      times[Int(user)] = time
      known[Int(user)] = true
    }
  }

  /// `Int64.min`: not in the background.
  func background(_ user: UInt32) -> Int64 { times[Int(user)] }
  func isKnown(_ user: UInt32) -> Bool { known[Int(user)] }
  mutating func setKnown(_ user: UInt32) { known[Int(user)] = true }

  mutating func set(_ user: UInt32, _ time: Int64) {
    times[Int(user)] = time
    if time != Int64.min { known[Int(user)] = true }
  }
}
