extension DayColumns {
  func holds(anyOf erased: Set<UInt32>) -> Bool {
    users.contains { erased.contains($0) }
  }

  /// The same day as if these users had never come. All of its columns must have been read.
  func without(_ erased: Set<UInt32>) -> DayColumns {
    guard holds(anyOf: erased) else { return self }
    precondition(has == .all, "a day is written as a whole")
    var result = DayColumns(day: day, beginMilliseconds: beginMilliseconds)
    result.exclusion = exclusion
    result.contexts = contexts
    var places = [UInt32](repeating: .max, count: count)
    for position in users.indices where !erased.contains(users[position]) {
      for row in rows(ofUserAt: position) {
        places[row] = UInt32(result.count)
        result.append(row, of: self)
      }
      result.users.append(users[position])
      result.userEnds.append(UInt32(result.count))
    }
    result.fields = fields.compactMapValues { $0.moved(to: places) }
    return result
  }

  private mutating func append(_ row: Int, of day: DayColumns) {
    time.append(day.time[row])
    if !day.sequence.isEmpty { sequence.append(day.sequence[row]) }
    event.append(day.event[row])
    page.append(day.page[row])
    context.append(day.context[row])
    flags.append(day.flags[row])
  }
}

extension FieldColumn {
  /// The rows that have a place other than `UInt32.max`, in theirs; nil: none has.
  fileprivate func moved(to places: [UInt32]) -> FieldColumn? {
    var moved = FieldColumn()
    for index in rows.indices where places[Int(rows[index])] != .max {
      moved.rows.append(places[Int(rows[index])])
      moved.values.append(values[index])
    }
    return moved.rows.isEmpty ? nil : moved
  }
}
