internal import Synchronization

/// Takes what a server sent beside its messages. Given to a call by `CallOptions.received`; a call without one keeps nothing.
/// Safe from any thread; one object for one call.
package final class ReceivedMetadata: Sendable {
  private let state = Mutex<(initial: Metadata?, trailing: Metadata?)>((nil, nil))

  package init() {}

  /// What came before the first message; nil as long as nothing came, and for ever where the answer is a status alone.
  package var initial: Metadata? { state.withLock { $0.initial } }

  /// What came with the status; nil as long as it has not come.
  package var trailing: Metadata? { state.withLock { $0.trailing } }

  func setInitial(_ metadata: Metadata) { state.withLock { $0.initial = metadata } }

  func setTrailing(_ metadata: Metadata) { state.withLock { $0.trailing = metadata } }

  /// Another attempt: what an earlier one brought is not the call's.
  package func clear() { state.withLock { $0 = (nil, nil) } }
}
