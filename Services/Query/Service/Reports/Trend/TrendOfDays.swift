import Events
import Synchronization

/// A trend of whole days without filter or breakdown: added up from what is known of each day, so that it reads no events
/// of days that it has seen before, whatever range and granularity ask for them.
struct TrendOfDays {
  let source: DaySource
  /// Of whole days, without gaps.
  let periods: [Period]
  let traffic: TrafficChoice
  let metrics: Set<TrendMetric>
  let control: QueryControl

  func run() throws -> TrendResult {
    let range = periods[0].days.lowerBound...periods[periods.count - 1].days.upperBound
    let days = source.days(in: range.lowerBound..<range.upperBound + 1)
    let totals = metrics.isSubset(of: TrendMetric.ofUsers) ? nil : try totals(of: days)
    var result = TrendResult(
      periods: periods, seriesCount: 1,
      metrics: Array(repeating: TrendMetrics(), count: periods.count), tally: EventTally(),
      users: [], lastOfOpens: [])
    for day in days { try source.tally(day, traffic, into: &result.tally) }
    for (index, period) in periods.enumerated() {
      let own = source.days(in: period.days.lowerBound..<period.days.upperBound + 1)
      guard let totals else {
        result.metrics[index].visitUsers = try activeUsers(own)
        continue
      }
      result.metrics[index] = try metrics(own, own.map { totals[Int($0 - days[days.startIndex])] })
    }
    try addNewUsers(&result)
    return result
  }

  // MARK: Periods

  private func metrics(_ days: ArraySlice<Int32>, _ totals: [TrendTotals.Day?]) throws -> TrendMetrics {
    var sum = TrendMetrics()
    for total in totals.compactMap({ $0 }) { sum.add(total.metrics) }
    sum.visitNewUsers = 0
    guard days.count > 1 else { return sum }
    sum.visitUsers = try activeUsers(days)
    var sharers = UserSet(userCount: source.snapshot.userCount)
    for total in totals.compactMap({ $0 }) { for user in total.sharers { _ = sharers.insert(user) } }
    sum.shareUsers = UInt64(sharers.count)
    return sum
  }

  private func activeUsers(_ days: ArraySlice<Int32>) throws -> UInt64 {
    guard let first = days.first else { return 0 }
    return UInt64(
      days.count == 1
        ? try source.activeUsers(first, traffic).count : try source.activeUsers(days, traffic).count)
  }

  /// Who was active first in a period was active in it, as long as none of its days was dropped.
  private func addNewUsers(_ result: inout TrendResult) throws {
    let bounds = [periods[0].milliseconds.lowerBound] + periods.map(\.milliseconds.upperBound)
    let times = source.snapshot.times.view(traffic.classes)
    let counts = times.counts(between: bounds)
    var ofDroppedDays = [[UInt32]](repeating: [], count: periods.count)
    if let keptFrom = source.snapshot.keptFromMilliseconds, keptFrom > bounds[0] {
      times.forEach { user, time in
        guard time >= bounds[0], time < keptFrom else { return }
        let period = bounds.partitioningIndex { $0 > time } - 1
        if period < periods.count { ofDroppedDays[period].append(user) }
      }
    }
    var total = counts[0]
    for index in periods.indices {
      let dropped = ofDroppedDays[index]
      total += counts[index + 1]
      result.metrics[index].visitNewUsers =
        counts[index + 1] - UInt64(dropped.count) + (try stillActive(dropped, periods[index]))
      result.metrics[index].visitTotal = total
    }
  }

  /// How many of some users have an event left in a period.
  private func stillActive(_ users: [UInt32], _ period: Period) throws -> UInt64 {
    let days = source.days(in: period.days.lowerBound..<period.days.upperBound + 1)
    if users.isEmpty || days.isEmpty { return 0 }
    return UInt64(try source.activeUsers(days, traffic).count(of: users))
  }

  // MARK: Days

  /// By day, counted from the first one.
  private func totals(of days: ArraySlice<Int32>) throws -> [TrendTotals.Day?] {
    guard let first = days.first, let last = days.last else { return [] }
    let known = source.engine.trendTotals
    var result = [TrendTotals.Day?](repeating: nil, count: Int(last - first) + 1)
    let versions = versions(through: last)
    for day in days {
      guard let version = versions[day] else { continue }
      result[Int(day - first)] = known.day(key(day), version)
    }
    let missing = days.filter { result[Int($0 - first)] == nil }
    guard let firstMissing = missing.first, let lastMissing = missing.last else { return result }
    for (day, total, isClosed) in try count(Int(firstMissing)...Int(lastMissing)) {
      result[Int(day - first)] = total
      if isClosed, let version = versions[day] { known.keep(key(day), version, total) }
    }
    return result
  }

  private func key(_ day: Int32) -> TrendTotals.Key {
    TrendTotals.Key(
      app: source.snapshot.app.id, day: day, channel: traffic.channel,
      includesExcludedScenes: traffic.includesExcludedScenes)
  }

  /// Where an open is cut may follow from any day before, and it may reach into the next day: a day's totals hold for the
  /// segments of all of these. Absent: some of them have rows that are not sealed.
  private func versions(through last: Int32) -> [Int32: TrendTotals.Version] {
    var versions: [Int32: TrendTotals.Version] = [:]
    var newest: Int64 = 0
    var count = 0
    var waiting: Int32?
    func settle(_ day: Int32) {
      versions[day] = TrendTotals.Version(
        newestSegment: newest, segments: count, definition: source.snapshot.definition)
    }
    for day in source.days {
      if let previous = waiting, day > previous + 1 { settle(previous) }
      guard let segment = source.sealedSegment(day) else { return versions }
      newest = max(newest, segment.id)
      count += 1
      if let previous = waiting, day == previous + 1 { settle(previous) }
      if day > last { return versions }
      waiting = day
    }
    if let waiting { settle(waiting) }
    return versions
  }

  /// `isClosed`: no event behind the next day can go on with an open of the day.
  private func count(
    _ days: ClosedRange<Int>
  ) throws -> [(day: Int32, total: TrendTotals.Day, isClosed: Bool)] {
    let byDay = Period.periods(days, .day, source.snapshot.calendar)
    let scanned = try TrendScan(
      source: source, periods: byDay, filter: nil, series: nil, traffic: traffic, control: control
    ).run()
    let counted = traffic.countedByFlags
    return try source.days(in: days.lowerBound..<days.upperBound + 1).map { day in
      let shares = try source.rows(of: [UInt32(BuiltInEvent.share.rawValue)], day)
      var sharers: [UInt32] = []
      for (row, user) in zip(shares.rows, shares.users)
      where counted[Int(shares.day.flags[Int(row)])] && sharers.last != user {
        sharers.append(user)
      }
      let metrics = scanned.metrics[Int(day) - days.lowerBound]
      let last = scanned.lastOfOpens[Int(day) - days.lowerBound]
      assert(metrics.shareUsers == UInt64(sharers.count), "two ways to count sharers differ")
      let isClosed = source.begin(of: day + 2) - last > source.snapshot.rules.timeoutMilliseconds
      return (day, TrendTotals.Day(metrics: metrics, sharers: sharers), isClosed)
    }
  }
}

/// What days added up to, kept between queries. Bounded by bytes; what was kept first goes first.
final class TrendTotals: Sendable {
  struct Key: Hashable, Sendable {
    let app: Int64
    let day: Int32
    let channel: UInt8
    let includesExcludedScenes: Bool
  }

  /// What the totals of a day were made of. Numbers of segments only grow, so that no two states have both in common: a
  /// segment that is new or rewritten is the newest, one that is gone is missing in the count.
  struct Version: Equatable, Sendable {
    let newestSegment: Int64
    let segments: Int
    let definition: AppDefinition
  }

  struct Day: Sendable {
    let metrics: TrendMetrics
    /// Distinct users with a `$share` that counts, ascending.
    let sharers: [UInt32]

    var byteCount: Int { MemoryLayout<TrendMetrics>.stride + sharers.count * 4 + 200 }
  }

  private struct State {
    var days: [Key: (version: Version, day: Day)] = [:]
    var order: [Key] = []
    var bytes = 0
  }

  private let state = Mutex(State())

  func day(_ key: Key, _ version: Version) -> Day? {
    state.withLock { state in
      guard let kept = state.days[key], kept.version == version else { return nil }
      return kept.day
    }
  }

  func keep(_ key: Key, _ version: Version, _ day: Day) {
    state.withLock { state in
      if let old = state.days[key] { state.bytes -= old.day.byteCount } else { state.order.append(key) }
      state.days[key] = (version, day)
      state.bytes += day.byteCount
      while state.bytes > Limits.trendTotalsBytesMax, let first = state.order.first {
        state.order.removeFirst()
        if let gone = state.days.removeValue(forKey: first) { state.bytes -= gone.day.byteCount }
      }
    }
  }
}
