/// How many users were active in the last days before each day of a range: DAU, WAU, MAU, tiers. Days in order, each user's last
/// one remembered, so that a window of any length costs no more than a short one. Parts of the users run in parallel.
struct ActivityWindows {
  /// Users of each day, from the first day of the longest window on.
  let history: [(day: Int, users: [UInt32])]
  let days: ClosedRange<Int>
  let userCount: Int
  let control: QueryControl

  private static let parts = Limits.threadsDefault

  /// - Parameter lengths: of the windows, days.
  /// - Returns: by day of the range and window: the users whose last active day lies in the window that ends with the day.
  func counts(_ lengths: [Int]) throws -> [[UInt64]] {
    try control.charge(userCount * 4, for: "the last day of each user")
    let step = (userCount + Self.parts - 1) / Self.parts
    let parts = try Blocks.map(Self.parts, threads: Limits.threadsDefault) { part in
      sweep(UInt32(min(part * step, userCount))..<UInt32(min((part + 1) * step, userCount)), lengths)
    }
    control.release(userCount * 4)
    return (0..<days.count).map { day in
      lengths.indices.map { window in parts.reduce(0) { $0 + $1[day][window] } }
    }
  }

  private func sweep(_ range: Range<UInt32>, _ lengths: [Int]) -> [[UInt64]] {
    guard let origin = history.first.map({ min($0.day, days.lowerBound) }) else {
      return days.map { _ in lengths.map { _ in 0 } }
    }
    // By user: the last active day, counted from 1; 0: none yet. By such a day: its users.
    var last = [Int32](repeating: 0, count: range.count)
    var users = [Int](repeating: 0, count: days.upperBound - origin + 2)
    var result: [[UInt64]] = []
    var next = 0
    for day in origin...days.upperBound {
      if next < history.count, history[next].day == day {
        move(history[next].users, in: range, to: Int32(day - origin + 1), &last, &users)
        next += 1
      }
      guard day >= days.lowerBound else { continue }
      let end = day - origin + 1
      result.append(
        lengths.map { length in
          UInt64(users[max(1, end - length + 1)...end].reduce(0, +))
        })
    }
    return result
  }

  private func move(
    _ active: [UInt32], in range: Range<UInt32>, to day: Int32, _ last: inout [Int32],
    _ users: inout [Int]
  ) {
    let lower = active.partitioningIndex { $0 >= range.lowerBound }
    let upper = active.partitioningIndex { $0 >= range.upperBound }
    active.withUnsafeBufferPointer { active in
      last.withUnsafeMutableBufferPointer { last in
        users.withUnsafeMutableBufferPointer { users in
          for index in lower..<upper {
            let slot = Int(active[index] - range.lowerBound)
            users[Int(last[slot])] -= 1
            last[slot] = day
          }
          users[Int(day)] += upper - lower
        }
      }
    }
  }
}
