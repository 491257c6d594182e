package import Events
package import Store

/// How far a consumer has come in the log.
package struct LogPosition: Sendable, Equatable {
  /// The next offset to apply: everything before it is counted.
  package var nextOffset: UInt64
  /// Receipt time of the last applied record, ms since 1970. 0: none yet.
  package var lastReceivedMilliseconds: Int64

  package init(nextOffset: UInt64 = 0, lastReceivedMilliseconds: Int64 = 0) {
    self.nextOffset = nextOffset
    self.lastReceivedMilliseconds = lastReceivedMilliseconds
  }
}

/// One batch of the log, decoded in place. Valid during `LogConsumer.apply` only.
package struct LogBatch {
  package let app: DirectoryApp
  /// Offset of the first event; the others follow it.
  package let firstOffset: UInt64
  /// Has read `message`.
  package let reader: BatchReader
  package let message: UnsafeRawBufferPointer
  /// Turns an event's own time into the time that counts.
  package let clock: EventClock
}

/// What is done with the log's events.
///
/// A transaction goes `define` and `apply` in the order of the log, then `willCommit`, then `didCommit` or `didRollBack`.
/// All run one after another on the follower's thread, never on an event loop or a thread of Swift's pool. A consumer that
/// keeps state in memory changes it for readers in `didCommit` only: after a crash or a rollback the same records come
/// again, from the stored position on.
package protocol LogConsumer: Sendable {
  /// An app is new, or its settings have changed.
  func define(_ app: DirectoryApp, in connection: StoreConnection) throws

  /// Takes a batch's events. Where it throws, the transaction is rolled back and the records come again after a while.
  func apply(_ batch: LogBatch, in connection: StoreConnection) throws

  /// Everything of a user before this record is erased from the log: nothing of it may stay here either. What comes later of
  /// the same user is of a stranger. Alone in its transaction.
  func erase(_ user: ErasedUser, in connection: StoreConnection) throws

  /// Writes what was gathered. The position is stored in the same transaction, by the follower.
  func willCommit(_ next: LogPosition, in connection: StoreConnection) throws

  func didCommit(_ next: LogPosition)

  /// Forgets what was gathered since the last commit.
  func didRollBack()
}

extension LogConsumer {
  package func define(_ app: DirectoryApp, in connection: StoreConnection) throws {}
  package func erase(_ user: ErasedUser, in connection: StoreConnection) throws {}
  package func willCommit(_ next: LogPosition, in connection: StoreConnection) throws {}
  package func didCommit(_ next: LogPosition) {}
  package func didRollBack() {}
}
