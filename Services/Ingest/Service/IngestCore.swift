package import Logging
package import Messages
package import RPC
package import ServiceKit
import Foundation
package import Store
import Synchronization

/// The domain of ingest without its calls: the log, its apps and its tokens.
package final class IngestCore: Sendable {
  let store: Store
  let writer: LogWriter
  let collector: Collector
  let directory: Directory
  let privacy: PrivacyRegister
  let apps: AppRegistry
  package let plans: EventManagement
  let reader: LogReader
  /// Of WatchTest.
  let watchers = WatcherCount()
  let pipeline = PipelineFigures()
  let subscribers: SubscriberList
  let damage: LogDamage
  let eraser: LogEraser
  let logger: Logger
  let policy: LogPolicy
  private let lastLags = Mutex<[ProtoSubscriberStatus]>([])
  private let first: Atomic<UInt64>
  private let rates: KeyRates
  /// Of identities and contents, under the log's own key.
  let hash: KeyedHash
  let quarantineBounds: QuarantineBounds
  private let failures: AsyncStream<StoreError>
  private let draining = Atomic<Bool>(false)

  /// Of the file that this release writes.
  package static var schemaVersion: Int { LogSchema.migrations.count }

  /// The versions of the file, for tests that open an older one.
  package static var migrations: [Migration] { LogSchema.migrations }

  /// Opens the log and starts its writer.
  ///
  /// - Parameters:
  ///   - onToken: told of every token, at the start and at each change once that is durable.
  ///   - dedup: how much deduplication keeps, and for how long.
  ///   - ledgerDays: days that the ledger keeps.
  ///   - quarantineEventsMax, quarantineBytesMax: what is kept aside of each app.
  ///   - onDamage: told when a damaged record is found in the log, and when there is none any more.
  package init(
    path: String, logger: Logger, dedup: DedupOptions = DedupOptions(), fileBytesMax: Int = 0,
    ledgerDays: Int? = nil, quarantineEventsMax: Int? = nil, quarantineBytesMax: Int? = nil,
    policy: LogPolicy = LogPolicy(), onDamage: @escaping @Sendable (Bool) -> Void = { _ in },
    onToken: @escaping @Sendable (ProtoTokenRecord) -> Void
  ) throws {
    let store = try Store(
      path: path,
      options: StoreOptions(
        durability: .full, readers: 4, pageBytes: LogSchema.pageBytes, writerCacheKiB: 8_192,
        checkpointBytes: Limits.checkpointBytes, fileBytesMax: fileBytesMax, overwritesDeleted: true, checksPages: true,
        sealsCommits: true),
      migrations: LogSchema.migrations)
    let (failures, signal) = AsyncStream<StoreError>.makeStream()
    store.onPoison { signal.yield($0) }
    let apps = AppRegistry()
    let rates = KeyRates()
    let hash = KeyedHash(key: try Self.hashKey(store))
    let bounds = QuarantineBounds(
      eventsMax: quarantineEventsMax ?? Limits.quarantineEventsMax,
      bytesMax: quarantineBytesMax ?? Limits.quarantineBytesMax)
    let writer = try LogWriter(
      store: store, logger: logger, figures: pipeline, dedup: dedup,
      ledgerDays: ledgerDays ?? Limits.ledgerDays, quarantine: bounds)
    self.store = store
    self.writer = writer
    self.failures = failures
    self.apps = apps
    self.rates = rates
    self.hash = hash
    quarantineBounds = bounds
    collector = Collector(apps: apps, hash: hash, figures: pipeline)
    privacy = try PrivacyRegister(writer: writer, store: store, apps: apps, hash: hash)
    directory = Directory(
      writer: writer, store: store, apps: apps, hash: hash, seenBudget: SeenBudget(),
      onToken: { record in
        rates.apply(record.token)
        onToken(record)
      })
    plans = EventManagement(writer: writer, store: store, apps: apps)
    self.logger = logger
    self.policy = policy
    damage = LogDamage(logger: logger, onChange: onDamage)
    reader = LogReader(store: store, damage: damage)
    eraser = LogEraser(writer: writer, store: store, damage: damage, logger: logger)
    let (rows, first) = try store.read { connection in
      (
        try SubscriberList.load(connection),
        try connection.first("SELECT min(first_offset) FROM log") { UInt64(bitPattern: $0.int64(0)) }
      )
    }
    subscribers = SubscriberList(rows, awayMilliseconds: policy.awayMilliseconds)
    self.first = Atomic(first ?? 0)
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

  /// What goes on beside the calls: signs of life of subscribers, retention, erasures, reading for damage. Until the log
  /// fails.
  ///
  /// - Throws: the failure. The process must end then: what is on disk is not known.
  package func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [failures] in
        for await failure in failures { throw failure }
      }
      group.addTask { [head = writer.head] in
        try await Self.every(.milliseconds(Limits.signOfLifeMilliseconds)) { head.tick() }
      }
      group.addTask {
        try await Self.every(.milliseconds(Limits.subscribersSavedMilliseconds)) {
          await self.saveSubscribers(now: WallClock.nowMilliseconds)
          try await self.noteLags()
        }
      }
      group.addTask { try await self.eraser.run() }
      if policy.removes { group.addTask { try await self.keepRetention() } }
      if policy.scrubBytesPerSecond > 0 {
        group.addTask { try await self.scrub(bytesPerSecond: self.policy.scrubBytesPerSecond) }
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  private func noteLags() async throws {
    let lags = try await lags(now: WallClock.nowMilliseconds)
    lastLags.withLock { $0 = lags }
  }

  /// The subscribers as of the last second.
  var currentLags: [ProtoSubscriberStatus] { lastLags.withLock { $0 } }

  private static func every(
    _ interval: Duration, _ body: @Sendable () async throws -> Void
  ) async throws {
    while true {
      try await Task.sleep(for: interval)
      try await body()
    }
  }

  private func keepRetention() async throws {
    let clock = RetentionClock(now: WallClock.nowMilliseconds)
    while true {
      do {
        try await removeOld(now: clock.now(wall: WallClock.nowMilliseconds))
      } catch let error as RPCError where error.code == .resourceExhausted {
        // The writer is busy, or the disk is full: next time.
      }
      try await Task.sleep(for: .seconds(Limits.retentionSeconds))
    }
  }

  /// The first offset that retention has left.
  package var firstOffset: UInt64 { first.load(ordering: .acquiring) }

  func raiseFirstOffset(to offset: UInt64) {
    precondition(offset >= firstOffset, "retention removes from the front")
    first.store(offset, ordering: .releasing)
  }

  /// Damaged records that were found since the start.
  package var damagedRecords: Int { damage.count }

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
    eraser.close()
    store.close()
  }

  // MARK: Events

  /// Takes one encoded `CollectRequest` and returns its encoded answer once it is on disk.
  ///
  /// - Parameter received: the server's clock, ms since 1970.
  package func collect(
    _ message: [UInt8], principal: Principal, received: Int64
  ) async throws -> [UInt8] {
    try await begin(message, principal: principal, received: received).result().get()
  }

  /// The same for several, in their order; one does not wait for the answer of the one before.
  ///
  /// - Throws: what refuses one of them, once none is on its way any more.
  package func collect(
    _ messages: [[UInt8]], principal: Principal, received: Int64
  ) async throws -> [[UInt8]] {
    let tickets = messages.map { message in
      Result { try begin(message, principal: principal, received: received) }
    }
    var answers: [Result<[UInt8], any Error>] = []
    for ticket in tickets {
      switch ticket {
      case .success(let ticket): answers.append(await ticket.result().mapError { $0 })
      case .failure(let error): answers.append(.failure(error))
      }
    }
    return try answers.map { try $0.get() }
  }

  private func begin(
    _ message: [UInt8], principal: Principal, received: Int64
  ) throws -> BatchTicket {
    if let refusal = refusal(bytes: message.count, principal) { throw refusal }
    let ticket = BatchTicket()
    let batch = try message.withUnsafeBytes { bytes in
      try collector.prepare(bytes, principal: principal, received: received)
    }
    try submit(batch, .ticket(ticket), principal)
    return ticket
  }

  /// Lists the figures of the steps on the metrics port.
  package func register(in metrics: MetricsRegistry) {
    pipeline.register(in: metrics)
    metrics.gauge("footfall_quarantine_events", help: "Events that are kept aside.") { [writer] in
      Double(writer.currentStatus.quarantined)
    }
    metrics.counter(
      "footfall_quarantine_dropped_total", help: "Events of quarantine that made room for newer ones."
    ) { [writer] in Double(writer.currentStatus.quarantineDropped) }
  }

  /// What refuses a batch of this size before it is decoded: its key's limits, or a full queue. Nil: nothing.
  func refusal(bytes: Int, _ principal: Principal) -> RPCError? {
    guard let refusal = rates.refusal(of: principal) else {
      return queueRefusal(bytes: bytes, principal)
    }
    pipeline.refuse(.append)
    return refusal
  }

  /// Whether the queue's bound alone lets a batch in.
  func queueState(bytes: Int, _ principal: Principal) -> GateState {
    let state = writer.gate(bytes: bytes, app: principal.appID.flatMap { apps[$0] })
    if case .shut = state { pipeline.refuse(.append) }
    return state
  }

  /// What the queue's bound alone refuses.
  func queueRefusal(bytes: Int, _ principal: Principal) -> RPCError? {
    let refusal = writer.refusal(bytes: bytes, app: principal.appID.flatMap { apps[$0] })
    if refusal != nil { pipeline.refuse(.append) }
    return refusal
  }

  func submit(
    _ batch: PreparedBatch, _ reply: BatchReply, _ principal: Principal
  ) throws(RPCError) {
    let (events, bytes) = (batch.events.count, batch.message.count)
    try writer.submit(batch, reply)
    rates.charge(principal, events: events, bytes: bytes)
  }

  /// Encoded `SubscribeResponse` of the records from an offset on that are on disk, and the offset that follows them.
  package func records(from offset: UInt64) async throws -> (message: [UInt8], next: UInt64) {
    let chunk = try await reader.chunk(from: offset, head: head)
    return (chunk.message, chunk.next)
  }

  /// The offset that the next event will get.
  package var head: UInt64 { writer.head.value }

  /// Whether batches are refused because the last transaction found no space.
  package var isDiskFull: Bool { writer.isDiskFull }

  /// Transactions and what they held, since the start.
  package var figures: (groups: Int, batches: Int) {
    let status = writer.currentStatus
    return (status.groups, status.batches)
  }

  /// - Parameter now: ms since 1970.
  package func status(now: Int64 = WallClock.nowMilliseconds) async throws -> ProtoLogStatus {
    var status = ProtoLogStatus()
    let current = writer.currentStatus
    let (removed, page, pages, free) = try await store.readDetached { connection in
      func pragma(_ name: String) throws -> Int64 {
        try connection.first("PRAGMA \(name)") { $0.int64(0) } ?? 0
      }
      let removed = try connection.first(
        "SELECT bytes_before FROM log ORDER BY first_offset LIMIT 1") { $0.int64(0) }
      return (
        removed ?? 0, try pragma("page_size"), try pragma("page_count"), try pragma("freelist_count")
      )
    }
    status.headOffset = head
    status.firstOffset = firstOffset
    status.payloadBytes = UInt64(max(0, current.payloadBytes - removed))
    status.quarantinedEvents = UInt64(current.quarantined)
    status.fileBytes = UInt64(page * pages)
    status.freeBytes = UInt64(page * free)
    status.damagedRecords = UInt64(damage.count)
    status.diskFull = isDiskFull
    status.subscribers = try await lags(now: now)
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

  package func updateToken(
    _ request: ProtoUpdateTokenRequest, now: Int64
  ) async throws -> ProtoToken {
    try await directory.updateToken(request, now: now)
  }

  package func revokeToken(_ tokenID: String, now: Int64) async throws {
    try await directory.revokeToken(tokenID, now: now)
  }

  package func listTokens(appID: String) async throws -> [ProtoToken] {
    try await directory.listTokens(appID: appID)
  }
}
