import Foundation
import Ingest
import Logging
import Messages
import RPC
import Store
import SwiftProtobuf
import Synchronization
import Testing

/// A log in a folder of its own, with the app `shop`, and short ways to send to it.
final class Fixture: Sendable {
  static let day: Int64 = 86_400_000
  static let start: Int64 = 1_760_000_000_000

  let folder: URL
  let logger: Logger
  let tokens = Mutex<[String: ProtoTokenRecord]>([:])
  private let openCore = Mutex<IngestCore?>(nil)

  static let principal = Principal(
    tokenID: "t", appID: "shop", scopes: ["ingest:write", "ingest:import"])
  static let anyApp = Principal(tokenID: "a", appID: nil, scopes: ["ingest:write"])

  init(
    dedup: DedupOptions = DedupOptions(), fileBytesMax: Int = 0, ledgerDays: Int? = nil,
    quarantineEventsMax: Int? = nil, quarantineBytesMax: Int? = nil, policy: LogPolicy = LogPolicy()
  ) async throws {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    self.logger = logger
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "footfall-ingest-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try open(
      dedup: dedup, fileBytesMax: fileBytesMax, ledgerDays: ledgerDays,
      quarantineEventsMax: quarantineEventsMax, quarantineBytesMax: quarantineBytesMax, policy: policy)
    var app = ProtoApp()
    app.appID = "shop"
    _ = try await core.createApp(app, now: Self.start)
  }

  deinit {
    openCore.withLock { $0?.close() }
    try? FileManager.default.removeItem(at: folder)
  }

  var core: IngestCore { openCore.withLock { $0! } }

  var path: String { folder.path + "/ingest.sqlite" }

  private func open(
    dedup: DedupOptions = DedupOptions(), fileBytesMax: Int = 0, ledgerDays: Int? = nil,
    quarantineEventsMax: Int? = nil, quarantineBytesMax: Int? = nil, policy: LogPolicy = LogPolicy()
  ) throws {
    let core = try IngestCore(
      path: path, logger: logger, dedup: dedup, fileBytesMax: fileBytesMax, ledgerDays: ledgerDays,
      quarantineEventsMax: quarantineEventsMax, quarantineBytesMax: quarantineBytesMax, policy: policy
    ) { [weak self] record in
      self?.tokens.withLock { $0[record.token.tokenID] = record }
    }
    openCore.withLock { $0 = core }
  }

  func reopen(
    dedup: DedupOptions = DedupOptions(), quarantineEventsMax: Int? = nil, policy: LogPolicy = LogPolicy(),
    between: () throws -> Void = {}
  ) throws {
    core.close()
    try between()
    try open(dedup: dedup, quarantineEventsMax: quarantineEventsMax, policy: policy)
  }

  // MARK: Requests

  static func event(
    _ name: String = "view", time: Int64 = start, sequence: UInt64 = 0, id: String = "",
    fields: [(String, ProtoFieldValue)] = []
  ) -> ProtoEvent {
    var event = ProtoEvent()
    event.name = name
    event.timeMs = time
    event.sequence = sequence
    event.eventID = id
    event.fields = fields.map { name, value in
      var field = ProtoField()
      field.name = name
      field.value = value
      return field
    }
    return event
  }

  static func request(
    _ events: [ProtoEvent], device: String = "", user: String = "u1", app: String = "",
    isImport: Bool = false, batch: UInt64 = 0
  ) -> ProtoCollectRequest {
    var request = ProtoCollectRequest()
    request.appID = app
    request.context.openID = user
    request.events = events
    request.deviceID = device
    request.import = isImport
    request.batch = batch
    return request
  }

  func send(
    _ request: ProtoCollectRequest, received: Int64 = start,
    as principal: Principal = Fixture.principal
  ) async throws -> ProtoCollectResponse {
    let answer = try await core.collect(
      request.serializedBytes(), principal: principal, received: received)
    return try ProtoCollectResponse(serializedBytes: answer)
  }

  /// In their order, none waiting for another's answer: but for the first ones they share a transaction.
  func sendTogether(
    _ requests: [ProtoCollectRequest], received: Int64 = start, as principal: Principal = Fixture.principal
  ) async throws -> [ProtoCollectResponse] {
    try await core.collect(
      requests.map { try $0.serializedBytes() }, principal: principal, received: received
    ).map { try ProtoCollectResponse(serializedBytes: $0) }
  }

  func send(_ events: [ProtoEvent], device: String = "", received: Int64 = start) async throws
    -> ProtoCollectResponse
  {
    try await send(Self.request(events, device: device), received: received)
  }

  /// The status of a refusal.
  func refusal(
    _ request: ProtoCollectRequest, as principal: Principal = Fixture.principal
  ) async throws -> RPCError {
    try await #require(throws: RPCError.self) { _ = try await self.send(request, as: principal) }
  }

  /// Changes the file while nobody has it open.
  func tamper(_ body: (StoreConnection) throws -> Void) throws {
    let store = try Store(
      path: path, options: StoreOptions(durability: .full),
      migrations: (1...IngestCore.schemaVersion).map { Migration($0, "") })
    defer { store.close() }
    try store.write(body)
  }

  // MARK: The log

  func records(from offset: UInt64 = 0) async throws -> [ProtoLogRecord] {
    var records: [ProtoLogRecord] = []
    var next = offset
    while next < core.head {
      let (message, following) = try await core.records(from: next)
      records += try ProtoSubscribeResponse(serializedBytes: message).records
      #expect(following > next)
      next = following
    }
    return records
  }

  /// The requests of the log's batches.
  func batches() async throws -> [ProtoCollectRequest] {
    try await records().compactMap { record in
      guard case .batch(let bytes) = record.body else { return nil }
      return try ProtoCollectRequest(serializedBytes: bytes)
    }
  }

  func status() async throws -> ProtoLogStatus { try await core.status() }
}

extension ProtoFieldValue {
  static func text(_ value: String) -> ProtoFieldValue { .with { $0.stringValue = value } }
  static func integer(_ value: Int64) -> ProtoFieldValue { .with { $0.integerValue = value } }
  static func double(_ value: Double) -> ProtoFieldValue { .with { $0.doubleValue = value } }
  static func boolean(_ value: Bool) -> ProtoFieldValue { .with { $0.booleanValue = value } }
}
