/// How long to wait between attempts to connect to one address (grpc/doc/connection-backoff.md): from the beginning of one
/// attempt to the beginning of the next.
package struct ConnectionBackoff: Sendable {
  package static let multiplier = 1.6
  package static let jitter = 0.8...1.2

  private let initialMilliseconds: Double
  private let maxMilliseconds: Double
  private var currentMilliseconds: Double

  package init(initialMilliseconds: Double, maxMilliseconds: Double) {
    precondition(initialMilliseconds > 0 && initialMilliseconds <= maxMilliseconds, "backoff out of order")
    self.initialMilliseconds = initialMilliseconds
    self.maxMilliseconds = maxMilliseconds
    currentMilliseconds = initialMilliseconds
  }

  /// The next wait, and a longer one after it.
  ///
  /// - Parameter random: 0...1, where in the jitter's range.
  package mutating func next(random: Double = .random(in: 0...1)) -> Double {
    let range = Self.jitter
    let wait = currentMilliseconds * (range.lowerBound + (range.upperBound - range.lowerBound) * random)
    currentMilliseconds = min(maxMilliseconds, currentMilliseconds * Self.multiplier)
    return wait
  }

  /// A connection stood: the next failure is the first again.
  package mutating func reset() { currentMilliseconds = initialMilliseconds }
}
