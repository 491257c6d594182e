import Events
package import Store
package import Subscription
import Synchronization

/// Gives the log's batches to the applier.
package final class ProfileConsumer: LogConsumer {
  /// Taken within a transaction, or with nothing else held.
  private let lock = Mutex(())
  // Touched under `lock` only. A Mutex cannot hold it: the connection beside it belongs to the caller's thread.
  private nonisolated(unsafe) let applier = ProfileApplier()

  private let scrub: ErasureScrub

  package init(scrub: ErasureScrub) { self.scrub = scrub }

  package func define(_ app: DirectoryApp, in connection: StoreConnection) throws {
    lock.withLock { _ in applier.change(Self.rules(app), ofApp: app.appID) }
  }

  private static func rules(_ app: DirectoryApp) -> ProfileApplier.AppRules {
    ProfileApplier.AppRules(
      calendar: app.calendar, session: app.sessionRules,
      exclusions: DefaultExclusions(scenes: app.scenes))
  }

  package func apply(_ batch: LogBatch, in connection: StoreConnection) throws {
    try lock.withLock { _ in
      try applier.apply(
        appID: batch.app.appID, batch.reader, message: batch.message, clock: batch.clock,
        connection: connection
      ) { Self.rules(batch.app) }
    }
  }

  package func erase(_ user: ErasedUser, in connection: StoreConnection) throws {
    let wasKnown = try lock.withLock { _ in
      try applier.erase(
        appID: user.app.appID, connection: connection, rules: { Self.rules(user.app) },
        where: user.matches)
    }
    if wasKnown { try scrub.note(in: connection) }
  }

  package func willCommit(_ next: LogPosition, in connection: StoreConnection) throws {
    try lock.withLock { _ in try applier.flush(connection) }
  }

  package func didCommit(_ next: LogPosition) { scrub.didCommit() }

  package func didRollBack() {
    scrub.didRollBack()
    lock.withLock { _ in applier.discard() }
  }
}
