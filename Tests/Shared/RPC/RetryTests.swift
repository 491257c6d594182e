import RPC
import Testing

@Suite struct RetryTests {
  private let idempotent = MethodDescriptor(
    service: "a.A", method: "B", kind: .unary, access: .open, idempotency: .idempotent)
  private let unknown = MethodDescriptor(service: "a.A", method: "B", kind: .unary, access: .open)

  @Test func `a policy has sensible values only`() {
    #expect(RetryPolicy() != nil)
    #expect(RetryPolicy(maxAttempts: 1) == nil)
    #expect(RetryPolicy(maxAttempts: 9)?.maxAttempts == 5)
    #expect(RetryPolicy(initialBackoffMilliseconds: 0) == nil)
    #expect(RetryPolicy(backoffMultiplier: -1) == nil)
    #expect(RetryPolicy(retryableCodes: []) == nil)
    #expect(RetryPolicy(retryableCodes: [.ok]) == nil)
  }

  @Test(arguments: [(0, 100.0), (1, 200.0), (2, 400.0), (3, 500.0), (4, 500.0)])
  func `the wait grows to its maximum`(_ index: Int, _ middle: Double) throws {
    let policy = try #require(
      RetryPolicy(maxAttempts: 5, initialBackoffMilliseconds: 100, maxBackoffMilliseconds: 500))
    #expect(policy.backoffMilliseconds(index, random: 0) == middle * 0.8)
    #expect(policy.backoffMilliseconds(index, random: 0.5) == middle)
    #expect(policy.backoffMilliseconds(index, random: 1) == middle * 1.2)
  }

  @Test func `what never left is repeated for ever, what was refused once`() {
    var machine = RetryMachine(nil, unknown)
    for _ in 0..<100 {
      #expect(machine.attemptFailed(.init(.unavailable, .notSent), throttle: nil) == .again)
    }
    #expect(machine.attemptFailed(.init(.deadlineExceeded, .notSent), throttle: nil) == .fail)
    #expect(machine.attemptFailed(.init(.unavailable, .notRun), throttle: nil) == .again)
    #expect(machine.attemptFailed(.init(.unavailable, .notRun), throttle: nil) == .fail)
    #expect(machine.attempts == 1)
  }

  @Test func `the server's wait begins the backoff anew`() throws {
    let policy = try #require(RetryPolicy(maxAttempts: 5, initialBackoffMilliseconds: 100))
    var machine = RetryMachine(policy, idempotent)
    func fail(_ pushback: RetryPushback? = nil) -> RetryMachine.Decision {
      machine.attemptFailed(
        .init(.unavailable, .mayHaveRun, pushback: pushback), throttle: nil, random: 0.5)
    }
    #expect(fail() == .after(milliseconds: 100))
    #expect(fail() == .after(milliseconds: 200))
    #expect(fail(.after(7)) == .after(milliseconds: 7))
    #expect(fail() == .after(milliseconds: 100))
    #expect(fail() == .fail)
    #expect(machine.attempts == 5)
  }

  @Test func `other codes, answers that began and other methods are not repeated`() {
    var machine = RetryMachine(RetryPolicy(), idempotent)
    #expect(machine.attemptFailed(.init(.internal, .mayHaveRun), throttle: nil) == .fail)
    #expect(
      machine.attemptFailed(.init(.unavailable, .mayHaveRun, isCommitted: true), throttle: nil) == .fail)
    #expect(
      machine.attemptFailed(.init(.unavailable, .mayHaveRun, pushback: .never), throttle: nil) == .fail)
    var other = RetryMachine(RetryPolicy(), unknown)
    #expect(other.attemptFailed(.init(.unavailable, .mayHaveRun), throttle: nil) == .fail)
  }

  @Test func `a throttle opens again with successes`() {
    let throttle = RetryThrottle(maxTokens: 4, tokenRatio: 0.5)
    throttle.failed()
    #expect(throttle.allowsRetry)
    throttle.failed()
    #expect(!throttle.allowsRetry)
    for _ in 0..<10 { throttle.failed() }
    for _ in 0..<4 { throttle.succeeded() }
    #expect(!throttle.allowsRetry)
    throttle.succeeded()
    #expect(throttle.allowsRetry)
  }

  @Test func `connections back off by 1.6 to their maximum and begin anew`() {
    var backoff = ConnectionBackoff(initialMilliseconds: 1_000, maxMilliseconds: 3_000)
    #expect(backoff.next(random: 0.5) == 1_000)
    #expect(backoff.next(random: 0) == 1_600 * 0.8)
    #expect(backoff.next(random: 1) == 2_560 * 1.2)
    #expect(backoff.next(random: 0.5) == 3_000)
    #expect(backoff.next(random: 0.5) == 3_000)
    backoff.reset()
    #expect(backoff.next(random: 0.5) == 1_000)
  }
}
