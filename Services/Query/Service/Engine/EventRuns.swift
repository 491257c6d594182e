/// Runs of a day's rows that have some of the events that are asked for, each as one row, and how many of them it has: what the user
/// and the context decide is decided once for all of them.
struct EventRuns: Sendable {
  /// A row per run, with its user (`rowUsers`) and context only.
  let day: DayColumns
  /// Events of each run.
  let counts: [UInt32]
  /// Of all runs.
  let total: Int

  /// Bytes of memory, about.
  var byteCount: Int { day.byteCount + counts.count * 4 }

  /// Cost: a look at each row, at each run where every event is asked for.
  ///
  /// - Parameters:
  ///   - whole: with events where they are asked for, and contexts.
  ///   - named: by code of an event, 1 where it is asked for; nil: every event.
  init(_ whole: DayColumns, named: [UInt8]?) {
    let known = whole.has.contains(.contextRuns)
    let runs = known ? whole.contextRuns : ContextRuns(whole.context, userEnds: whole.userEnds)
    var kept = Self.kept(runs, whole, named)
    var day = DayColumns(day: whole.day, beginMilliseconds: whole.beginMilliseconds)
    day.takeContexts(of: whole)
    day.exclusion = whole.exclusion
    day.has = .context
    let count = kept.count
    day.rowUsers = Array(kept.users[..<count])
    day.context = Array(kept.contexts[..<count])
    day.flags = Array(repeating: 0, count: count)
    kept.counts.removeLast(kept.counts.count - count)
    self.day = day
    counts = Array(kept.counts)
    total = kept.total
  }

  private struct Kept {
    var users: [UInt32]
    var contexts: [UInt32]
    var counts: [UInt32]
    /// So many of each are in use.
    var count = 0
    var total = 0
  }

  private static func kept(_ runs: ContextRuns, _ day: DayColumns, _ named: [UInt8]?) -> Kept {
    guard let named else { return take(runs, day) { UInt32(truncatingIfNeeded: $0) } }
    let before = countsBefore(named, day.event)
    return before.withUnsafeBufferPointer { before in take(runs, day) { before[$0] } }
  }

  /// Before each row, and behind the last one: how many rows have a named event. How long runs are cannot be predicted; so nothing
  /// depends on it.
  private static func countsBefore(_ named: [UInt8], _ events: [UInt32]) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: events.count + 1) { target, filled in
      filled = events.count + 1
      named.withUnsafeBufferPointer { named in
        events.withUnsafeBufferPointer { events in
          var count: UInt32 = 0
          for row in 0..<events.count {
            target.initializeElement(at: row, to: count)
            count &+= UInt32(named[Int(events[row])])
          }
          target.initializeElement(at: events.count, to: count)
        }
      }
    }
  }

  /// - Parameter before: how many of the events that are asked for lie before a row.
  @inline(__always)
  private static func take(
    _ runs: ContextRuns, _ day: DayColumns, _ before: (Int) -> UInt32
  ) -> Kept {
    let room = [UInt32](repeating: 0, count: runs.ends.count)
    var kept = Kept(users: room, contexts: room, counts: room)
    var next = 0
    day.withPointers { day in
      runs.ends.withUnsafeBufferPointer { ends in
        runs.contexts.withUnsafeBufferPointer { contexts in
          kept.users.withUnsafeMutableBufferPointer { keptUsers in
            kept.contexts.withUnsafeMutableBufferPointer { keptContexts in
              kept.counts.withUnsafeMutableBufferPointer { keptCounts in
                var position = 0
                var done: UInt32 = 0
                for index in 0..<ends.count {
                  let end = ends[index]
                  let count = before(Int(end))
                  // Overwritten by the next one where it has none.
                  keptUsers[next] = day.users[position]
                  keptContexts[next] = contexts[index]
                  keptCounts[next] = count &- done
                  next &+= count > done ? 1 : 0
                  done = count
                  position &+= day.userEnds[position] == end ? 1 : 0
                }
                kept.total = Int(done)
              }
            }
          }
        }
      }
    }
    kept.count = next
    return kept
  }
}

extension DaySource {
  /// The runs of a sealed day that have these events, kept between queries.
  ///
  /// - Parameters:
  ///   - events: nil: every event.
  ///   - named: the same by code, 1 or 0.
  /// - Returns: nil: the day has rows that are not sealed.
  func runs(of events: Set<UInt32>?, named: [UInt8]?, _ number: Int32) throws -> EventRuns? {
    guard let segment = sealedSegment(number) else { return nil }
    try control.check()
    var isKnown = true
    let runs = try engine.cache.runs(segment, events, holds: holdsContexts) {
      isKnown = false
      return EventRuns(try loadForPart(segment), named: named)
    }
    if isKnown {
      control.profile?.read(
        day: number, rows: runs.counts.count, bytes: runs.byteCount, columns: ["users", "context", "event"],
        cached: true)
    }
    return runs
  }
}
