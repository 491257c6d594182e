import Events

/// One pass over the days of a range: cuts each user's events into opens, counts, and keeps the users of the current
/// period apart. Days come in order, users within a day too, so only the users whose open may go on into the next day are
/// remembered from day to day.
final class TrendScan {
  private(set) var result: TrendResult

  private let source: DaySource
  private let filter: FilterProgram?
  private let series: TrendSeriesChoice?
  private let traffic: TrafficChoice
  private let control: QueryControl
  private let counted: [Bool]
  private let rules: SessionRules
  private let lookBack: LookBack
  private let seriesCount: Int

  /// By user: first active time, of the traffic that counts.
  private let firstActive: [Int64]
  /// By series: users of the current period.
  private var active: [UserSet]
  private var sharers: [UserSet]
  /// By series: users ever active so far. Of the whole without a filter they follow from `firstActive`.
  private var ever: [UserSet]
  private var charged = 0

  /// Users whose latest open may go on.
  private var carried: [UInt32: UserOpens] = [:]
  private var backgrounds: KnownBackgrounds
  private var missing: Set<UInt32> = []

  init(
    source: DaySource, periods: [Period], filter: FilterProgram?, series: TrendSeriesChoice?,
    traffic: TrafficChoice, control: QueryControl, knownBackgrounds: [UInt32: Int64]
  ) throws {
    self.source = source
    self.filter = filter
    self.series = series
    self.traffic = traffic
    self.control = control
    counted = traffic.countedByFlags
    rules = source.snapshot.rules
    seriesCount = series?.seriesCount ?? 1
    let users = source.snapshot.userCount
    let cells = periods.count * seriesCount
    guard cells <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        """
        the answer would have \(cells) points (\(periods.count) periods of \(seriesCount) series), at most \
        \(Limits.answerPointsMax): ask for a shorter range, a coarser granularity or a lower breakdown_limit
        """)
    }
    try control.charge(cells * MemoryLayout<TrendMetrics>.stride, for: "the points of each series")
    try control.charge(users * 17, for: "the state of each user")
    result = TrendResult(
      periods: periods, seriesCount: seriesCount,
      metrics: Array(repeating: TrendMetrics(), count: cells), tally: EventTally())
    firstActive = source.snapshot.times.first(userCount: users, classes: traffic.classes)
    let empty = [UserSet](repeating: UserSet(userCount: users), count: seriesCount)
    active = empty
    sharers = empty
    ever = empty
    backgrounds = KnownBackgrounds(userCount: users, knownBackgrounds)
    let last = periods[periods.count - 1].days.upperBound
    lookBack = try LookBack(source, range: periods[0].days.lowerBound...last)
  }

  /// - Returns: users of whom it must be known when they went to the background before the scan began; empty: the result
  ///   is right.
  func run() throws -> Set<UInt32> {
    let periods = result.periods
    let first = periods[0].days.lowerBound
    try countHistory(before: first)
    let followed = lookBack.firstDay.map { source.days(in: Int($0)..<first) } ?? []
    for number in followed { follow(try source.load(number), lookBack.users) }
    for (index, period) in periods.enumerated() {
      for number in source.days(in: period.days.lowerBound..<period.days.upperBound + 1) {
        try count(source.load(number), period: index)
      }
      finish(period: index)
    }
    try followOpens(after: periods[periods.count - 1].days.upperBound)
    if filter == nil { countTotals() }
    return missing
  }

  // MARK: Users

  /// Users active before the range, by series: only events tell which filter or value they matched.
  private func countHistory(before first: Int) throws {
    guard filter != nil || series != nil else { return }
    for number in source.days where number < first {
      let day = try source.load(number)
      let mask = filter?.mask(day)
      let seriesOf = try series?.series(day)
      for position in day.users.indices {
        for row in day.rows(ofUserAt: position)
        where counted[Int(day.flags[row])] && mask?[row] != 0 && !day.isPassive(row) {
          noteEver(day.users[position], 0)
          if let series = seriesOf?[row], series > 0 { noteEver(day.users[position], Int(series)) }
        }
      }
      try chargeSets()
    }
  }

  private func noteEver(_ user: UInt32, _ series: Int) {
    if series > 0 || filter != nil { _ = ever[series].insert(user) }
  }

  /// Without a filter, the users ever active up to the end of a period are those first active before it.
  private func countTotals() {
    var starting = [UInt64](repeating: 0, count: result.periods.count + 1)
    let ends = result.periods.map(\.milliseconds.upperBound)
    for time in firstActive where time != UserTimes.never {
      starting[ends.partitioningIndex { $0 > time }] += 1
    }
    var total: UInt64 = 0
    for index in ends.indices {
      total += starting[index]
      result.metrics[index * seriesCount].visitTotal = total
    }
  }

  private func finish(period: Int) {
    for series in 0..<seriesCount {
      let cell = period * seriesCount + series
      result.metrics[cell].visitUsers = UInt64(active[series].count)
      result.metrics[cell].shareUsers = UInt64(sharers[series].count)
      result.metrics[cell].visitTotal = UInt64(ever[series].count)
      active[series].removeAll()
      sharers[series].removeAll()
    }
  }

  private func chargeSets() throws {
    let bytes = (active + sharers + ever).reduce(0) { $0 + $1.byteCount }
    try control.charge(bytes - charged, for: "the users of each series")
    charged = bytes
  }

  // MARK: Days

  private func count(_ day: DayColumns, period: Int) throws {
    let mask = filter?.mask(day)
    let seriesOf = try series?.series(day)
    result.tally.add(day, traffic, mask: mask)
    var walk = Walk(
      day: day, end: source.begin(of: day.day + 1), stays: StayColumn(day), cell: period * seriesCount, mask: mask, series: seriesOf)
    for position in day.users.indices {
      let user = day.users[position]
      countEvents(user, day.rows(ofUserAt: position), walk, period)
      walkOpens(user, day.rows(ofUserAt: position), &walk)
    }
    dropEnded(before: source.begin(of: day.day + 1))
    try chargeSets()
  }

  /// Events, page views, shares and users: those whose own event matches.
  private func countEvents(_ user: UInt32, _ rows: Range<Int>, _ walk: Walk, _ period: Int) {
    let range = result.periods[period].milliseconds
    let isNew = range.contains(firstActive[Int(user)])
    let first = period * seriesCount
    // Of the whole, a user's events are added up first; of a series each is counted by itself.
    var whole = UserCounts()
    for row in rows where counted[Int(walk.day.flags[row])] && walk.mask?[row] != 0 {
      var one = UserCounts()
      one.add(event: walk.day.event[row], isActive: !walk.day.isPassive(row))
      whole.add(one)
      guard let series = walk.series?[row], series > 0 else { continue }
      add(one, user, Int(series), isNew, first)
    }
    if whole.events > 0 { add(whole, user, 0, isNew, first) }
  }

  /// What one user did.
  private struct UserCounts {
    var events: UInt64 = 0
    var views: UInt64 = 0
    var shares: UInt64 = 0
    var isActive = false

    mutating func add(event: UInt32, isActive: Bool) {
      events += 1
      if event == UInt32(BuiltInEvent.pageView.rawValue) { views += 1 }
      if event == UInt32(BuiltInEvent.share.rawValue) { shares += 1 }
      self.isActive = self.isActive || isActive
    }

    mutating func add(_ other: UserCounts) {
      events += other.events
      views += other.views
      shares += other.shares
      isActive = isActive || other.isActive
    }
  }

  private func add(
    _ counts: UserCounts, _ user: UInt32, _ series: Int, _ isNew: Bool, _ first: Int
  ) {
    let cell = first + series
    result.metrics[cell].eventCount += counts.events
    result.metrics[cell].visitPageViews += counts.views
    result.metrics[cell].sharePageViews += counts.shares
    if counts.shares > 0 { _ = sharers[series].insert(user) }
    guard counts.isActive else { return }
    if active[series].insert(user), isNew { result.metrics[cell].visitNewUsers += 1 }
    noteEver(user, series)
  }

  /// Days before the range: only where the opens of some users are cut.
  private func follow(_ day: DayColumns, _ users: Set<UInt32>) {
    var walk = Walk(
      day: day, end: source.begin(of: day.day + 1), stays: StayColumn(day), cell: nil, mask: nil, series: nil)
    for position in day.users.indices where users.contains(day.users[position]) {
      walkOpens(day.users[position], day.rows(ofUserAt: position), &walk)
    }
    dropEnded(before: source.begin(of: day.day + 1))
  }

  /// Days after the range, as long as an open that began in it may go on.
  private func followOpens(after last: Int) throws {
    for number in source.days where number > last {
      dropEnded(before: source.begin(of: number))
      let users = Set(carried.filter { $0.value.cell != nil }.keys)
      if users.isEmpty { break }
      follow(try source.load(number), users)
    }
    for opens in carried.values { add(opens) }
    carried = [:]
  }

  // MARK: Opens

  /// A day as it is walked over.
  private struct Walk {
    let day: DayColumns
    /// When the next day begins, ms since 1970.
    let end: Int64
    var stays: StayColumn
    /// The period's first cell; nil: outside of the range.
    let cell: Int?
    let mask: [UInt8]?
    let series: [Int32]?

    /// Feeds a row to a meter; returns the stay of the visit that it ends, ms.
    mutating func measure(_ row: Int, _ meter: inout CodedStayMeter, beginsOpen: Bool) -> Int64? {
      let time = day.time(row)
      switch day.event[row] {
      case UInt32(BuiltInEvent.pageView.rawValue):
        return meter.view(day.page[row], at: time, beginsOpen: beginsOpen)
      case UInt32(BuiltInEvent.pageLeave.rawValue):
        return meter.leave(
          day.page[row], stay: stays.value(row), at: time, beginsOpen: beginsOpen)
      default: return meter.other(at: time, beginsOpen: beginsOpen)
      }
    }
  }

  private func walkOpens(_ user: UInt32, _ rows: Range<Int>, _ walk: inout Walk) {
    var opens =
      (carried.isEmpty ? nil : carried.removeValue(forKey: user))
      ?? UserOpens(background: backgrounds.background(user))
    for row in rows where !walk.day.isPassive(row) {
      let time = walk.day.time(row)
      let event = walk.day.event[row]
      let kind = Self.kind(event)
      if kind != .other { noteBackground(user, kind, opens, time) }
      let begins = opens.cutter.begins(kind, at: time, rules: rules)
      let isVisit = event == UInt32(BuiltInEvent.pageView.rawValue)
      opens.stay += walk.measure(row, &opens.meter, beginsOpen: begins) ?? 0
      if begins {
        add(opens)
        opens.begin(cell: openCell(row, walk), series: Int(walk.series?[row] ?? 0))
      }
      if isVisit { opens.pages.insert(walk.day.page[row]) }
    }
    keep(user, opens, dayEnd: walk.end)
  }

  /// Remembers a user until the next day, where the open may go on then.
  private func keep(_ user: UInt32, _ opens: UserOpens, dayEnd: Int64) {
    guard !opens.cutter.isEmpty else { return }
    if dayEnd - opens.cutter.lastMilliseconds > rules.timeoutMilliseconds {
      end(user, opens)
    } else {
      carried[user] = opens
    }
  }

  private func end(_ user: UInt32, _ opens: UserOpens) {
    add(opens)
    backgrounds.set(user, opens.cutter.backgroundMilliseconds)
  }

  private func noteBackground(
    _ user: UInt32, _ kind: OpenCutter.Kind, _ opens: UserOpens, _ time: Int64
  ) {
    if kind == .foreground, !backgrounds.isKnown(user), !opens.cutter.isEmpty,
      time - opens.cutter.lastMilliseconds <= rules.timeoutMilliseconds
    {
      missing.insert(user)
    }
    backgrounds.setKnown(user)
  }

  private static func kind(_ event: UInt32) -> OpenCutter.Kind {
    switch event {
    case UInt32(BuiltInEvent.launch.rawValue): .launch
    case UInt32(BuiltInEvent.foreground.rawValue): .foreground
    case UInt32(BuiltInEvent.background.rawValue): .background
    default: .other
    }
  }

  /// Where an open counts that begins at a row: opens count whose first event matches.
  private func openCell(_ row: Int, _ walk: Walk) -> Int? {
    guard let cell = walk.cell, counted[Int(walk.day.flags[row])], walk.mask?[row] != 0 else {
      return nil
    }
    return cell
  }

  /// Counts an open that has ended.
  private func add(_ opens: UserOpens) {
    guard let cell = opens.cell else { return }
    var opens = opens
    opens.stay += opens.meter.finish() ?? 0
    for cell in opens.series > 0 ? [cell, cell + opens.series] : [cell] {
      result.metrics[cell].sessionCount += 1
      result.metrics[cell].stayMilliseconds += opens.stay
      result.metrics[cell].depth += UInt64(opens.pages.count)
    }
  }

  /// Counts and forgets the opens that no later event can go on with.
  private func dropEnded(before begin: Int64) {
    for (user, opens) in carried
    where begin - opens.cutter.lastMilliseconds > rules.timeoutMilliseconds {
      end(user, opens)
      carried[user] = nil
    }
  }
}
