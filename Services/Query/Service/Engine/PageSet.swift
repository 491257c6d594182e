/// The distinct pages of an open: a bit for each of the app's first 256 pages; the others are in the visitor's `LargePageSets`.
/// Without references, so that opens are copied as they are.
struct PageSet: Sendable, BitwiseCopyable {
  private var bits0: UInt64 = 0
  private var bits1: UInt64 = 0
  private var bits2: UInt64 = 0
  private var bits3: UInt64 = 0
  /// Where the others are; -1: there are none.
  fileprivate var large: Int32 = -1

  init() {}

  @inline(__always)
  mutating func insert(_ page: Int, _ rest: inout LargePageSets) {
    let bit: UInt64 = 1 &<< UInt64(page & 63)
    let word = page &>> 6
    // Each of them, whichever it is: which page comes next cannot be predicted.
    bits0 |= word == 0 ? bit : 0
    bits1 |= word == 1 ? bit : 0
    bits2 |= word == 2 ? bit : 0
    bits3 |= word == 3 ? bit : 0
    if word > 3 { rest.insert(UInt32(page), &self) }
  }

  /// How many they are; the set is done with. Code 0, a visit without a page, is no page.
  @inline(__always)
  mutating func finish(_ rest: inout LargePageSets) -> Int {
    let count =
      (bits0 & ~1).nonzeroBitCount + bits1.nonzeroBitCount + bits2.nonzeroBitCount
      + bits3.nonzeroBitCount
    return large < 0 ? count : count + rest.finish(&self)
  }
}

/// The pages of a visitor's opens beyond the app's first 256.
struct LargePageSets {
  private var sets: [Set<UInt32>] = []
  private var free: [Int32] = []

  fileprivate mutating func insert(_ page: UInt32, _ set: inout PageSet) {
    if set.large < 0 {
      if let reused = free.popLast() {
        set.large = reused
      } else {
        set.large = Int32(sets.count)
        sets.append([])
      }
    }
    sets[Int(set.large)].insert(page)
  }

  fileprivate mutating func finish(_ set: inout PageSet) -> Int {
    let place = Int(set.large)
    let count = sets[place].count
    sets[place].removeAll(keepingCapacity: true)
    free.append(set.large)
    set.large = -1
    return count
  }
}
