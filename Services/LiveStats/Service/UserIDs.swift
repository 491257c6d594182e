/// A set of dense user ids as bytes: sorted, each as the varint of its distance to the one before.
///
/// ```
/// +-----------+-----------------+-----------------+----
/// | first id  | second - first  | third - second  | ...
/// +-----------+-----------------+-----------------+----
/// ```
package enum UserIDs {
  /// - Complexity: O(n log n).
  package static func encode(_ ids: [UInt32]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(ids.count * 2)
    var previous: UInt32 = 0
    for id in ids.sorted() {
      var rest = id &- previous
      while rest >= 0x80 {
        bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
        rest >>= 7
      }
      bytes.append(UInt8(rest))
      previous = id
    }
    return bytes
  }

  /// Calls `body` with each id, in order. Bytes that end within an id, or an id over 32 bits, are `CorruptUserIDs`.
  @inline(__always)
  package static func forEach(
    in bytes: UnsafeRawBufferPointer, _ body: (UInt32) -> Void
  ) throws(CorruptUserIDs) {
    var position = 0
    var id: UInt64 = 0
    while position < bytes.count {
      var step: UInt64 = 0
      var shift: UInt64 = 0
      while true {
        guard position < bytes.count, shift <= 28 else { throw CorruptUserIDs() }
        let byte = bytes[position]
        position += 1
        step |= UInt64(byte & 0x7F) << shift
        if byte < 0x80 { break }
        shift += 7
      }
      id += step
      guard let narrow = UInt32(exactly: id) else { throw CorruptUserIDs() }
      body(narrow)
    }
  }
}

/// A stored set of users that is not one: the file was damaged.
package struct CorruptUserIDs: Error, CustomStringConvertible {
  package var description: String { "a stored set of user ids is damaged" }
}

/// Counts the different users of several sets exactly: a bitmap in pages of 65,536 ids, made where needed.
///
/// Memory: 8 KiB per page touched, at most (highest id) / 8 bytes; kept until the value goes, for use again after `reset`.
package struct UserUnion: ~Copyable {
  private static let wordsPerPage = 1_024

  /// Page of an id's upper half -> its place in `words`, -1: none yet.
  private var places: [Int32] = []
  private var words: [UInt64] = []
  private var pagesUsed = 0
  private var touched: [Int] = []
  package private(set) var count = 0

  package init() {}

  @inline(__always)
  package mutating func insert(_ id: UInt32) {
    let page = Int(id >> 16)
    if page >= places.count || places[page] < 0 { addPage(page) }
    let word = Int(places[page]) * Self.wordsPerPage + Int(id & 0xFFFF) >> 6
    let bit: UInt64 = 1 << UInt64(id & 63)
    if words[word] & bit == 0 {
      words[word] |= bit
      count += 1
    }
  }

  /// Empties it; the memory stays.
  package mutating func reset() {
    for page in touched {
      let first = Int(places[page]) * Self.wordsPerPage
      for word in first..<(first + Self.wordsPerPage) { words[word] = 0 }
      places[page] = -1
    }
    touched.removeAll(keepingCapacity: true)
    pagesUsed = 0
    count = 0
  }

  private mutating func addPage(_ page: Int) {
    while places.count <= page { places.append(-1) }
    places[page] = Int32(pagesUsed)
    touched.append(page)
    pagesUsed += 1
    while words.count < pagesUsed * Self.wordsPerPage { words.append(0) }
  }
}
