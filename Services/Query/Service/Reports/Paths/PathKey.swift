/// A path as one number: its nodes from the highest bits down, so that numbers stand in the order of the nodes' names.
protocol PathKey: Sendable, Equatable {
  static var empty: Self { get }
  static var bitWidth: Int { get }
  static func < (a: Self, b: Self) -> Bool
  /// The node at a distance of bits from the low end.
  func bits(_ shift: Int, _ mask: UInt32) -> UInt32
  /// Puts a node there, where none is.
  mutating func put(_ node: UInt32, _ shift: Int)
  /// Without the nodes that another one does not have.
  static func & (a: Self, b: Self) -> Self
  /// Moves all nodes down, the first is free then, the last falls out.
  func moved(down shift: Int) -> Self
  var hash: UInt64 { get }
}

extension UInt64: PathKey {
  static var empty: UInt64 { 0 }
  @inline(__always)
  func bits(_ shift: Int, _ mask: UInt32) -> UInt32 {
    UInt32(truncatingIfNeeded: self &>> UInt64(truncatingIfNeeded: shift)) & mask
  }
  @inline(__always)
  mutating func put(_ node: UInt32, _ shift: Int) {
    self |= UInt64(node) &<< UInt64(truncatingIfNeeded: shift)
  }
  @inline(__always)
  func moved(down shift: Int) -> UInt64 { self &>> UInt64(truncatingIfNeeded: shift) }
  @inline(__always)
  var hash: UInt64 {
    let product = (self ^ 0xD6E8_FEB8_6659_FD93).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
    return product.high ^ product.low
  }
}

/// Four words: enough for the most nodes of any app.
struct WidePathKey: PathKey {
  private var a: UInt128 = 0
  private var b: UInt128 = 0

  static let empty = WidePathKey()
  static let bitWidth = 256

  static func < (left: WidePathKey, right: WidePathKey) -> Bool {
    left.a != right.a ? left.a < right.a : left.b < right.b
  }

  func bits(_ shift: Int, _ mask: UInt32) -> UInt32 {
    if shift >= 128 { return UInt32(truncatingIfNeeded: a >> UInt128(shift - 128)) & mask }
    let low = UInt32(truncatingIfNeeded: b >> UInt128(shift))
    let high = shift == 0 ? 0 : UInt32(truncatingIfNeeded: a << UInt128(128 - shift))
    return (low | high) & mask
  }

  mutating func put(_ node: UInt32, _ shift: Int) {
    if shift >= 128 {
      a |= UInt128(node) << UInt128(shift - 128)
    } else {
      b |= UInt128(node) << UInt128(shift)
      if shift > 0 { a |= UInt128(node) >> UInt128(128 - shift) }
    }
  }

  static func & (left: WidePathKey, right: WidePathKey) -> WidePathKey {
    var both = WidePathKey()
    both.a = left.a & right.a
    both.b = left.b & right.b
    return both
  }

  func moved(down shift: Int) -> WidePathKey {
    var moved = WidePathKey()
    moved.b = b >> UInt128(shift) | a << UInt128(128 - shift)
    moved.a = a >> UInt128(shift)
    return moved
  }

  var hash: UInt64 {
    let words = [a, b].flatMap { [UInt64(truncatingIfNeeded: $0), UInt64(truncatingIfNeeded: $0 >> 64)] }
    return words.reduce(0) { ($0 ^ $1).hash }
  }
}

/// Where the nodes of a path stand in its key.
struct PathLayout: Sendable {
  let steps: Int
  let bits: Int

  var mask: UInt32 { UInt32(truncatingIfNeeded: (1 << bits) - 1) }

  init(steps: Int, bits: Int) {
    precondition(bits <= Limits.pathNodeBitsMax && steps <= Limits.pathStepsMax)
    self.steps = steps
    self.bits = bits
  }

  var keyBits: Int { steps * bits }

  /// Of a step, from 0.
  @inline(__always)
  func shift(_ step: Int) -> Int { (steps &- 1 &- step) &* bits }

  /// By number of nodes: a path of so many, all of their bits 1.
  func masks<Key: PathKey>() -> [Key] {
    var mask = Key.empty
    return [mask] + (0..<steps).map { step in
      mask.put(self.mask, shift(step))
      return mask
    }
  }

  /// The nodes of a path, in order of time.
  func nodes(_ key: some PathKey) -> [UInt32] {
    (0..<steps).map { key.bits(shift($0), mask) }.prefix { $0 != 0 }.map { $0 }
  }
}
