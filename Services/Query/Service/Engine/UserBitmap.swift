/// A set of users as a bit per user, from the lowest to the highest one: for periods in which many are active, and for cohorts
/// of users who came one after another.
struct UserBitmap: Sendable, Equatable {
  /// Number of the first word.
  private var base = 0
  private var words: [UInt64] = []

  init() {}

  /// - Parameter users: ascending.
  init(_ users: [UInt32]) { insert(users) }

  var byteCount: Int { words.count * 8 }

  private var range: Range<Int> { base..<base + words.count }

  /// - Parameter users: ascending.
  mutating func insert(_ users: [UInt32]) {
    guard let first = users.first, let last = users.last else { return }
    widen(Int(first >> 6)..<Int(last >> 6) + 1)
    let base = base
    words.withUnsafeMutableBufferPointer { words in
      for user in users { words[Int(user >> 6) - base] |= 1 << UInt64(user & 63) }
    }
  }

  private mutating func widen(_ other: Range<Int>) {
    if words.isEmpty {
      base = other.lowerBound
      words = Array(repeating: 0, count: other.count)
      return
    }
    if other.lowerBound < base {
      words.insert(contentsOf: repeatElement(0, count: base - other.lowerBound), at: 0)
      base = other.lowerBound
    }
    let missing = other.upperBound - range.upperBound
    if missing > 0 { words += repeatElement(0, count: missing) }
  }

  func contains(_ user: UInt32) -> Bool {
    let word = Int(user >> 6) - base
    return words.indices.contains(word) && words[word] & (1 << UInt64(user & 63)) != 0
  }

  var count: Int { intersectionCount(self) }

  func intersectionCount(_ other: UserBitmap) -> Int {
    let common = range.clamped(to: other.range)
    return words.withUnsafeBufferPointer { a in
      other.words.withUnsafeBufferPointer { b in
        var count = 0
        for word in common {
          count &+= (a[word - base] & b[word - other.base]).nonzeroBitCount
        }
        return count
      }
    }
  }

  mutating func formUnion(_ other: UserBitmap) {
    if other.words.isEmpty { return }
    widen(other.range)
    let base = base
    words.withUnsafeMutableBufferPointer { a in
      other.words.withUnsafeBufferPointer { b in
        for word in other.range { a[word - base] |= b[word - other.base] }
      }
    }
  }

  mutating func formIntersection(_ other: UserBitmap) {
    for word in range {
      words[word - base] &= other.range.contains(word) ? other.words[word - other.base] : 0
    }
  }

  mutating func subtract(_ other: UserBitmap) {
    for word in range.clamped(to: other.range) {
      words[word - base] &= ~other.words[word - other.base]
    }
  }

  /// Ascending.
  var users: [UInt32] {
    var users: [UInt32] = []
    for index in words.indices {
      var rest = words[index]
      while rest != 0 {
        users.append(UInt32((base + index) * 64 + rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
    return users
  }
}
