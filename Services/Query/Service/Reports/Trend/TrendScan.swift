import Events

/// Counts the metrics of each period and series of a trend: events, page views, shares and users by their own event; opens,
/// their stay and their depth by the open's first event, where it begins.
struct TrendScan {
  let source: DaySource
  let periods: [Period]
  let filter: FilterProgram?
  let series: TrendSeriesChoice?
  let traffic: TrafficChoice
  let control: QueryControl
  /// Whose users are listed.
  var wanted: TrendWanted?

  func run() throws -> TrendResult {
    let seriesCount = series?.seriesCount ?? 1
    let cells = periods.count * seriesCount
    guard cells <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        """
        the answer would have \(cells) points (\(periods.count) periods of \(seriesCount) series), at most \
        \(Limits.answerPointsMax): ask for a shorter range, a coarser granularity or a lower breakdown_limit
        """)
    }
    try control.charge(
      cells * MemoryLayout<TrendMetrics>.stride * 4, for: "the points of each series")
    let marker = DayMarker(filter, traffic)
    let table = PeriodTable(periods)
    let (snapshot, classes, wanted) = (source.snapshot, traffic.classes, wanted)
    var walk = OpenWalk<TrendVisitor>(
      source: source, days: table.days, control: control,
      prepare: { day, place in
        marker.marks(day, place, values: try series?.series(day))
      },
      make: { users in
        TrendVisitor(
          users, seriesCount: seriesCount, periods: table,
          firstActive: snapshot.times.first(users: users, classes: classes), wanted: wanted)
      })
    // Only events tell which filter or value those matched who came before.
    walk.walksHistory = filter != nil || series != nil || wanted?.kind == .visitTotal
    walk.bytesPerUser = TrendVisitor.bytesPerUser(seriesCount)
    walk.markBytesPerRow = (filter == nil ? 0 : 1) + (series == nil ? 0 : 4)
    let counts = try walk.run()
    var result = TrendResult(
      periods: periods, seriesCount: seriesCount, metrics: counts.metrics(cells),
      tally: marker.tally, users: counts.users.sorted(),
      lastOfOpens: counts.lastOfOpens(periods.count))
    addTotals(&result, counts.before)
    return result
  }

  /// Users ever active up to the end of a period: those before the range, and who came for the first time since.
  private func addTotals(_ result: inout TrendResult, _ before: [UInt64]) {
    for series in 0..<result.seriesCount where series > 0 || filter != nil {
      var total = before.isEmpty ? 0 : before[series]
      for period in result.periods.indices {
        total += result.metrics[period * result.seriesCount + series].visitTotal
        result.metrics[period * result.seriesCount + series].visitTotal = total
      }
    }
    if filter == nil { addTotalsOfAll(&result) }
  }

  /// Without a filter, the users ever active up to the end of a period are those first active before it.
  private func addTotalsOfAll(_ result: inout TrendResult) {
    var starting = [UInt64](repeating: 0, count: result.periods.count + 1)
    let ends = result.periods.map(\.milliseconds.upperBound)
    let userCount = source.snapshot.userCount
    for begin in stride(from: 0, to: userCount, by: Limits.usersPerChunk) {
      let users = UInt32(begin)..<UInt32(min(begin + Limits.usersPerChunk, userCount))
      for time in source.snapshot.times.first(users: users, classes: traffic.classes)
      where time != UserTimes.never {
        starting[ends.partitioningIndex { $0 > time }] += 1
      }
    }
    var total: UInt64 = 0
    for index in ends.indices {
      total += starting[index]
      result.metrics[index * result.seriesCount].visitTotal = total
    }
  }
}

/// What a scan counted: `metrics[period * seriesCount + series]`; series 0 is the whole.
struct TrendResult {
  let periods: [Period]
  let seriesCount: Int
  var metrics: [TrendMetrics]
  var tally: EventTally
  /// Those that were wanted, ascending.
  var users: [UInt32]
  /// By period: the latest event of the opens that begin in it, ms since 1970; 0 where there are none.
  var lastOfOpens: [Int64]
}

/// Finds the period of a moment.
struct PeriodTable: Sendable {
  let days: ClosedRange<Int>
  let ranges: Scratch<PeriodRange>
  /// By day of the range: its first period.
  private let firstOfDay: [Int]

  struct PeriodRange: BitwiseCopyable {
    let begin: Int64
    let end: Int64
  }

  /// - Parameter periods: of a range of days, without gaps; at least one.
  init(_ periods: [Period]) {
    days = periods[0].days.lowerBound...periods[periods.count - 1].days.upperBound
    ranges = Scratch(
      periods.map { PeriodRange(begin: $0.milliseconds.lowerBound, end: $0.milliseconds.upperBound) })
    var firstOfDay = [Int](repeating: -1, count: days.count)
    for (index, period) in periods.enumerated() {
      for day in period.days where firstOfDay[day - days.lowerBound] < 0 {
        firstOfDay[day - days.lowerBound] = index
      }
    }
    self.firstOfDay = firstOfDay
  }

  /// The period in which a day begins. Precondition: the day lies in the range.
  func first(ofDay day: Int32) -> Int { firstOfDay[Int(day) - days.lowerBound] }

  /// The period of a moment that is not before the period `first`.
  func find(_ time: Int64, from first: Int) -> Int {
    var low = first
    var high = ranges.count - 1
    while low < high {
      let middle = (low + high) / 2
      if ranges.pointer[middle].end > time { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
