import Events
package import Store
package import Subscription
import Synchronization

/// Gives the log's batches to the applier, and what they changed to the watchers.
package final class LiveConsumer: LogConsumer {
  private struct State {
    var applier = LiveApplier()
    var sweep = LiveSweep()
    var changes: [LiveApplier.Change] = []
  }

  private let view: LiveView
  private let hub: WatchHub
  private let scrub: ErasureScrub
  /// Taken within a transaction, or with nothing else held, so that it and the writer are never waited for crosswise.
  private let lock = Mutex(())
  // Touched under `lock` only. A Mutex cannot hold it: the connection beside it belongs to the caller's thread.
  private nonisolated(unsafe) var state = State()

  package init(view: LiveView, hub: WatchHub, scrub: ErasureScrub) {
    self.view = view
    self.hub = hub
    self.scrub = scrub
  }

  package func define(_ app: DirectoryApp, in connection: StoreConnection) throws {
    lock.withLock { _ in state.applier.change(Self.rules(app), ofApp: app.appID) }
  }

  private static func rules(_ app: DirectoryApp) -> LiveApplier.AppRules {
    LiveApplier.AppRules(
      session: app.sessionRules, exclusions: DefaultExclusions(scenes: app.scenes))
  }

  package func apply(_ batch: LogBatch, in connection: StoreConnection) throws {
    let horizon = view.horizonMinute
    try lock.withLock { _ in
      try state.applier.apply(
        appID: batch.app.appID, batch.reader, message: batch.message, clock: batch.clock,
        horizonMinute: horizon, connection: connection
      ) { Self.rules(batch.app) }
    }
  }

  /// Scrubs where the user is not known, too: the sweep leaves the rows of users who have not come for long in free pages.
  package func erase(_ user: ErasedUser, in connection: StoreConnection) throws {
    let horizon = view.horizonMinute
    try lock.withLock { _ in
      try state.applier.erase(
        appID: user.app.appID, horizonMinute: horizon, connection: connection,
        rules: { Self.rules(user.app) }, where: user.matches)
    }
    try scrub.note(in: connection)
  }

  package func willCommit(_ next: LogPosition, in connection: StoreConnection) throws {
    try lock.withLock { _ in state.changes = try state.applier.flush(connection) }
  }

  package func didCommit(_ next: LogPosition) {
    scrub.didCommit()
    let changes = lock.withLock { _ in
      defer { state.changes = [] }
      return state.changes
    }
    if !changes.isEmpty { hub.changed(changes) }
  }

  package func didRollBack() {
    scrub.didRollBack()
    lock.withLock { _ in
      state.applier.discard()
      state.changes = []
    }
  }

  /// One slice of the sweep, within a transaction of its own. Returns whether it deleted anything.
  package func sweep(_ connection: StoreConnection) throws -> Bool {
    let horizon = view.horizonMinute
    return try lock.withLock { _ in
      var isChanged = true
      // Where it throws, too: what was deleted before comes back with the rollback, and is read again.
      defer { if isChanged { state.applier.discard() } }
      isChanged = try !state.sweep.step(connection, horizonMinute: horizon).isNothing
      return isChanged
    }
  }
}
