package import Logging
package import Messages
package import RPC
package import ServiceKit
import Foundation
import Store
import Synchronization

/// The domain of ingest without its calls: the log, its apps and its tokens.
package final class IngestCore: Sendable {
  let store: Store
  let writer: LogWriter
  let collector: Collector
  let directory: Directory
  let privacy: PrivacyRegister
  private let apps: AppRegistry
  package let plans: EventManagement
  let reader: LogReader
  /// Of WatchTest.
  let watchers = WatcherCount()
  let subscribers = SubscriberList()
  let pipeline = PipelineFigures()
  private let failures: AsyncStream<StoreError>
  private let draining = Atomic<Bool>(false)

  /// Of the file that this release writes.
  package static var schemaVersion: Int { LogSchema.migrations.count }

  /// Opens the log and starts its writer.
  ///
  /// - Parameters:
  ///   - onToken: told of every token, at the start and at each change once that is durable.
  ///   - cachedDevicesMax: devices whose windows stay in memory.
  ///   - ledgerDays: days that the ledger keeps.
  package init(
    path: String, logger: Logger, cachedDevicesMax: Int? = nil, fileBytesMax: Int = 0,
    ledgerDays: Int? = nil,
    onToken: @escaping @Sendable (ProtoTokenRecord) -> Void
  ) throws {
    let store = try Store(
      path: path,
      options: StoreOptions(
        durability: .full, readers: 4, pageBytes: 8_192, writerCacheKiB: 8_192,
        fileBytesMax: fileBytesMax),
      migrations: LogSchema.migrations)
    let (failures, signal) = AsyncStream<StoreError>.makeStream()
    store.onPoison { signal.yield($0) }
    let apps = AppRegistry()
    let writer = try LogWriter(
      store: store, logger: logger, figures: pipeline,
      cachedDevicesMax: cachedDevicesMax ?? Limits.cachedDevicesMax,
      ledgerDays: ledgerDays ?? Limits.ledgerDays)
    self.store = store
    self.writer = writer
    self.failures = failures
    self.apps = apps
    let hash = KeyedHash(key: try Self.hashKey(store))
    collector = Collector(apps: apps, hash: hash, figures: pipeline)
    privacy = try PrivacyRegister(writer: writer, store: store, apps: apps, hash: hash)
    directory = Directory(
      writer: writer, store: store, apps: apps, hash: hash, seenBudget: SeenBudget(),
      onToken: onToken)
    plans = EventManagement(writer: writer, store: store, apps: apps)
    reader = LogReader(store: store)
    try directory.load()
    try privacy.load()
    writer.start()
  }

  /// The key of the hashes that the tables hold, made with the file.
  private static func hashKey(_ store: Store) throws -> [UInt8] {
    try store.write { connection in
      let known = try connection.first("SELECT value FROM setting WHERE name = 'hash_key'") {
        $0.bytes(0)
      }
      if let known {
        guard known.count == 16 else { throw StoreError(.corrupt, "hash_key has not 16 bytes") }
        return known
      }
      let key = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
      try connection.execute(
        "INSERT INTO setting(name, value) VALUES ('hash_key', ?)", [.blob(key)])
      return key
    }
  }

  /// Wakes subscribers for their signs of life, until the log fails.
  ///
  /// - Throws: the failure. The process must end then: what is on disk is not known.
  package func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [failures] in
        for await failure in failures { throw failure }
      }
      group.addTask { [head = writer.head] in
        while true {
          try await Task.sleep(for: .milliseconds(Limits.signOfLifeMilliseconds))
          head.tick()
        }
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  /// Subscriptions end from now on.
  package func drain() {
    draining.store(true, ordering: .releasing)
    for app in directory.apps.all { app.tracking.feed.close() }
    writer.head.tick()
  }

  var isDraining: Bool { draining.load(ordering: .acquiring) }

  /// Writes what was taken, then closes the file.
  package func close() {
    writer.close()
    store.close()
  }

  // MARK: Events

  /// Takes one encoded `CollectRequest` and returns its encoded answer once it is on disk.
  ///
  /// - Parameter received: the server's clock, ms since 1970.
  package func collect(
    _ message: [UInt8], principal: Principal, received: Int64
  ) async throws -> [UInt8] {
    let ticket = BatchTicket()
    let batch = try message.withUnsafeBytes { bytes in
      try collector.prepare(bytes, principal: principal, received: received)
    }
    try writer.submit(batch, .ticket(ticket))
    return try await ticket.result().get()
  }

  /// Lists the figures of the steps on the metrics port.
  package func register(in metrics: MetricsRegistry) { pipeline.register(in: metrics) }

  /// Encoded `SubscribeResponse` of the records from an offset on that are on disk, and the offset that follows them.
  package func records(from offset: UInt64) async throws -> (message: [UInt8], next: UInt64) {
    let chunk = try await reader.chunk(from: offset, head: head)
    return (chunk.message, chunk.next)
  }

  /// The offset that the next event will get.
  package var head: UInt64 { writer.head.value }

  /// Transactions and what they held, since the start.
  package var figures: (groups: Int, batches: Int) {
    let status = writer.currentStatus
    return (status.groups, status.batches)
  }

  package func status() async throws -> ProtoLogStatus {
    var status = ProtoLogStatus()
    let current = writer.currentStatus
    status.headOffset = head
    status.firstOffset = try await store.readDetached { connection in
      try connection.first("SELECT min(first_offset) FROM log") {
        UInt64(bitPattern: $0.int64(0))
      } ?? 0
    }
    status.payloadBytes = UInt64(current.payloadBytes)
    status.quarantinedEvents = UInt64(current.quarantined)
    status.subscribers = subscribers.statuses
    return status
  }

  // MARK: Apps and tokens

  /// - Throws: NOT_FOUND.
  func entry(_ appID: String) throws(RPCError) -> AppEntry {
    guard let entry = apps[appID] else { throw IngestErrors.unknownApp(appID) }
    return entry
  }

  package func setConsent(
    _ request: ProtoSetConsentRequest, appID: String, by tokenID: String, now: Int64
  ) async throws -> ProtoConsent {
    try await privacy.setConsent(request, app: entry(appID), by: tokenID, now: now)
  }

  package func setPrivacyRules(
    _ rules: ProtoPrivacyRules, appID: String, by tokenID: String, now: Int64
  ) async throws -> ProtoPrivacyRules {
    try await privacy.setRules(rules, app: entry(appID), by: tokenID, now: now)
  }

  package func makeFirstTokens(in folder: String, now: Int64, logger: Logger) async throws {
    try await directory.makeFirstTokens(in: folder, now: now, logger: logger)
  }

  package func createApp(_ app: ProtoApp, now: Int64) async throws -> ProtoApp {
    try await directory.createApp(app, now: now)
  }

  package func createToken(
    _ request: ProtoCreateTokenRequest, now: Int64
  ) async throws -> ProtoCreateTokenResponse {
    try await directory.createToken(request, now: now)
  }

  package func revokeToken(_ tokenID: String, now: Int64) async throws {
    try await directory.revokeToken(tokenID, now: now)
  }

  package func listTokens(appID: String) async throws -> [ProtoToken] {
    try await directory.listTokens(appID: appID)
  }
}
