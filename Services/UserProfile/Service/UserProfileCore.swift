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
      path: path, options: configuration.storeOptions,
      migrations: Directory.migrations + [
        Migration(Directory.firstFreeMigration, ProfileSchema.statements)
      ] + Directory.laterMigrations(from: Directory.firstFreeMigration + 1),
      onPoison: onPoison)
    let directory = try Directory(store: store, tokens: tokens)
    let follower = try LogFollower(
      subscriber: "user-profile", transport: transport, store: store, directory: directory,
      consumer: ProfileConsumer(), logger: logger)
    self.follower = follower
    service = UserProfileService(
      store: store, app: { directory.app($0) }, position: { try Directory.position(in: $0) },
      status: { follower.status })
  }

  /// Follows the log until cancelled.
  package func run() async throws { try await follower.run() }

  package func close() { store.close() }
}
