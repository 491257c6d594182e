import Events
import Logging
import Messages
import RPC
import ServiceKit
import Store
import Subscription
import TestKit
import Testing

private let bearerMethod = MethodDescriptor(
  service: "test.Test", method: "Read", kind: .unary, access: .scope("live:read"))

@Suite(.timeLimit(.minutes(1))) struct LogFollowerTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder("subscription") }

  private func openStore(fileBytesMax: Int = 0) throws -> Store {
    try Store(
      path: folder.file("consumer.sqlite"),
      options: StoreOptions(durability: .normal, fileBytesMax: fileBytesMax),
      migrations: Directory.migrations + [CountingConsumer.migration]
        + Directory.laterMigrations(from: Directory.firstFreeMigration + 1))
  }

  private func follower(
    _ log: FakeLog, _ store: Store, _ consumer: CountingConsumer, tokens: TokenTable = TokenTable()
  ) throws -> LogFollower {
    let directory = try Directory(store: store, tokens: tokens)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return try LogFollower(
      subscriber: "test", transport: log, store: store, directory: directory, consumer: consumer,
      logger: logger)
  }

  /// Follows until the consumer has come that far.
  private func follow(_ follower: LogFollower, _ consumer: CountingConsumer, to offset: UInt64)
    async
  {
    let running = Task { try await follower.run() }
    await consumer.waitFor(offset)
    running.cancel()
    _ = await running.result
  }

  private func seen(_ store: Store) throws -> [UInt64] {
    try store.read { connection in
      try connection.query("SELECT position FROM seen ORDER BY position") { UInt64($0.int64(0)) }
    }
  }

  /// One app and three batches: offsets 0, 1-2, 3-5, 6.
  private func writer() throws -> LogWriter {
    var writer = LogWriter()
    try writer.app("shop")
    try writer.batch(2)
    try writer.batch(3)
    try writer.batch(1)
    return writer
  }

  @Test func a_stream_that_breaks_is_taken_up_where_it_ended() async throws {
    let records = try writer().records
    let log = FakeLog(
      records: records,
      scripts: [
        [.records(Array(records[0...1])), .fail(RPCError(.unavailable, "gone"))],
        [.records([records[2]]), .fail(RPCError(.unavailable, "gone again"))],
      ])
    let store = try openStore()
    let consumer = CountingConsumer()
    let follower = try follower(log, store, consumer)
    await follow(follower, consumer, to: 7)
    #expect(log.asked.first == 0)
    #expect(log.asked.allSatisfy { [0, 1, 3, 6].contains($0) })
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6])
    #expect(consumer.published == [1, 2, 3, 4, 5, 6])
    #expect(follower.status.nextOffset == 7)
    #expect(follower.status.logHeadOffset == 7)
    #expect(follower.status.lastReceivedMs == 1_700_000_000_006)
    #expect(!follower.status.connected)
  }

  @Test func records_delivered_twice_are_applied_once() async throws {
    let records = try writer().records
    let log = FakeLog(
      records: records, scripts: [[.records(records), .records(records)]])
    let store = try openStore()
    let consumer = CountingConsumer()
    let follower = try follower(log, store, consumer)
    await follow(follower, consumer, to: 7)
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6])
    #expect(consumer.published == [1, 2, 3, 4, 5, 6])
  }

  @Test func nothing_behind_a_gap_is_applied() async throws {
    let records = try writer().records
    let log = FakeLog(
      records: records, scripts: [[.records([records[0], records[1], records[3]])]])
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(log, store, consumer), consumer, to: 7)
    #expect(log.asked.contains(0))
    #expect(consumer.rollbacks == 1)
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6])
  }

  @Test func a_record_with_a_wrong_checksum_is_not_applied() async throws {
    var damaged = try writer().records
    damaged[2].checksum ^= 1
    let log = FakeLog(records: try writer().records, scripts: [[.records(damaged)]])
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(log, store, consumer), consumer, to: 7)
    #expect(consumer.rollbacks == 1)
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6])
  }

  @Test("a record that lies about itself is not applied", arguments: 0..<3)
  func lies(kind: Int) async throws {
    var broken = try writer().records
    switch kind {
    case 0: broken[3].count = 2
    case 1: broken[3].body = nil
    default: broken[3].appID = "other"
    }
    let log = FakeLog(records: try writer().records, scripts: [[.records(broken)]])
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(log, store, consumer), consumer, to: 7)
    #expect(consumer.rollbacks == 1)
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6])
  }

  @Test func a_restarted_consumer_asks_for_what_follows_its_own_position() async throws {
    var writer = try writer()
    let first = try openStore()
    let earlier = CountingConsumer()
    await follow(try follower(FakeLog(records: writer.records), first, earlier), earlier, to: 7)
    first.close()

    try writer.batch(2)
    let store = try openStore()
    let log = FakeLog(records: writer.records)
    let consumer = CountingConsumer()
    await follow(try follower(log, store, consumer), consumer, to: 9)
    #expect(log.asked == [7])
    #expect(consumer.published == [7, 8])
    #expect(consumer.apps == [], "the app was restored, not defined again")
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6, 7, 8])
  }

  @Test func what_a_consumer_refuses_leaves_no_trace_and_comes_again() async throws {
    let log = FakeLog(records: try writer().records)
    let store = try openStore()
    let consumer = CountingConsumer(refusals: 1)
    await follow(try follower(log, store, consumer), consumer, to: 7)
    #expect(consumer.rollbacks == 1)
    #expect(consumer.published == [1, 2, 3, 4, 5, 6])
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6])
  }

  @Test func a_consumer_that_is_started_first_waits_for_ingest() async throws {
    let log = FakeLog(
      records: try writer().records, scripts: [[.fail(RPCError(.unavailable, "not yet"))]])
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(log, store, consumer), consumer, to: 7)
    #expect(log.asked == [0, 0])
  }

  @Test func tokens_come_by_the_log_and_survive_a_restart() async throws {
    var writer = LogWriter()
    let secret = TokenSecret.generate()
    var record = ProtoTokenRecord()
    record.token.tokenID = secret.tokenID
    record.token.scopes = ["live:read"]
    record.secretHash = .init(secret.hash)
    try writer.token(record)
    let first = try openStore()
    let consumer = CountingConsumer()
    let tokens = TokenTable()
    #expect(throws: RPCError.self) { try authorize(tokens, secret) }
    let following = try follower(FakeLog(records: writer.records), first, consumer, tokens: tokens)
    await follow(following, consumer, to: 1)
    #expect(try authorize(tokens, secret).tokenID == secret.tokenID)
    first.close()

    let restored = TokenTable()
    let store = try openStore()
    _ = try Directory(store: store, tokens: restored)
    #expect(try authorize(restored, secret).tokenID == secret.tokenID)

    record.token.revokedMs = 1
    try writer.token(record)
    let later = CountingConsumer()
    let second = try follower(FakeLog(records: writer.records), store, later, tokens: restored)
    await follow(second, later, to: 2)
    let error = #expect(throws: RPCError.self) { try authorize(restored, secret) }
    #expect(error?.code == .unauthenticated)
  }

  @Test func changes_of_consent_are_passed_by() async throws {
    var writer = try writer()
    var consent = ProtoConsentRecord()
    consent.appID = "shop"
    consent.openID = "u"
    consent.purpose = "analytics"
    consent.state = .withdrawn
    try writer.consent(consent)
    try writer.batch(1)
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(FakeLog(records: writer.records), store, consumer), consumer, to: 9)
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6, 8])
  }

  private func authorize(_ tokens: TokenTable, _ secret: TokenSecret) throws -> Principal {
    try Array("Bearer \(secret.text)".utf8).withUnsafeBytes {
      try tokens.authorize(bearerMethod, authorization: $0)
    }
  }

  @Test func apps_are_known_once_their_record_is_committed() async throws {
    var writer = try writer()
    try writer.app("cafe", timeZone: "America/New_York")
    let store = try openStore()
    let consumer = CountingConsumer()
    let directory = try Directory(store: store, tokens: TokenTable())
    #expect(directory.app("cafe") == nil)
    let follower = try LogFollower(
      subscriber: "test", transport: FakeLog(records: writer.records), store: store,
      directory: directory, consumer: consumer, logger: Logger(label: "test"))
    await follow(follower, consumer, to: 8)
    #expect(directory.apps.map(\.appID) == ["cafe", "shop"])
    #expect(directory.app("cafe")?.calendar.identifier == "America/New_York")
    #expect(directory.app("shop")?.sessionRules == .classic)
    #expect(consumer.apps == ["shop", "cafe"])
  }

  @Test func a_change_of_a_plan_is_passed_by() async throws {
    var writer = try writer()
    var record = ProtoPlanRecord()
    record.event.definition.name = "buy"
    try writer.plan(record)
    try writer.batch(2)
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(FakeLog(records: writer.records), store, consumer), consumer, to: 10)
    #expect(try seen(store) == [1, 2, 3, 4, 5, 6, 8, 9])
  }

  private func version(_ number: UInt64, key: UInt32?, excluded: Bool?) -> ProtoSceneVersion {
    var override = ProtoSceneOverride()
    override.code = 1001
    if let key { override.sourceKey = key }
    if let excluded { override.excluded = excluded }
    var version = ProtoSceneVersion()
    version.version = number
    if key == nil, excluded == nil { version.removed = [1001] } else { version.set = [override] }
    return version
  }

  @Test func each_batch_meets_the_scenes_that_the_log_had_before_it() async throws {
    var writer = LogWriter()
    try writer.app("shop")
    try writer.app("cafe")
    try writer.batch(1)
    try writer.source(.sceneVersion(version(1, key: 36, excluded: nil)))
    try writer.batch(1)
    try writer.source(.sceneVersion(version(2, key: nil, excluded: true)))
    try writer.batch(1)
    try writer.batch(1, appID: "cafe")
    // Registered codes change nothing of what a consumer keeps.
    try writer.source(.qrCode(ProtoQrCode()))
    try writer.source(.sceneVersion(version(3, key: nil, excluded: nil)))
    try writer.batch(1)
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(FakeLog(records: writer.records), store, consumer), consumer, to: 11)
    #expect(consumer.scenes == ["1/false", "36/false", "1/true", "1/false", "1/false"])
    #expect(consumer.apps == ["shop", "cafe", "shop", "shop", "shop"])
  }

  @Test func scenes_and_channels_are_there_after_a_restart() async throws {
    var writer = LogWriter()
    try writer.app("shop")
    try writer.source(.sceneVersion(version(1, key: 36, excluded: true)))
    var groups = ProtoChannelGroups()
    groups.groups = [ProtoChannelGroup()]
    groups.groups[0].name = "table"
    groups.groups[0].rules = [ProtoChannelRule()]
    groups.groups[0].rules[0].qrIds = ["t1"]
    try writer.source(.channelGroups(groups))
    let store = try openStore()
    let consumer = CountingConsumer()
    await follow(try follower(FakeLog(records: writer.records), store, consumer), consumer, to: 3)
    let app = try #require(try Directory(store: store, tokens: TokenTable()).app("shop"))
    #expect(app.scenes.sourceKey(1001) == 36 && app.scenes.isExcluded(1001))
    #expect(app.sources.channel(of: ChannelInput(scene: 1005, qrID: "t1")) == "table")
    #expect(app.sources.channel(of: ChannelInput(scene: 1005)) == "search")
  }

  @Test func a_store_that_is_lost_ends_the_run() async throws {
    var writer = LogWriter()
    try writer.app("shop")
    for _ in 0..<200 { try writer.batch(200) }
    let store = try openStore()
    let follower = try follower(FakeLog(records: writer.records), store, CountingConsumer())
    store.close()
    await #expect(throws: StoreError.self) { try await follower.run() }
  }

  @Test func on_a_full_disk_a_follower_waits_for_space() async throws {
    var writer = LogWriter()
    try writer.app("shop")
    for _ in 0..<200 { try writer.batch(200) }
    let store = try openStore(fileBytesMax: 200_000)
    let consumer = CountingConsumer()
    let follower = try follower(FakeLog(records: writer.records), store, consumer)
    let run = Task { try await follower.run() }
    let end = ContinuousClock.now + .seconds(20)
    while consumer.rollbacks == 0, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(5)) }
    #expect(consumer.rollbacks > 0)
    #expect(store.poison == nil)
    try store.write { try $0.executeScript("PRAGMA max_page_count = 1000000") }
    while follower.position.nextOffset < 40_001, ContinuousClock.now < end {
      try await Task.sleep(for: .milliseconds(5))
    }
    #expect(follower.position.nextOffset == 40_001)
    run.cancel()
    _ = await run.result
  }

  @Test func waits_grow_to_ten_seconds() {
    var backoff = Backoff()
    let waits = (0..<8).map { _ in backoff.nextMilliseconds(random: 0).rounded() }
    #expect(waits == [100, 1_000, 1_600, 2_560, 4_096, 6_554, 10_000, 10_000])
    backoff.reset()
    #expect(backoff.nextMilliseconds(random: 1) == 120)
    #expect(backoff.nextMilliseconds(random: -1) == 800)
  }
}
