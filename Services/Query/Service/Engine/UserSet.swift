/// A set of users, exact: open addressing while small, a bit per user of the app once that is smaller. Lists of users are only noted
/// while it is small: which of them are the same is found out when that is asked.
struct UserSet {
  /// Of `slots` or `bits`.
  private var settledCount = 0
  /// User, or 0 where the slot is free: no user has the code 0.
  private var slots: [UInt32] = []
  private var bits: [UInt64] = []
  /// Users that were noted, some several times, some of `slots` too. Empty where there are `bits`.
  private var noted: [UInt32] = []
  private let userCount: Int

  init(userCount: Int) { self.userCount = userCount }

  var byteCount: Int { (slots.count + noted.capacity) * 4 + bits.count * 8 }

  /// Cost: where users are only noted, a look at each of them and perhaps at a bit per user of the app.
  var count: Int { noted.isEmpty ? settledCount : settled().settledCount }

  /// The same with nobody only noted.
  private func settled() -> UserSet {
    var result = self
    // Bits of all users are cleared and counted faster than so many users are looked up.
    if noted.count * 64 > userCount / 64 { result.becomeBits() } else { result.settle() }
    return result
  }

  private mutating func settle() {
    let users = noted
    noted = []
    for user in users { _ = insert(user) }
  }

  /// Returns whether the user was not yet in it.
  mutating func insert(_ user: UInt32) -> Bool {
    if !bits.isEmpty { return insertBit(user) }
    if !noted.isEmpty {
      settle()
      return insert(user)
    }
    if settledCount * 2 >= slots.count { grow() }
    if !bits.isEmpty { return insertBit(user) }
    let mask = slots.count - 1
    var slot = Self.slot(user, mask)
    while slots[slot] != 0 {
      if slots[slot] == user { return false }
      slot = (slot + 1) & mask
    }
    slots[slot] = user
    settledCount += 1
    return true
  }

  /// Cost: a few instructions for each.
  mutating func insert(_ users: UnsafeBufferPointer<UInt32>) {
    if bits.isEmpty {
      guard isBitsSmaller(slots: slots.count + noted.count + users.count) else {
        noted.append(contentsOf: users)
        return
      }
      becomeBits()
    }
    insertBits(users)
  }

  private mutating func insertBits(_ users: UnsafeBufferPointer<UInt32>) {
    settledCount += bits.withUnsafeMutableBufferPointer { bits in
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
    settledCount += 1
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
    let (old, noted) = (slots, noted)
    bits = Array(repeating: 0, count: (userCount + 63) / 64)
    (slots, self.noted) = ([], [])
    settledCount = 0
    for user in old where user != 0 { _ = insertBit(user) }
    noted.withUnsafeBufferPointer { insertBits($0) }
  }

  mutating func removeAll() {
    settledCount = 0
    noted = []
    if !bits.isEmpty {
      for word in bits.indices { bits[word] = 0 }
    } else {
      slots = []
    }
  }

  /// The users in it, in no order.
  func forEach(_ body: (UInt32) -> Void) {
    if !noted.isEmpty { return settled().forEach(body) }
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
    if !noted.isEmpty { return settled().users }
    var users: [UInt32] = []
    users.reserveCapacity(settledCount)
    forEach { users.append($0) }
    return bits.isEmpty ? users.sorted() : users
  }

  mutating func formUnion(_ other: UserSet) {
    if settledCount == 0, noted.isEmpty {
      self = other
    } else if other.bits.isEmpty {
      other.noted.withUnsafeBufferPointer { insert($0) }
      other.slots.filter { $0 != 0 }.withUnsafeBufferPointer { insert($0) }
    } else {
      if bits.isEmpty { becomeBits() }
      for word in bits.indices { bits[word] |= other.bits[word] }
      settledCount = bits.reduce(0) { $0 + $1.nonzeroBitCount }
    }
  }
}
