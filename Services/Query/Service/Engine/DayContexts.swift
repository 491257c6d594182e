/// What only the context decides is decided once for each context of a day.
extension DayColumns {
  var contextCount: Int { contexts.count }

  mutating func takeContexts(of other: DayColumns) { contexts = other.contexts }

  /// A day with one row per context.
  var ofContexts: DayColumns {
    var day = DayColumns(day: day, beginMilliseconds: beginMilliseconds)
    day.takeContexts(of: self)
    day.context = .numbers(below: contextCount)
    day.flags = Array(repeating: 0, count: contextCount)
    return day
  }
}

extension [UInt32] {
  /// 0, 1, 2 and so on: an array of a range is made of it number by number, each time asking for the next one.
  static func numbers(below count: Int) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: count) { numbers, filled in
      for number in 0..<count { numbers[number] = UInt32(truncatingIfNeeded: number) }
      filled = count
    }
  }
}
