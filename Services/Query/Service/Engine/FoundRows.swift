/// A row of a day and what a walk over users asks of it, together: nothing of all the other rows need be read then.
struct FoundRow: Sendable {
  let row: UInt32
  let user: UInt32
  /// ms of the day.
  let time: UInt32
  let event: UInt32
}

/// The rows of some events of a whole sealed day in its order, in no more memory than they need.
final class FoundRows: Sendable {
  /// What is read to make them.
  static let columns = ["users", "time", "event"]
  /// So many users share one entry of `starts`.
  private static let usersPerStart = 4_096

  private let all: [FoundRow]
  /// The first row of each so many users, and one more.
  private let starts: [Int]

  var count: Int { all.count }

  /// Bytes of memory, about.
  var byteCount: Int { count * MemoryLayout<FoundRow>.stride + starts.count * 8 }

  /// The rows of some events; nil: they are more than `most`.
  static func find(_ events: Set<UInt32>, of day: DayColumns, most: Int) -> FoundRows? {
    let wanted = day.isWanted(events)
    return day.withPointers { day in
      withUnsafeTemporaryAllocation(of: RowOfUser.self, capacity: day.flags.count + 1) { found in
        let count = day.rows(wanted: wanted, into: found)
        return count > most ? nil : FoundRows(UnsafeBufferPointer(rebasing: found[..<count]), of: day)
      }
    }
  }

  private init(_ found: UnsafeBufferPointer<RowOfUser>, of day: DayPointers) {
    all = [FoundRow](unsafeUninitializedCapacity: found.count) { rows, filled in
      filled = found.count
      for index in 0..<found.count {
        let row = found[index].row
        rows.initializeElement(
          at: index,
          to: FoundRow(
            row: row, user: day.users[Int(found[index].position)], time: day.time[Int(row)],
            event: day.event[Int(row)]))
      }
    }
    starts = Self.starts(all)
  }

  private static func starts(_ rows: [FoundRow]) -> [Int] {
    guard let last = rows.last?.user else { return [0] }
    return (0...Int(last) / usersPerStart + 1).map { first in
      rows.partitioningIndex { Int($0.user) >= first * usersPerStart }
    }
  }

  /// Calls the closure with the rows of some users.
  func withRows<Result>(
    of users: Range<UInt32>, _ body: (UnsafeBufferPointer<FoundRow>) throws -> Result
  ) rethrows -> Result {
    let lower = firstRow(notBelow: users.lowerBound)
    let upper = max(lower, firstRow(notBelow: users.upperBound))
    return try all.withUnsafeBufferPointer { try body(UnsafeBufferPointer(rebasing: $0[lower..<upper])) }
  }

  private func firstRow(notBelow user: UInt32) -> Int {
    let (number, rest) = Int(user).quotientAndRemainder(dividingBy: Self.usersPerStart)
    guard number + 1 < starts.count else { return count }
    if rest == 0 { return starts[number] }
    return all[starts[number]..<starts[number + 1]].partitioningIndex { $0.user >= user }
  }
}

/// Memory for rows that are looked for anew for each block of users.
struct FoundBuffer {
  private var rows: [UInt32] = []
  private var found: [FoundRow] = []

  /// Bytes of memory, about.
  var byteCount: Int { rows.count * 4 + found.capacity * MemoryLayout<FoundRow>.stride }

  /// Calls the closure with the wanted ones of some rows.
  ///
  /// - Parameters:
  ///   - positions: of the rows' users; not empty.
  ///   - wanted: by code of an event, 1 or 0.
  mutating func find(
    _ positions: Range<Int>, _ day: DayPointers, wanted: [UInt8], _ body: (UnsafeBufferPointer<FoundRow>) throws -> Void
  ) rethrows {
    let begin = positions.lowerBound == 0 ? 0 : Int(day.userEnds[positions.lowerBound - 1])
    let range = begin..<Int(day.userEnds[positions.upperBound - 1])
    if rows.count < range.count { rows = Array(repeating: 0, count: range.count * 3 / 2) }
    let count = day.rows(range, wanted: wanted, into: &rows)
    found.removeAll(keepingCapacity: true)
    found.reserveCapacity(count)
    var position = positions.lowerBound
    for row in rows[..<count] {
      while row >= day.userEnds[position] { position += 1 }
      found.append(
        FoundRow(
          row: row, user: day.users[position], time: day.time[Int(row)], event: day.event[Int(row)]))
    }
    try found.withUnsafeBufferPointer(body)
  }
}

extension DaySource {
  /// The rows of these events of a sealed day, kept between queries where they are not most of the day's.
  ///
  /// - Parameter day: as it was loaded, with events.
  /// - Returns: nil: they are too many, or the day has rows that are not sealed.
  func found(_ events: Set<UInt32>, in day: DayColumns) -> FoundRows? {
    guard let segment = sealedSegment(day.day), day.count > 0 else { return nil }
    return engine.cache.found(segment, events) {
      FoundRows.find(events, of: day, most: day.count / Limits.foundRowsShare)
    }
  }

  /// The same without the day, which is kept only where this is not the first time.
  func foundAlone(_ events: Set<UInt32>, _ number: Int32) throws -> FoundRows? {
    guard let segment = sealedSegment(number), segment.rows > 0 else { return nil }
    try control.check()
    var isKnown = true
    let found = try engine.cache.found(segment, events) {
      isKnown = false
      let day = try loadForPart(segment)
      let found = FoundRows.find(events, of: day, most: day.count / Limits.foundRowsShare)
      if found == nil { engine.cache.keep(day, of: segment) }
      return found
    }
    if let found, isKnown {
      control.profile?.read(
        day: number, rows: found.count, bytes: found.byteCount, columns: FoundRows.columns, cached: true)
    }
    return found
  }

  /// Whether nothing must be looked for to know them.
  func knowsFound(_ events: Set<UInt32>, _ day: Int32) -> Bool {
    sealedSegment(day).map { engine.cache.holdsFound($0, events) } ?? true
  }
}
