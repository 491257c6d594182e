/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same numbers everywhere. Print the seed of a test that
/// uses it.
package struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  /// Below `bound`, which is above 0.
  package mutating func below(_ bound: Int) -> Int {
    precondition(bound > 0)
    return Int(next() % UInt64(bound))
  }

  /// True once in so many times.
  package mutating func oneIn(_ times: Int) -> Bool { below(times) == 0 }

  /// One of the elements, of which there is at least one.
  package mutating func pick<Elements: RandomAccessCollection>(_ elements: Elements)
    -> Elements.Element
  {
    elements[elements.index(elements.startIndex, offsetBy: below(elements.count))]
  }

  /// Another sequence, for a part that must not disturb this one.
  package mutating func fork() -> SeededRandom { SeededRandom(seed: next()) }
}
