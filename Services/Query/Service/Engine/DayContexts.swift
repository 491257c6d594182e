/// What only the context decides is decided once for each context of a day.
extension DayColumns {
  var contextCount: Int { contexts.count }

  mutating func takeContexts(of other: DayColumns) { contexts = other.contexts }

  /// A day with one row per context.
  var ofContexts: DayColumns {
    var day = DayColumns(day: day, beginMilliseconds: beginMilliseconds)
    day.takeContexts(of: self)
    day.context = Array(0..<UInt32(contextCount))
    day.time = Array(repeating: 0, count: contextCount)
    return day
  }
}
