package import Logging
package import RPC
package import ServiceKit
package import Store
package import Subscription

/// User-profile put together: the store, the log that it follows, and the service.
package final class UserProfileCore: Sendable {
  package let store: Store
  package let service: UserProfileService
  package let follower: LogFollower
  private let scrub: ErasureScrub
  private let logger: Logger

  /// - Parameters:
  ///   - path: of the SQLite file.
  ///   - transport: to ingest, with a token of the scope `events:read`.
  ///   - tokens: filled from the log.
  ///   - onPoison: called once where a write failed; the process must end.
  package init(
    path: String, configuration: UserProfileConfiguration, transport: any ClientTransport,
    tokens: TokenTable, logger: Logger, onPoison: @escaping @Sendable (StoreError) -> Void = { _ in }
  ) throws {
    store = try Store(
      path: path, options: configuration.storeOptions, migrations: Self.migrations,
      onPoison: onPoison)
    scrub = try ErasureScrub(store: store)
    self.logger = logger
    let directory = try Directory(store: store, tokens: tokens)
    let follower = try LogFollower(
      subscriber: "user-profile", transport: transport, store: store, directory: directory,
      consumer: ProfileConsumer(scrub: scrub), logger: logger)
    self.follower = follower
    service = UserProfileService(
      store: store, app: { directory.app($0) }, position: { try Directory.position(in: $0) },
      status: { follower.status })
  }

  /// A file keeps the numbers that it was made with: what is new comes last.
  private static var migrations: [Migration] {
    var all = Directory.migrations
    all.append(Migration(Directory.firstFreeMigration, ProfileSchema.statements))
    all += Directory.laterMigrations(from: Directory.firstFreeMigration + 1)
    all.append(Migration(all.count + 1, ErasureScrub.statements))
    return all
  }

  /// Erased users of whom something may still be in the files.
  package var erasuresWaiting: Int { scrub.waiting }

  /// Follows the log, and leaves nothing of erased users in the files, until cancelled.
  package func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.follower.run() }
      group.addTask { try await self.scrub.run(logger: self.logger) }
      defer { group.cancelAll() }
      for try await _ in group {}
    }
  }

  package func close() { store.close() }
}
