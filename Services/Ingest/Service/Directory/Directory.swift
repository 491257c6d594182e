import Foundation
import Logging
import Messages
import RPC
import ServiceKit
import Store
import SwiftProtobuf

/// Apps and tokens: their tables, and their records in the log, by which they reach the other services.
struct Directory: Sendable {
  let writer: LogWriter
  let store: Store
  let apps: AppRegistry
  let hash: KeyedHash
  /// What all apps together may count shapes of events by.
  let seenBudget: SeenBudget
  /// Told of every token, at the start and at each change once that is durable.
  let onToken: @Sendable (ProtoTokenRecord) -> Void

  // MARK: Start

  /// Fills the registry and tells of all tokens.
  func load() throws {
    let (entries, tokens) = try store.read { connection in
      let types = try Self.types(connection)
      let entries = try connection.query("SELECT number, app_id, body FROM app") { row in
        AppEntry(
          appID: row.string(1), number: row.int64(0),
          calendar: apps.calendar(try ProtoApp(serializedBytes: row.bytes(2)).timeZone),
          types: types[row.int64(0)] ?? FieldTypes(),
          tracking: try tracking(row.int64(0), connection))
      }
      let tokens = try connection.query("SELECT body FROM token") { row in
        try ProtoTokenRecord(serializedBytes: row.bytes(0))
      }
      return (entries, tokens)
    }
    for entry in entries { apps.add(entry) }
    try restoreSeen(entries)
    for token in tokens { onToken(token) }
  }

  private func restoreSeen(_ entries: [AppEntry]) throws {
    if try store.read(SeenStore.offset) == nil {
      let head = writer.head.value
      try store.write { try SeenStore.saveOffset(head, $0) }
    }
    writer.adopt(seen: try store.read { try SeenStore.restore(entries, $0) })
  }

  private func tracking(_ app: Int64, _ connection: StoreConnection) throws -> AppTracking {
    let rows = PlanRows(connection, app: app)
    let snapshot = PlanSnapshot(try rows.plan(), try rows.events(), number: 1, hash: hash)
    return AppTracking(
      snapshot: snapshot, seen: SeenShapes(hash: hash, budget: seenBudget), hash: hash)
  }

  private static func types(_ connection: StoreConnection) throws -> [Int64: FieldTypes] {
    var types: [Int64: FieldTypes] = [:]
    _ = try connection.query("SELECT app, name, type FROM field_type") { row in
      guard let kind = FieldTypes.kind(stored: row.int64(2)) else {
        throw StoreError(.corrupt, "table field_type: there is no type \(row.int64(2))")
      }
      row.withText(1) { types[row.int64(0), default: FieldTypes()].restore(FieldName($0), kind) }
    }
    return types
  }

  /// At the first start: the tokens of the administrator and of the suite's own services, into files of the data folder.
  /// The files come first: were a token stored whose file is missing, nobody could ever use it.
  func makeFirstTokens(in folder: String, now: Int64, logger: Logger) async throws {
    let known = try await listTokens(appID: "")
    for (file, scope, label) in [
      ("admin.token", "admin", "administrator, made at the first start"),
      ("service.token", "events:read", "services of the suite, made at the first start"),
    ] {
      // By label: a first start that was killed between the two is made good by the next one.
      guard !known.contains(where: { $0.label == label }) else { continue }
      let made = TokenRules.make(
        appID: "", scopes: [scope], label: label, created: now, expires: 0)
      try SecretFile.write("\(folder)/\(file)", secret: made.secret)
      try await save(made.record, now: now)
      logger.notice("token written", metadata: ["file": "\(folder)/\(file)", "scope": "\(scope)"])
    }
  }

  // MARK: Apps

  private enum Creation: Sendable { case made(Int64), existed(ProtoApp, Int64), tooMany }

  func createApp(_ request: ProtoApp, now: Int64) async throws -> ProtoApp {
    let app = try AppRules.normalized(request, created: now)
    let body: [UInt8] = try app.serializedBytes()
    let creation = try await writer.change { appender, connection -> Creation in
      if let (number, stored) = try Self.row(app.appID, connection) {
        return .existed(try ProtoApp(serializedBytes: stored), number)
      }
      let count = try connection.first("SELECT count(*) FROM app") { $0.int(0) } ?? 0
      guard count < Limits.appsMax else { return .tooMany }
      try connection.execute(
        "INSERT INTO app(app_id, body) VALUES (?, ?)", [.text(app.appID), .blob(body)])
      let number = connection.lastInsertRowID
      try appender.append(.app, app: app.appID, received: now, body, connection)
      return .made(number)
    }
    switch creation {
    case .tooMany: throw IngestErrors.full("apps", max: Limits.appsMax)
    case .made(let number):
      apps.addIfAbsent(entry(app, number))
      return app
    case .existed(let stored, let number):
      guard AppRules.same(app, stored) else { throw IngestErrors.appExists(app.appID) }
      apps.addIfAbsent(entry(stored, number))
      return stored
    }
  }

  private func entry(_ app: ProtoApp, _ number: Int64) -> AppEntry {
    AppEntry(
      appID: app.appID, number: number, calendar: apps.calendar(app.timeZone),
      tracking: AppTracking(hash: hash, budget: seenBudget))
  }

  private static func row(
    _ appID: String, _ connection: StoreConnection
  ) throws -> (Int64, [UInt8])? {
    try connection.first("SELECT number, body FROM app WHERE app_id = ?", [.text(appID)]) {
      ($0.int64(0), $0.bytes(1))
    }
  }

  func app(_ appID: String) async throws -> ProtoApp {
    let body = try await store.readDetached { try Self.row(appID, $0)?.1 }
    guard let body else { throw IngestErrors.unknownApp(appID) }
    return try ProtoApp(serializedBytes: body)
  }

  func listApps() async throws -> [ProtoApp] {
    try await store.readDetached { connection in
      try connection.query("SELECT body FROM app ORDER BY app_id") {
        try ProtoApp(serializedBytes: $0.bytes(0))
      }
    }
  }

  // MARK: Tokens

  func createToken(
    _ request: ProtoCreateTokenRequest, now: Int64
  ) async throws -> ProtoCreateTokenResponse {
    try TokenRules.check(request, now: now)
    guard request.appID.isEmpty || apps[request.appID] != nil else {
      throw IngestErrors.unknownApp(request.appID)
    }
    let made = TokenRules.make(
      appID: request.appID, scopes: request.scopes, label: request.label, created: now,
      expires: request.expiresMs, limits: request.limits)
    try await save(made.record, now: now)
    var response = ProtoCreateTokenResponse()
    response.token = made.record.token
    response.secret = made.secret
    return response
  }

  func listTokens(appID: String) async throws -> [ProtoToken] {
    try await store.readDetached { connection in
      try connection.query(
        "SELECT body FROM token WHERE ?1 = '' OR app_id = ?1 ORDER BY token_id", [.text(appID)]
      ) { try ProtoTokenRecord(serializedBytes: $0.bytes(0)).token }
    }
  }

  private enum Update: Sendable { case done(ProtoTokenRecord), revoked, unknown }

  func updateToken(_ request: ProtoUpdateTokenRequest, now: Int64) async throws -> ProtoToken {
    try AppRules.checkLength("label", request.label)
    try TokenRules.check(request.limits)
    let update = try await writer.change { appender, connection -> Update in
      guard var record = try Self.record(request.tokenID, connection) else { return .unknown }
      guard record.token.revokedMs == 0 else { return .revoked }
      record.token.label = request.label
      record.token.clearLimits()
      if request.limits != ProtoKeyLimits() { record.token.limits = request.limits }
      try Self.write(record, now: now, appender, connection)
      return .done(record)
    }
    switch update {
    case .unknown: throw IngestErrors.unknownToken(request.tokenID)
    case .revoked: throw IngestErrors.revoked(request.tokenID)
    case .done(let record):
      onToken(record)
      return record.token
    }
  }

  private static func record(
    _ tokenID: String, _ connection: StoreConnection
  ) throws -> ProtoTokenRecord? {
    try connection.first("SELECT body FROM token WHERE token_id = ?", [.text(tokenID)]) {
      try ProtoTokenRecord(serializedBytes: $0.bytes(0))
    }
  }

  func revokeToken(_ tokenID: String, now: Int64) async throws {
    let record = try await writer.change { appender, connection -> ProtoTokenRecord? in
      guard var record = try Self.record(tokenID, connection) else { return nil }
      guard record.token.revokedMs == 0 else { return record }
      record.token.revokedMs = now
      try Self.write(record, now: now, appender, connection)
      return record
    }
    guard let record else { throw IngestErrors.unknownToken(tokenID) }
    onToken(record)
  }

  private func save(_ record: ProtoTokenRecord, now: Int64) async throws {
    let isSaved = try await writer.change { appender, connection in
      let count = try connection.first("SELECT count(*) FROM token") { $0.int(0) } ?? 0
      guard count < Limits.tokensMax else { return false }
      try Self.write(record, now: now, appender, connection)
      return true
    }
    guard isSaved else { throw IngestErrors.full("tokens", max: Limits.tokensMax) }
    onToken(record)
  }

  private static func write(
    _ record: ProtoTokenRecord, now: Int64, _ appender: LogAppender, _ connection: StoreConnection
  ) throws {
    let body: [UInt8] = try record.serializedBytes()
    try connection.execute(
      "INSERT INTO token VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
      [.text(record.token.tokenID), .text(record.token.appID), .blob(body)])
    try appender.append(.token, app: record.token.appID, received: now, body, connection)
  }
}
