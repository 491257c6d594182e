/// What only the context decides is decided once for each context of a day.
extension DayColumns {
  var contextCount: Int { contextWords.count / ContextColumns.count }

  /// The word of every context: a dictionary code of text, or a number; 0: missing.
  func contextColumn(_ position: Int) -> [UInt32] {
    stride(from: position, to: contextWords.count, by: ContextColumns.count).map { contextWords[$0] }
  }

  mutating func takeContexts(of other: DayColumns) { contextWords = other.contextWords }

  /// A day with one row per context.
  var ofContexts: DayColumns {
    var contexts = DayColumns(day: day, beginMilliseconds: beginMilliseconds)
    contexts.takeContexts(of: self)
    contexts.context = Array(0..<UInt32(contextCount))
    contexts.time = Array(repeating: 0, count: contextCount)
    return contexts
  }
}
