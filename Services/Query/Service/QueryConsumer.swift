import Events
package import Store
package import Subscription
import Synchronization

/// Gives the log to the engine.
package final class QueryConsumer: LogConsumer {
  private let engine: QueryEngine
  private let appender: RowAppender
  private let unsealedRowsMax: Int
  /// Of a merge that came due with a commit.
  private let mergeFailure = Mutex<(any Error)?>(nil)

  /// - Parameter unsealedRowsMax: of all apps; with more of them the log waits for the merge.
  package init(engine: QueryEngine, unsealedRowsMax: Int? = nil) {
    self.engine = engine
    self.unsealedRowsMax = unsealedRowsMax ?? Limits.unsealedRowsMax
    appender = RowAppender(engine: engine)
  }

  package func define(_ app: DirectoryApp, in connection: StoreConnection) throws {
    try engine.define(
      AppDefinition(
        appID: app.appID, platform: app.platform, timeZone: app.calendar.identifier,
        sessionRules: app.sessionRules, sources: app.sources),
      in: connection)
  }

  package func apply(_ batch: LogBatch, in connection: StoreConnection) throws {
    try appender.append(
      batch.message, decodedBy: batch.reader, appID: batch.app.appID, clock: batch.clock)
  }

  package func erase(_ user: ErasedUser, in connection: StoreConnection) throws {
    try engine.erase(user.app.appID, in: connection, where: user.matches)
  }

  package func willCommit(_ next: LogPosition, in connection: StoreConnection) throws {
    if let failure = takeFailure() { throw failure }
    try engine.willCommit(AppliedPosition(next), in: connection)
  }

  private func takeFailure() -> (any Error)? {
    mergeFailure.withLock { failure in
      defer { failure = nil }
      return failure
    }
  }

  package func didCommit(_ next: LogPosition) {
    engine.didCommit(AppliedPosition(next))
    guard engine.isOverfull(unsealedRowsMax) else { return }
    // While the log comes faster than it is merged, it waits here, outside of the transaction: for the merge that runs, if there
    // is one and it is enough.
    do {
      try engine.mergeIfDue(.past, overfullRows: unsealedRowsMax)
    } catch {
      // Full disk for instance: the next transaction fails with it, so that it is said, and the log comes again after a while.
      mergeFailure.withLock { $0 = error }
    }
  }

  package func didRollBack() { engine.didRollBack() }
}

extension AppliedPosition {
  init(_ position: LogPosition) {
    self.init(
      nextOffset: position.nextOffset,
      receivedMilliseconds: position.lastReceivedMilliseconds)
  }
}
