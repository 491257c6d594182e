import CPrefetch

/// The columns of a day for loops over rows that must not check, count references or allocate.
struct DayPointers {
  let users: UnsafeBufferPointer<UInt32>
  let userEnds: UnsafeBufferPointer<UInt32>
  let time: UnsafeBufferPointer<UInt32>
  let event: UnsafeBufferPointer<UInt32>
  let page: UnsafeBufferPointer<UInt32>
  let context: UnsafeBufferPointer<UInt32>
  let flags: UnsafeBufferPointer<UInt8>

  /// The rows whose event is wanted, in order.
  ///
  /// - Parameters:
  ///   - wanted: by code of an event, 1 or 0.
  ///   - found: as long as the range at least.
  /// - Returns: how many there are.
  func rows(_ range: Range<Int>, wanted: [UInt8], into found: inout [UInt32]) -> Int {
    precondition(found.count >= range.count)
    return found.withUnsafeMutableBufferPointer { rows(range, wanted: wanted, into: $0) }
  }

  /// The same. Where the last row of the range is not wanted it is written nevertheless, behind those found.
  func rows(_ range: Range<Int>, wanted: [UInt8], into found: UnsafeMutableBufferPointer<UInt32>) -> Int {
    wanted.withUnsafeBufferPointer { wanted in
      var count = 0
      // Without a branch: which event comes next cannot be predicted.
      for row in range {
        found[count] = UInt32(truncatingIfNeeded: row)
        count &+= Int(wanted[Int(event[row])])
      }
      return count
    }
  }

  /// The rows of the day whose event is wanted, in order, each with its user.
  ///
  /// - Parameter found: with room for all rows and one more.
  /// - Returns: how many there are.
  func rows(wanted: [UInt8], into found: UnsafeMutableBufferPointer<RowOfUser>) -> Int {
    GroupStarts.with(userEnds, rows: flags.count) { starts in
      wanted.withUnsafeBufferPointer { wanted in
        var count = 0
        var position = UInt32.max
        // Without a branch, as above; nor can it be predicted where a user's rows end.
        for row in 0..<flags.count {
          position &+= UInt32(starts[row])
          found[count] = RowOfUser(row: UInt32(truncatingIfNeeded: row), position: position)
          count &+= Int(wanted[Int(event[row])])
        }
        return count
      }
    }
  }

  /// Adds the rows of a range up by their flags. Most are equal to their neighbours: 32 are compared at a time, or eight.
  func countFlags(_ range: Range<Int>, into counts: inout [Int]) {
    precondition(counts.count == 256)
    var row = range.lowerBound
    let raw = UnsafeRawBufferPointer(flags)
    while row + 8 <= range.upperBound {
      let pattern = UInt64(flags[row]) &* 0x0101_0101_0101_0101
      func differs(_ offset: Int) -> UInt64 {
        raw.loadUnaligned(fromByteOffset: row &+ offset, as: UInt64.self) ^ pattern
      }
      if row + 32 <= range.upperBound, differs(0) | differs(8) | differs(16) | differs(24) == 0 {
        counts[Int(flags[row])] &+= 32
        row += 32
        continue
      }
      if differs(0) == 0 {
        counts[Int(flags[row])] &+= 8
      } else {
        for next in row..<row + 8 { counts[Int(flags[next])] &+= 1 }
      }
      row += 8
    }
    for next in row..<range.upperBound { counts[Int(flags[next])] &+= 1 }
  }
}

/// A row of a day, and where its user stands in `users`.
struct RowOfUser {
  let row: UInt32
  let position: UInt32
}

/// Where groups of rows begin, for loops that must not branch on it.
enum GroupStarts {
  /// - Parameters:
  ///   - ends: behind the last row of each group, ascending, up to the number of rows; no group is empty.
  ///   - body: gets, by row, 1 where a group begins, else 0.
  @inline(__always)
  static func with<Result>(
    _ ends: UnsafeBufferPointer<UInt32>, rows: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Result
  ) -> Result {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: rows + 1) { starts in
      guard let starts = starts.baseAddress else { preconditionFailure("room for one row at least") }
      starts.initialize(repeating: 0, count: rows + 1)
      starts[0] = 1
      for end in ends { starts[Int(end)] = 1 }
      return body(starts)
    }
  }
}

extension DayPointers {
  /// Has the rows of some users fetched from memory, all at a time: they lie far apart, and each would be waited for.
  func fetch(usersAt positions: some Collection<UInt32>) {
    for position in positions {
      fetch(users, Int(position))
      fetch(userEnds, Int(position))
    }
    for position in positions {
      let begin = position == 0 ? 0 : Int(userEnds[Int(position) - 1])
      for row in [begin, Int(userEnds[Int(position)]) - 1] {
        fetch(time, row)
        fetch(event, row)
        fetch(page, row)
        fetch(flags, row)
      }
    }
  }

  @inline(__always)
  private func fetch<Element>(_ column: UnsafeBufferPointer<Element>, _ index: Int) {
    if let column = column.baseAddress { footfall_prefetch(column + index) }
  }

  /// Without a row.
  static var none: DayPointers {
    let (none, flags) = (UnsafeBufferPointer<UInt32>(start: nil, count: 0), UnsafeBufferPointer<UInt8>(start: nil, count: 0))
    return DayPointers(
      users: none, userEnds: none, time: none, event: none, page: none, context: none, flags: flags)
  }
}

extension DayColumns {
  func withPointers<Result>(_ body: (DayPointers) throws -> Result) rethrows -> Result {
    try users.withUnsafeBufferPointer { users in
      try userEnds.withUnsafeBufferPointer { userEnds in
        try time.withUnsafeBufferPointer { time in
          try event.withUnsafeBufferPointer { event in
            try page.withUnsafeBufferPointer { page in
              try context.withUnsafeBufferPointer { context in
                try flags.withUnsafeBufferPointer { flags in
                  try body(
                    DayPointers(
                      users: users, userEnds: userEnds, time: time, event: event, page: page,
                      context: context, flags: flags))
                }
              }
            }
          }
        }
      }
    }
  }
}
