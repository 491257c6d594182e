import Events
package import Store
package import Subscription

/// Gives the log to the engine.
package final class QueryConsumer: LogConsumer {
  private let engine: QueryEngine
  private let appender: RowAppender

  package init(engine: QueryEngine) {
    self.engine = engine
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
    try engine.willCommit(AppliedPosition(next), in: connection)
  }

  package func didCommit(_ next: LogPosition) {
    engine.didCommit(AppliedPosition(next))
    // While the log comes faster than it is merged, it waits here, outside of the transaction. An error of the merge is
    // the store's: it is poisoned then, and the next transaction says so.
    if engine.isOverfull { _ = try? engine.mergeIfDue(leavesFew: true) }
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
