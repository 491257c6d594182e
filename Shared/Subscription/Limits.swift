/// Bounds and waits of a follower.
enum FollowLimits {
  /// Bytes of records that one transaction takes, where more has come than one message. Catching up is faster with
  /// fewer commits; 1 MiB messages come one at a time when the consumer keeps up.
  static let transactionBytesMax = 4 << 20
  /// Bytes that wait to be applied; beyond it the stream is not read.
  static let queueBytesMax = 8 << 20
  /// Ingest gives a sign of life every second.
  static let silenceMilliseconds = 10_000

  /// What erased users left in free pages is looked after this often.
  static let scrubSeconds = 1
  /// The same after there was no space for it.
  static let scrubFullDiskSeconds = 60

  /// Ingest is told this often what is committed, while that changes.
  static let acknowledgeMilliseconds = 1_000

  /// Wait before the first attempt after a connection that worked.
  static let firstRetryMilliseconds = 100.0
  /// Wait before the second; then 1.6 times as long each time, +-20 % (grpc/doc/connection-backoff.md).
  static let backoffMilliseconds = 1_000.0
  static let backoffFactor = 1.6
  static let backoffMaxMilliseconds = 10_000.0
  static let jitter = 0.2
}

/// How long to wait before the next attempt.
package struct Backoff {
  private var failures = 0

  package init() {}

  /// A message came: the next failure is the first.
  package mutating func reset() { failures = 0 }

  package mutating func nextMilliseconds(random: Double = .random(in: -1...1)) -> Double {
    defer { failures += 1 }
    var wait = FollowLimits.firstRetryMilliseconds
    if failures > 0 {
      wait = FollowLimits.backoffMilliseconds
      for _ in 1..<min(failures, 10) { wait *= FollowLimits.backoffFactor }
    }
    return min(wait, FollowLimits.backoffMaxMilliseconds) * (1 + FollowLimits.jitter * random)
  }
}
