/// The distinct pages of an open: a bit for each of the app's first 256 pages, a list of the others, few as a rule.
struct PageSet: Sendable {
  private static let listMax = 32

  private var bits0: UInt64 = 0
  private var bits1: UInt64 = 0
  private var bits2: UInt64 = 0
  private var bits3: UInt64 = 0
  private var list: [UInt32] = []
  private var rest: Set<UInt32> = []

  /// Code 0, a visit without a page, is no page.
  var count: Int {
    (bits0 & ~1).nonzeroBitCount + bits1.nonzeroBitCount + bits2.nonzeroBitCount
      + bits3.nonzeroBitCount + list.count + rest.count
  }

  @inline(__always)
  mutating func insert(_ page: Int) {
    let bit: UInt64 = 1 << UInt64(page & 63)
    switch page >> 6 {
    case 0: bits0 |= bit
    case 1: bits1 |= bit
    case 2: bits2 |= bit
    case 3: bits3 |= bit
    default: insertRest(UInt32(page))
    }
  }

  private mutating func insertRest(_ page: UInt32) {
    if list.contains(page) { return }
    if list.count < Self.listMax { list.append(page) } else { rest.insert(page) }
  }
}
