/// A set of users, exact: open addressing while small, a bit per user of the app once that is smaller.
struct UserSet {
  private(set) var count = 0
  /// User, or 0 where the slot is free: no user has the code 0.
  private var slots: [UInt32] = []
  private var bits: [UInt64] = []
  private let userCount: Int

  init(userCount: Int) { self.userCount = userCount }

  var byteCount: Int { slots.count * 4 + bits.count * 8 }

  /// Returns whether the user was not yet in it.
  mutating func insert(_ user: UInt32) -> Bool {
    if !bits.isEmpty { return insertBit(user) }
    if count * 2 >= slots.count { grow() }
    if !bits.isEmpty { return insertBit(user) }
    let mask = slots.count - 1
    var slot = Self.slot(user, mask)
    while slots[slot] != 0 {
      if slots[slot] == user { return false }
      slot = (slot + 1) & mask
    }
    slots[slot] = user
    count += 1
    return true
  }

  /// Cost: a few instructions for each, where it is a bit per user.
  mutating func insert(_ users: UnsafeBufferPointer<UInt32>) {
    if bits.isEmpty {
      guard isBitsSmaller(slots: (count + users.count) * 2) else {
        for user in users { _ = insert(user) }
        return
      }
      becomeBits()
    }
    count += bits.withUnsafeMutableBufferPointer { bits in
      var added = 0
      for user in users {
        let word = Int(user &>> 6)
        let old = bits[word]
        bits[word] = old | 1 &<< UInt64(user & 63)
        added &+= bits[word] == old ? 0 : 1
      }
      return added
    }
  }

  private mutating func insertBit(_ user: UInt32) -> Bool {
    let word = Int(user >> 6)
    let bit: UInt64 = 1 << UInt64(user & 63)
    if bits[word] & bit != 0 { return false }
    bits[word] |= bit
    count += 1
    return true
  }

  private static func slot(_ user: UInt32, _ mask: Int) -> Int {
    Int(truncatingIfNeeded: (UInt64(user) &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
  }

  private mutating func grow() {
    let old = slots
    let size = max(16, old.count * 2)
    if isBitsSmaller(slots: size) { return becomeBits() }
    slots = Array(repeating: 0, count: size)
    let mask = size - 1
    for user in old where user != 0 {
      var slot = Self.slot(user, mask)
      while slots[slot] != 0 { slot = (slot + 1) & mask }
      slots[slot] = user
    }
  }

  /// Whether a bit per user takes less memory than so many slots.
  private func isBitsSmaller(slots size: Int) -> Bool {
    max(16, size) * 4 >= (userCount + 63) / 64 * 8
  }

  private mutating func becomeBits() {
    let old = slots
    bits = Array(repeating: 0, count: (userCount + 63) / 64)
    slots = []
    count = 0
    for user in old where user != 0 { _ = insertBit(user) }
  }

  mutating func removeAll() {
    count = 0
    if !bits.isEmpty {
      for word in bits.indices { bits[word] = 0 }
    } else {
      slots = []
    }
  }

  /// The users in it, in no order.
  func forEach(_ body: (UInt32) -> Void) {
    for user in slots where user != 0 { body(user) }
    for (index, word) in bits.enumerated() {
      var rest = word
      while rest != 0 {
        body(UInt32(index * 64 + rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
  }

  /// The users in it, ascending.
  var users: [UInt32] {
    var users: [UInt32] = []
    users.reserveCapacity(count)
    forEach { users.append($0) }
    return bits.isEmpty ? users.sorted() : users
  }

  mutating func formUnion(_ other: UserSet) {
    if count == 0 {
      self = other
    } else if !bits.isEmpty, bits.count == other.bits.count {
      for word in bits.indices { bits[word] |= other.bits[word] }
      count = bits.reduce(0) { $0 + $1.nonzeroBitCount }
    } else {
      other.forEach { _ = insert($0) }
    }
  }
}
