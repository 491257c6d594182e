import Events

/// Which traffic a report counts.
package struct TrafficChoice: Sendable, Equatable {
  /// 1 release, 2 trial, 3 develop.
  package let channel: UInt8
  package let includesExcludedScenes: Bool

  package init(channel: UInt8 = 1, includesExcludedScenes: Bool = false) {
    precondition((1...3).contains(channel))
    self.channel = channel
    self.includesExcludedScenes = includesExcludedScenes
  }

  /// Why events of a class are left out; nil: they count.
  func exclusion(_ traffic: TrafficClass) -> OmissionReason? {
    if traffic.isExcludedScene && !includesExcludedScenes { return .scene }
    return traffic.channel != channel ? .releaseChannel : nil
  }

  var classes: [TrafficClass] {
    (0..<TrafficClass.count).map { TrafficClass(rawValue: UInt8($0)) }
      .filter { exclusion($0) == nil }
  }

  /// By the flags of a row: whether it counts, as a table of 256.
  var countedByFlags: [Bool] {
    (0...UInt8.max).map { bits in
      let traffic = RowFlags(rawValue: bits).traffic
      return Int(traffic.rawValue) < TrafficClass.count && exclusion(traffic) == nil
    }
  }
}

/// Why an event of the period does not count. Of an event with several reasons the first of these is given.
package enum OmissionReason: String, Sendable, CaseIterable {
  case scene
  case releaseChannel = "release_channel"
  case filter
}

/// How many events a report counted, and how many it left out.
struct EventTally: Sendable, Equatable {
  var read: UInt64 = 0
  var excluded: [OmissionReason: UInt64] = [:]

  /// - Parameters:
  ///   - mask: 1 for each row that matches the filter; nil: no filter.
  mutating func add(_ day: DayColumns, _ choice: TrafficChoice, mask: [UInt8]?) {
    var byFlags = [Int](repeating: 0, count: 256)
    day.withPointers { $0.countFlags(0..<day.count, into: &byFlags) }
    guard let mask else { return add(flagCounts: byFlags, choice) }
    var unmatched = [Int](repeating: 0, count: 256)
    for (row, flags) in day.flags.enumerated() where mask[row] == 0 { unmatched[Int(flags)] += 1 }
    add(flagCounts: byFlags, unmatched: unmatched, choice)
  }

  mutating func add(_ other: EventTally) {
    read += other.read
    excluded.merge(other.excluded, uniquingKeysWith: +)
  }

  /// - Parameter byFlags: how many events have which flags.
  mutating func add(flagCounts byFlags: [Int], _ choice: TrafficChoice) {
    add(flagCounts: byFlags, unmatched: Array(repeating: 0, count: 256), choice)
  }

  private mutating func add(flagCounts byFlags: [Int], unmatched: [Int], _ choice: TrafficChoice) {
    for flags in 0..<256 where byFlags[flags] > 0 {
      let traffic = RowFlags(rawValue: UInt8(flags)).traffic
      if let reason = choice.exclusion(traffic) {
        excluded[reason, default: 0] += UInt64(byFlags[flags])
      } else {
        read += UInt64(byFlags[flags] - unmatched[flags])
        if unmatched[flags] > 0 { excluded[.filter, default: 0] += UInt64(unmatched[flags]) }
      }
    }
  }
}

/// What an answer includes (SEMANTICS 11).
package struct AnswerInfo: Sendable, Equatable {
  /// Version of the definitions that the numbers follow (docs/semantics.md).
  package static let definitionVersion = "1"

  package var position: AppliedPosition
  /// 0: no events.
  package var lastEventMilliseconds: Int64
  package var timeZone: String
  package var eventsRead: UInt64
  package var excluded: [OmissionReason: UInt64]
  package var isComplete: Bool

  init(_ snapshot: AppSnapshot, _ tally: EventTally, isComplete: Bool) {
    position = snapshot.position
    lastEventMilliseconds = snapshot.lastEventMilliseconds
    timeZone = snapshot.calendar.identifier
    eventsRead = tally.read
    excluded = tally.excluded
    self.isComplete = isComplete && snapshot.coverage.isWhole
  }
}
