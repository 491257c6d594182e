/// The values of a breakdown that get a series of their own: those with the most active users over the whole range, exact.
/// Ties are broken by the number of events, then by the value.
final class TrendSeriesChoice {
  let breakdown: Breakdown
  let values: [FieldValue?]
  let hasOther: Bool
  /// By number of the value: its series, from 1 on.
  private var seriesByNumber: [Int32]
  private let otherSeries: Int32

  private struct Candidate {
    var users: UserSet
    var events = 0
  }

  init(
    _ breakdown: Breakdown, limit: Int, days: ClosedRange<Int>, source: DaySource,
    filter: FilterProgram?, traffic: TrafficChoice, control: QueryControl
  ) throws {
    self.breakdown = breakdown
    let candidates = try Self.count(breakdown, days, source, filter, traffic, control)
    let seen = candidates.indices.filter { candidates[$0].events > 0 }
    let valueOf = Dictionary(uniqueKeysWithValues: seen.map { ($0, breakdown.value(Int32($0))) })
    let ranked = seen.sorted { a, b in
      if candidates[a].users.count != candidates[b].users.count {
        return candidates[a].users.count > candidates[b].users.count
      }
      if candidates[a].events != candidates[b].events {
        return candidates[a].events > candidates[b].events
      }
      return FieldValue.isBefore(valueOf[a] ?? nil, valueOf[b] ?? nil)
    }
    let chosen = ranked.prefix(limit)
    values = chosen.map { valueOf[$0] ?? nil }
    hasOther = ranked.count > limit
    otherSeries = hasOther ? Int32(chosen.count + 1) : 0
    seriesByNumber = Array(repeating: otherSeries, count: breakdown.keys.count)
    for (index, number) in chosen.enumerated() { seriesByNumber[number] = Int32(index + 1) }
  }

  private static func count(
    _ breakdown: Breakdown, _ days: ClosedRange<Int>, _ source: DaySource, _ filter: FilterProgram?,
    _ traffic: TrafficChoice, _ control: QueryControl
  ) throws -> [Candidate] {
    let counted = traffic.countedByFlags
    var candidates: [Candidate] = []
    var charged = 0
    for number in source.days(in: days.lowerBound..<days.upperBound + 1) {
      let day = try source.load(number)
      let mask = filter?.mask(day)
      let numbers = try breakdown.values(day)
      while candidates.count < breakdown.keys.count {
        candidates.append(Candidate(users: UserSet(userCount: source.snapshot.userCount)))
      }
      for position in day.users.indices {
        let user = day.users[position]
        for row in day.rows(ofUserAt: position)
        where counted[Int(day.flags[row])] && mask?[row] != 0 {
          let value = Int(numbers[row])
          candidates[value].events += 1
          if day.flags[row] & 1 == 0 { _ = candidates[value].users.insert(user) }
        }
      }
      let bytes = candidates.reduce(0) { $0 + $1.users.byteCount + 48 }
      try control.charge(bytes - charged, for: "the users of each value of the breakdown")
      charged = bytes
    }
    control.release(charged)
    return candidates
  }

  /// The series of each row; 0: of no series beside the whole.
  func series(_ day: DayColumns) throws(QueryError) -> RowValues {
    let values = try breakdown.rowValues(day)
    // Values that only occur outside of the range.
    while seriesByNumber.count < breakdown.keys.count { seriesByNumber.append(otherSeries) }
    return values.map { seriesByNumber[Int($0)] }
  }

  /// - Throws: INVALID_ARGUMENT where the answer has no such series.
  func series(_ cell: SeriesCell) throws(QueryError) -> Int {
    if cell.isOther {
      guard hasOther else { throw .invalid("cell.other", "the report has no rest") }
      return values.count + 1
    }
    guard let index = values.firstIndex(of: cell.value) else {
      throw .invalid("cell.group", "the report has no such value")
    }
    return index + 1
  }

  /// The whole, the values, the rest.
  var seriesCount: Int { values.count + 1 + (hasOther ? 1 : 0) }
}
