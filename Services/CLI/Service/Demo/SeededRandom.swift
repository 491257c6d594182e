/// SplitMix64: the same seed gives the same traffic, on every machine.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(_ parts: UInt64...) {
    state = 0x9e37_79b9_7f4a_7c15
    for part in parts {
      state = (state ^ part) &* 0xbf58_476d_1ce4_e5b9
      _ = next()
    }
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// True with this probability.
  mutating func happens(_ probability: Double) -> Bool {
    Double.random(in: 0..<1, using: &self) < probability
  }

  /// One of some values, by weight.
  mutating func pick<Value>(_ choices: [(value: Value, weight: Double)]) -> Value {
    precondition(!choices.isEmpty)
    var left = Double.random(in: 0..<choices.reduce(0) { $0 + $1.weight }, using: &self)
    for choice in choices {
      left -= choice.weight
      if left < 0 { return choice.value }
    }
    return choices[choices.count - 1].value
  }

  /// Milliseconds around a median, with a long tail.
  mutating func stay(median: Double) -> Int64 {
    // The sum of uniform values is near enough to a normal one for an exponent.
    let normal = (0..<6).reduce(0.0) { sum, _ in sum + Double.random(in: -0.5..<0.5, using: &self) }
    var factor = 1.0
    let base = normal < 0 ? 0.35 : 2.6
    for _ in 0..<Int((abs(normal) * 2).rounded(.up)) { factor *= normal == 0 ? 1 : base.squareRoot() }
    return max(300, Int64(median * factor))
  }
}
