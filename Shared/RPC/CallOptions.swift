/// How a client makes one call.
package struct CallOptions: Sendable {
  /// The call fails with DEADLINE_EXCEEDED after this many milliseconds, all its attempts together. nil: the method's default;
  /// where that is 0 a streaming call lasts until it is cancelled, and a unary call is refused: it must have a deadline.
  package var timeoutMilliseconds: Int?
  /// A moment that the call does not outlast, whatever its timeout: see `inheriting`.
  package var deadline: Deadline?
  package var metadata: Metadata
  /// Waits for a connection instead of failing with UNAVAILABLE while there is none.
  package var waitForReady: Bool
  /// How requests travel. Answers come as the server likes: gzip is always accepted.
  package var compression: MessageEncoding
  /// Where what the server sends beside its messages is kept. nil: nowhere.
  package var received: ReceivedMetadata?

  package init(
    timeoutMilliseconds: Int? = nil, metadata: Metadata = Metadata(), waitForReady: Bool = false,
    compression: MessageEncoding = .identity, received: ReceivedMetadata? = nil
  ) {
    self.timeoutMilliseconds = timeoutMilliseconds
    self.metadata = metadata
    self.waitForReady = waitForReady
    self.compression = compression
    self.received = received
  }

  /// What a handler leaves itself to answer after a call of its own has failed, ms.
  package static let inheritedMarginMilliseconds = 20

  /// The options of a call that a handler makes for its own caller: it ends a margin before that one's deadline, so that the
  /// handler can still say what went wrong. Without a deadline there only the method's own holds.
  package static func inheriting(
    _ context: CallContext, marginMilliseconds: Int = inheritedMarginMilliseconds
  ) -> CallOptions {
    var options = CallOptions()
    options.deadline = context.deadline.map {
      Deadline(nanoseconds: $0.nanoseconds &- Int64(marginMilliseconds) &* 1_000_000)
    }
    return options
  }

  /// The longest timeout that is told apart from none, ms.
  private static let timeoutMillisecondsMax = Int(HeaderCoding.timeoutMaxNanoseconds / 1_000_000)

  /// When a call of a method ends that begins now. nil: never, by itself.
  package func deadline(of method: MethodDescriptor) -> Deadline? {
    let fallback = method.defaultDeadlineMilliseconds
    let timeout = timeoutMilliseconds ?? (fallback > 0 ? fallback : nil)
    let own = timeout.map { Deadline.after(milliseconds: min($0, Self.timeoutMillisecondsMax)) }
    guard let deadline else { return own }
    return own.map { min($0, deadline) } ?? deadline
  }
}
