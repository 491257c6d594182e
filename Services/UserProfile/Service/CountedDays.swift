package import Events

/// How many events of a user are counted, and left out, on which days: kept so that they can be taken back when the user is
/// erased. Days are counted from 1970 in the app's time zone.
package struct CountedDays: Sendable, Equatable {
  package struct Entry: Sendable, Equatable {
    package let day: Int32
    package var events: UInt64 = 0
    package var excluded = ExcludedCounts()
  }

  /// By day.
  package private(set) var entries: [Entry] = []

  package init() {}

  package mutating func count(_ day: Int32) { change(day) { $0.events += 1 } }

  package mutating func count(_ day: Int32, excluded reason: ExclusionReason) {
    change(day) { $0.excluded.count(reason) }
  }

  /// Cost: constant for the latest day, else linear.
  private mutating func change(_ day: Int32, _ change: (inout Entry) -> Void) {
    var place = entries.count
    while place > 0, entries[place - 1].day > day { place -= 1 }
    if place == 0 || entries[place - 1].day != day {
      entries.insert(Entry(day: day), at: place)
      place += 1
    }
    change(&entries[place - 1])
  }

  /// ```
  /// n | n x ( step of the day | 2 x events + (1: some are left out) | [by scene | by channel] )
  /// ```
  package func encode(into writer: inout PackedWriter) {
    writer.unsigned(UInt64(entries.count))
    var previous: Int64 = 0
    for entry in entries {
      writer.signed(Int64(entry.day) - previous)
      let hasExcluded = entry.excluded != ExcludedCounts()
      writer.unsigned(entry.events << 1 | (hasExcluded ? 1 : 0))
      if hasExcluded {
        writer.unsigned(entry.excluded.scene)
        writer.unsigned(entry.excluded.channel)
      }
      previous = Int64(entry.day)
    }
  }

  package init(from reader: inout PackedReader) throws(PackedError) {
    let count = try reader.count(max: ProfileLimits.dayWordsMax * 64)
    entries.reserveCapacity(min(count, 4_096) + 1)
    var day: Int64 = 0
    for _ in 0..<count {
      day &+= try reader.signed()
      guard let narrow = Int32(exactly: day) else { throw PackedError() }
      let word = try reader.unsigned()
      var entry = Entry(day: narrow, events: word >> 1)
      if word & 1 != 0 {
        entry.excluded.scene = try reader.unsigned()
        entry.excluded.channel = try reader.unsigned()
      }
      entries.append(entry)
    }
  }
}
