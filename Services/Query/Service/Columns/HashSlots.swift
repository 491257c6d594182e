/// Codes by the hash of what they stand for: open addressing over slots of 4 bytes, 16 to a cache line.
///
/// A slot holds a code in as many low bits as a slot's number has, and above them the bits of the hash that do not say where it is
/// looked for: hardly ever has a string to be compared that is not the one.
struct HashSlots: Sendable {
  /// 0: free. Their number is a power of two.
  private var slots: [UInt32] = Array(repeating: 0, count: 16)

  init() {}

  var byteCount: Int { slots.count * 4 }

  /// Of how many codes it may be told; with more it is made anew.
  var capacity: Int { slots.count / 4 * 3 }

  /// Empties it and makes room.
  mutating func removeAll(roomFor count: Int) {
    var size = slots.count
    while size / 4 * 3 < count { size *= 2 }
    precondition(size <= 1 << 31, "at most 2^30 strings")
    // The old ones go first.
    slots = []
    slots = Array(repeating: 0, count: size)
  }

  /// The first code of a hash that the closure agrees to.
  @inline(__always)
  func first(_ hash: UInt32, where holds: (UInt32) -> Bool) -> UInt32? {
    slots.withUnsafeBufferPointer { slots in
      let mask = UInt32(truncatingIfNeeded: slots.count &- 1)
      var place = hash & mask
      while true {
        let slot = slots[Int(place)]
        if slot == 0 { return nil }
        if (slot ^ hash) & ~mask == 0, holds(slot & mask) { return slot & mask }
        place = (place &+ 1) & mask
      }
    }
  }

  /// The first code of a hash, 0 where there is none. Reads nothing but slots.
  @inline(__always)
  func candidate(_ hash: UInt32) -> UInt32 { first(hash) { _ in true } ?? 0 }

  /// Adds a code, without looking whether it is there. Precondition: there is room.
  @inline(__always)
  mutating func insert(_ code: UInt32, _ hash: UInt32) {
    slots.withUnsafeMutableBufferPointer { slots in
      let mask = UInt32(truncatingIfNeeded: slots.count &- 1)
      precondition(code > 0 && code <= mask, "a code beyond the slots")
      var place = hash & mask
      while slots[Int(place)] != 0 { place = (place &+ 1) & mask }
      slots[Int(place)] = hash & ~mask | code
    }
  }
}
