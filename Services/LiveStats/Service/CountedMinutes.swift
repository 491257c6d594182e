package import Events

/// In which minutes, and on which pages, the events of a user are counted: kept so that they can be taken back when the user is
/// erased, and no longer than the minutes are.
package struct CountedMinutes: Sendable, Equatable {
  package struct Entry: Sendable, Equatable {
    package let minute: Int64
    /// 0: none, or one beyond `LiveLimits.pagesPerAppMax`.
    package let page: UInt32
    package var events: UInt32 = 0
    package var visits: UInt32 = 0
  }

  /// By minute, then page.
  package private(set) var entries: [Entry] = []

  package init() {}

  /// Cost: constant for the latest minute, else linear.
  package mutating func count(minute: Int64, page: UInt32, isVisit: Bool) {
    var place = entries.count
    while place > 0, (entries[place - 1].minute, entries[place - 1].page) > (minute, page) {
      place -= 1
    }
    if place == 0 || (entries[place - 1].minute, entries[place - 1].page) != (minute, page) {
      entries.insert(Entry(minute: minute, page: page), at: place)
      place += 1
    }
    entries[place - 1].events += 1
    if isVisit { entries[place - 1].visits += 1 }
  }

  /// Forgets minutes that are not kept any more, and of more than `LiveLimits.countedMinutesMax` entries the oldest half.
  package mutating func trim(before horizonMinute: Int64) {
    entries.removeFirst(entries.firstIndex { $0.minute >= horizonMinute } ?? entries.count)
    if entries.count > LiveLimits.countedMinutesMax { entries.removeFirst(entries.count / 2) }
  }

  /// ```
  /// n | n x ( step of the minute | page | 2 x events + (0: all of them visits, 1: so many) | [visits] )
  /// ```
  package func encode(into writer: inout PackedWriter) {
    writer.unsigned(UInt64(entries.count))
    var minute: Int64 = 0
    for entry in entries {
      writer.signed(entry.minute &- minute)
      writer.unsigned(UInt64(entry.page))
      let isMixed = entry.visits != entry.events
      writer.unsigned(UInt64(entry.events) << 1 | (isMixed ? 1 : 0))
      if isMixed { writer.unsigned(UInt64(entry.visits)) }
      minute = entry.minute
    }
  }

  package init(from reader: inout PackedReader) throws(PackedError) {
    let count = try reader.count(max: LiveLimits.countedMinutesMax)
    entries.reserveCapacity(count + 4)
    var minute: Int64 = 0
    for _ in 0..<count {
      minute &+= try reader.signed()
      guard let page = UInt32(exactly: try reader.unsigned()) else { throw PackedError() }
      let word = try reader.unsigned()
      let visits = word & 1 == 0 ? word >> 1 : try reader.unsigned()
      guard let events = UInt32(exactly: word >> 1), let visits = UInt32(exactly: visits) else {
        throw PackedError()
      }
      entries.append(Entry(minute: minute, page: page, events: events, visits: visits))
    }
  }
}
