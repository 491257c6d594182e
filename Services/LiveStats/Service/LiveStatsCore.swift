package import Logging
package import RPC
package import ServiceKit
package import Store
package import Subscription

/// Live-stats put together: the store, the log that it follows, the watchers and the service.
package final class LiveStatsCore: Sendable {
  private static let sweepSeconds = 10
  /// Slices of one round of the sweep.
  private static let sweepStepsMax = 5

  package let store: Store
  package let service: LiveStatsService
  package let follower: LogFollower
  package let hub: WatchHub
  private let consumer: LiveConsumer
  private let scrub: ErasureScrub
  private let logger: Logger

  /// - Parameters:
  ///   - path: of the SQLite file.
  ///   - transport: to ingest, with a token of the scope `events:read`.
  ///   - tokens: filled from the log.
  ///   - onPoison: called once where a write failed; the process must end.
  package init(
    path: String, configuration: LiveStatsConfiguration, transport: any ClientTransport,
    tokens: TokenTable, logger: Logger, onPoison: @escaping @Sendable (StoreError) -> Void = { _ in }
  ) throws {
    store = try Store(
      path: path, options: configuration.storeOptions, migrations: Self.migrations,
      onPoison: onPoison)
    scrub = try ErasureScrub(store: store)
    let directory = try Directory(store: store, tokens: tokens)
    let view = LiveView(
      retentionMinutes: configuration.retentionMinutes, clock: { WallClock.nowMilliseconds },
      position: { try Directory.position(in: $0) })
    hub = WatchHub(store: store, view: view, logger: logger)
    consumer = LiveConsumer(view: view, hub: hub, scrub: scrub)
    let follower = try LogFollower(
      subscriber: "live-stats", transport: transport, store: store, directory: directory,
      consumer: consumer, logger: logger)
    self.follower = follower
    self.logger = logger
    service = LiveStatsService(
      store: store, view: view, hub: hub, calendar: { directory.app($0)?.calendar },
      status: { follower.status })
  }

  /// A file keeps the numbers that it was made with: what is new comes last.
  private static var migrations: [Migration] {
    var all = Directory.migrations
    all.append(Migration(Directory.firstFreeMigration, LiveSchema.statements))
    all += Directory.laterMigrations(from: Directory.firstFreeMigration + 1)
    all.append(Migration(all.count + 1, ErasureScrub.statements))
    return all
  }

  /// Erased users of whom something may still be in the files.
  package var erasuresWaiting: Int { scrub.waiting }

  /// Follows the log, serves the watchers and sweeps, until cancelled.
  package func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.follower.run() }
      group.addTask { await self.hub.run() }
      group.addTask { try await self.sweep() }
      group.addTask { try await self.scrub.run(logger: self.logger) }
      defer { group.cancelAll() }
      for try await _ in group {}
    }
  }

  private func sweep() async throws {
    while true {
      try await Task.sleep(for: .seconds(Self.sweepSeconds))
      for _ in 0..<Self.sweepStepsMax {
        let isDone = try await store.writeDetached { [consumer] in try !consumer.sweep($0) }
        if isDone { break }
      }
    }
  }

  /// Ends the streams of Watch, which would last for ever.
  package func drain() { hub.close() }

  package func close() { store.close() }
}
