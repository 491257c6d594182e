internal import Synchronization

/// When and how calls are repeated (gRFC A6). Used for methods whose descriptor says that repeating them is harmless, and for no
/// others, whatever the policy says.
package struct RetryPolicy: Sendable {
  /// The most attempts that gRPC allows, the first one included.
  package static let attemptsMax = 5
  package static let jitter = 0.8...1.2

  /// Attempts of one call, the first included: 2...5.
  package let maxAttempts: Int
  /// Wait before the second attempt, ms, +-20 %.
  package let initialBackoffMilliseconds: Double
  package let maxBackoffMilliseconds: Double
  /// What the wait grows by with each attempt.
  package let backoffMultiplier: Double
  package let retryableCodes: Set<StatusCode>

  /// - Returns: nil where a value is out of its range: at least two attempts, more than no wait, a code or more, never OK.
  package init?(
    maxAttempts: Int = 3, initialBackoffMilliseconds: Double = 50,
    maxBackoffMilliseconds: Double = 1_000, backoffMultiplier: Double = 2,
    retryableCodes: Set<StatusCode> = [.unavailable]
  ) {
    guard maxAttempts >= 2, initialBackoffMilliseconds > 0, maxBackoffMilliseconds > 0,
      backoffMultiplier > 0, !retryableCodes.isEmpty, !retryableCodes.contains(.ok)
    else { return nil }
    // A6: a larger number is treated as five.
    self.maxAttempts = min(maxAttempts, Self.attemptsMax)
    self.initialBackoffMilliseconds = initialBackoffMilliseconds
    self.maxBackoffMilliseconds = maxBackoffMilliseconds
    self.backoffMultiplier = backoffMultiplier
    self.retryableCodes = retryableCodes
  }

  /// The wait before a repetition, ms.
  ///
  /// - Parameters:
  ///   - index: repetitions since the beginning, or since the server last said how long to wait.
  ///   - random: 0...1, where in the jitter's range.
  package func backoffMilliseconds(_ index: Int, random: Double) -> Double {
    var wait = initialBackoffMilliseconds
    for _ in 0..<min(index, Self.attemptsMax) { wait *= backoffMultiplier }
    let range = Self.jitter
    return min(wait, maxBackoffMilliseconds)
      * (range.lowerBound + (range.upperBound - range.lowerBound) * random)
  }
}

/// What `grpc-retry-pushback-ms` of a failed attempt says.
package enum RetryPushback: Sendable, Equatable {
  /// Exactly after so many milliseconds.
  case after(Int)
  /// A negative number, or none at all.
  case never

  init(_ value: UnsafeRawBufferPointer) {
    // Nine digits are eleven days: more is no number of milliseconds that anybody means.
    guard (1...9).contains(value.count), value.allSatisfy({ (0x30...0x39).contains($0) }) else {
      self = .never
      return
    }
    self = .after(value.reduce(0) { $0 * 10 + Int($1 - 0x30) })
  }
}

/// Stops repetitions while a server fails much (A6): a failure takes one token, a success gives back a part of one, and there are
/// no repetitions while half of the tokens or fewer are left. One for all calls of a channel.
package final class RetryThrottle: Sendable {
  private let maxThousandths: Int
  private let ratioThousandths: Int
  private let thousandths: Atomic<Int>

  /// - Parameters:
  ///   - maxTokens: 1...1,000.
  ///   - tokenRatio: above 0; counted in thousandths.
  package init(maxTokens: Int = 10, tokenRatio: Double = 0.1) {
    precondition((1...1_000).contains(maxTokens), "maxTokens: 1...1000")
    precondition(tokenRatio > 0 && tokenRatio <= 1_000, "tokenRatio: above 0")
    maxThousandths = maxTokens * 1_000
    ratioThousandths = max(1, Int(tokenRatio * 1_000))
    thousandths = Atomic(maxTokens * 1_000)
  }

  package var allowsRetry: Bool { thousandths.load(ordering: .relaxed) > maxThousandths / 2 }

  package func succeeded() {
    // Nearly always full: then nothing is written.
    guard thousandths.load(ordering: .relaxed) < maxThousandths else { return }
    change { min(maxThousandths, $0 + ratioThousandths) }
  }

  package func failed() { change { max(0, $0 - 1_000) } }

  private func change(_ next: (Int) -> Int) {
    var old = thousandths.load(ordering: .relaxed)
    while true {
      let result = thousandths.weakCompareExchange(
        expected: old, desired: next(old), ordering: .relaxed)
      if result.exchanged { return }
      old = result.original
    }
  }
}

/// Decides for one call whether a failed attempt is followed by another.
package struct RetryMachine: Sendable {
  package enum Decision: Equatable, Sendable {
    case fail
    /// At once: the server has not seen the call.
    case again
    case after(milliseconds: Double)
  }

  /// What an attempt came to.
  package struct Failure {
    package var code: StatusCode
    package var delivery: RPCError.Delivery
    package var pushback: RetryPushback?
    /// Response headers have come, or more requests were sent than are kept.
    package var isCommitted: Bool

    package init(
      _ code: StatusCode, _ delivery: RPCError.Delivery, pushback: RetryPushback? = nil,
      isCommitted: Bool = false
    ) {
      self.code = code
      self.delivery = delivery
      self.pushback = pushback
      self.isCommitted = isCommitted
    }
  }

  private let policy: RetryPolicy?
  /// Attempts that count: those that the server saw.
  package private(set) var attempts = 1
  private var wasRefused = false
  private var backoffIndex = 0

  package init(_ policy: RetryPolicy?, _ method: MethodDescriptor) {
    self.policy = method.idempotency == .unknown ? nil : policy
  }

  package mutating func attemptFailed(
    _ failure: Failure, throttle: RetryThrottle?, random: Double = .random(in: 0...1)
  ) -> Decision {
    if failure.isCommitted { return .fail }
    switch failure.delivery {
    case .notSent where failure.code == .unavailable: return .again
    case .notRun where !wasRefused:
      // Once: a server that goes on refusing wants no more (A6, transparent retries).
      wasRefused = true
      return .again
    case .notSent, .notRun, .mayHaveRun: break
    }
    guard let policy else { return .fail }
    let isRetryable = policy.retryableCodes.contains(failure.code)
    if isRetryable || failure.pushback == .never { throttle?.failed() }
    guard isRetryable, failure.pushback != .never, attempts < policy.maxAttempts,
      throttle?.allowsRetry ?? true
    else { return .fail }
    attempts += 1
    if case .after(let milliseconds) = failure.pushback {
      backoffIndex = 0
      return .after(milliseconds: Double(milliseconds))
    }
    defer { backoffIndex += 1 }
    return .after(milliseconds: policy.backoffMilliseconds(backoffIndex, random: random))
  }
}
