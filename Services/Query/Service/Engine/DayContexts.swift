/// What only the context decides is decided once for each context of a day.
extension DayColumns {
  var contextCount: Int { contexts.count }

  mutating func takeContexts(of other: DayColumns) { contexts = other.contexts }

  /// A day with one row per context.
  var ofContexts: DayColumns {
    var contexts = DayColumns(day: day, beginMilliseconds: beginMilliseconds)
    contexts.takeContexts(of: self)
    contexts.context = Array(0..<UInt32(contextCount))
    contexts.time = Array(repeating: 0, count: contextCount)
    return contexts
  }
}
