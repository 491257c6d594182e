/// Which users of an app granted or refused, by a hash of their id: an open-addressed table of one word per user, 63 bits of
/// the hash and one of the answer. 11 to 22 bytes per user, a look-up is one or two cache lines. Two users share an entry with
/// a chance of 2^-63 for each pair.
package struct UserStates: Sendable {
  /// A power of two of places; 0: empty.
  private var places: [UInt64] = []
  package private(set) var count = 0

  package init() {}

  /// nil: the user has said nothing.
  package subscript(user user: UInt64) -> Bool? {
    guard !places.isEmpty else { return nil }
    let word = places[place(of: Self.key(user))]
    return word == 0 ? nil : word & 1 == 1
  }

  package mutating func set(_ user: UInt64, granted: Bool) {
    if (count + 1) * 4 > places.count * 3 { grow() }
    let key = Self.key(user)
    let place = place(of: key)
    if places[place] == 0 { count += 1 }
    places[place] = key | (granted ? 1 : 0)
  }

  /// Never 0.
  private static func key(_ user: UInt64) -> UInt64 { max(user & ~1, 2) }

  /// Where a key stands, or the empty place where it belongs.
  private func place(of key: UInt64) -> Int {
    let mask = places.count - 1
    // The hash is random already; its lowest bit is not part of the key.
    var place = Int(truncatingIfNeeded: key >> 1) & mask
    while places[place] != 0, places[place] & ~1 != key { place = (place + 1) & mask }
    return place
  }

  private mutating func grow() {
    let old = places
    places = [UInt64](repeating: 0, count: max(16, old.count * 2))
    for word in old where word != 0 { places[place(of: word & ~1)] = word }
  }
}
