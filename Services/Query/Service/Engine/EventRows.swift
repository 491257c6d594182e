/// The rows of some events of a day, and their users, in the order of the day.
struct EventRows: Sendable {
  /// With the columns that were asked for.
  let day: DayColumns
  let rows: [UInt32]
  /// Of each row.
  let users: [UInt32]

  /// Cost: one pass over the events without a branch, one over the users.
  init(_ day: DayColumns, events: Set<UInt32>) {
    self.day = day
    let rows = day.rows(of: events)
    self.rows = rows
    users = day.eachUser(of: rows)
  }

  /// The same rows of a day that has more columns.
  init(_ day: DayColumns, rows: [UInt32], users: [UInt32]) {
    self.day = day
    self.rows = rows
    self.users = users
  }

  /// Bytes of memory beside the day, about.
  var byteCount: Int { rows.count * 8 }

  /// The value of a field for each of the rows; nil: the row has none. Cost: both lists once.
  func values(_ field: UInt32) -> [UInt64?] {
    guard let column = day.fields[field] else { return Array(repeating: nil, count: rows.count) }
    var next = 0
    return rows.map { row in
      while next < column.rows.count, column.rows[next] < row { next += 1 }
      return next < column.rows.count && column.rows[next] == row ? column.values[next] : nil
    }
  }
}

extension DayColumns {
  /// The user of each of some rows, which ascend. Cost: a look at each row and each user.
  func eachUser(of rows: [UInt32]) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: rows.count) { target, filled in
      filled = rows.count
      var position = 0
      userEnds.withUnsafeBufferPointer { ends in
        for (index, row) in rows.enumerated() {
          while ends[position] <= row { position += 1 }
          target.initializeElement(at: index, to: users[position])
        }
      }
    }
  }

  /// By code of each event that the day may have: 1 for these, else 0.
  func isWanted(_ events: Set<UInt32>) -> [UInt8] {
    var wanted = [UInt8](repeating: 0, count: Int(event.highest) + 1)
    for event in events where Int(event) < wanted.count { wanted[Int(event)] = 1 }
    return wanted
  }

  /// The rows of some events, ascending. Cost: a look at each row.
  func rows(of events: Set<UInt32>) -> [UInt32] {
    let wanted = isWanted(events)
    return [UInt32](unsafeUninitializedCapacity: count + 1) { found, filled in
      filled = withPointers { $0.rows(0..<count, wanted: wanted, into: found) }
    }
  }
}

extension DaySource {
  /// The rows of these events where they are kept; nil: they must be looked for.
  func knownRows(of events: Set<UInt32>, _ day: Int32) -> [UInt32]? {
    sealedSegment(day).flatMap { engine.cache.rows($0, events)?.rows }
  }

  /// The rows of these events, kept between queries where the day is sealed: for events that are few of all.
  func rows(of events: Set<UInt32>, _ day: Int32) throws -> EventRows {
    let columns = try load(day)
    guard let segment = sealedSegment(day) else { return EventRows(columns, events: events) }
    if let known = engine.cache.rows(segment, events) {
      return EventRows(columns, rows: known.rows, users: known.users)
    }
    let found = EventRows(columns, events: events)
    engine.cache.insert(segment, events, rows: found.rows, users: found.users)
    return found
  }
}
