package import Events

/// The days on which a user was active, as a bitmap of weeks of 64 days. Days are counted from 1970 in the app's time zone.
package struct ActiveDays: Sendable, Equatable {
  /// Words of 64 days in order; only those with a day.
  private var words: [(index: Int32, bits: UInt64)] = []
  package private(set) var count: UInt32 = 0

  package init() {}

  /// Returns whether the day is new. Cost: constant for the latest day, else linear.
  @discardableResult
  package mutating func insert(_ day: Int32) -> Bool {
    let index = day >> 6
    let bit: UInt64 = 1 << UInt64(day & 63)
    var place = words.count
    while place > 0, words[place - 1].index > index { place -= 1 }
    if place > 0, words[place - 1].index == index {
      guard words[place - 1].bits & bit == 0 else { return false }
      words[place - 1].bits |= bit
    } else {
      words.insert((index, bit), at: place)
    }
    count += 1
    return true
  }

  /// Ascending.
  package var all: [Int32] {
    words.flatMap { word in
      (0..<64).filter { word.bits & 1 << UInt64($0) != 0 }.map { (word.index << 6) + Int32($0) }
    }
  }

  package static func == (a: ActiveDays, b: ActiveDays) -> Bool {
    a.words.elementsEqual(b.words) { $0.index == $1.index && $0.bits == $1.bits }
  }

  /// ```
  /// n | n x ( step of the word's index | 64 bits )
  /// ```
  package func encode(into writer: inout PackedWriter) {
    writer.unsigned(UInt64(words.count))
    var previous: Int32 = 0
    for word in words {
      writer.signed(Int64(word.index &- previous))
      writer.word(word.bits)
      previous = word.index
    }
  }

  package init(from reader: inout PackedReader) throws(PackedError) {
    let size = try reader.count(max: ProfileLimits.dayWordsMax)
    words.reserveCapacity(size + 1)
    var index: Int64 = 0
    for _ in 0..<size {
      index &+= try reader.signed()
      guard let narrow = Int32(exactly: index) else { throw PackedError() }
      let bits = try reader.word()
      words.append((narrow, bits))
      count += UInt32(bits.nonzeroBitCount)
    }
  }
}
