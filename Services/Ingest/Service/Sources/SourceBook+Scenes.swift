import Events
import Messages
import RPC
import Sources
import Store
import SwiftProtobuf

extension SourceBook {
  // MARK: Reading

  /// An app's table at a version, the newest where none is asked for.
  struct TableAt: Sendable {
    let platform: ProtoPlatform
    let version: UInt64
    let table: Events.SceneTable
  }

  func sceneTable(_ appID: String, version: UInt64?) async throws -> TableAt {
    try await read(appID) { app, connection in
      let version = try Self.version(version, app, connection)
      let overrides = try Self.overrides(app, at: version, connection)
      return TableAt(
        platform: app.platform, version: version,
        table: Events.SceneTable.of(platform: app.platformName)
          .applying(overrides.map(SceneOverride.init)))
    }
  }

  func sceneOverrides(
    _ appID: String, version: UInt64?
  ) async throws -> ProtoListSceneOverridesResponse {
    try await read(appID) { app, connection in
      var response = ProtoListSceneOverridesResponse()
      response.version = try Self.version(version, app, connection)
      response.overrides = try Self.overrides(app, at: response.version, connection)
      return response
    }
  }

  func sceneVersions(
    _ appID: String, rows: Int, before token: String
  ) async throws -> ProtoListSceneVersionsResponse {
    guard let before = token.isEmpty ? UInt64(Int64.max) : UInt64(token),
      before <= UInt64(Int64.max)
    else {
      throw IngestErrors.invalid("page_token", "what the page before gave; got \"\(token.prefix(64))\"")
    }
    return try await read(appID) { app, connection in
      var response = ProtoListSceneVersionsResponse()
      response.versions = try connection.query(
        "SELECT body FROM scene_version WHERE app = ? AND version < ? ORDER BY version DESC LIMIT ?",
        [.integer(app.number), .integer(Int64(before)), .integer(Int64(rows))]
      ) { try ProtoSceneVersion(serializedBytes: $0.bytes(0)) }
      if let last = response.versions.last, response.versions.count == rows, last.version > 1 {
        response.nextPageToken = String(last.version)
      }
      return response
    }
  }

  /// What an app's events mean, as consumers of the log know it.
  static func sources(_ app: AppFacts, _ connection: StoreConnection) throws -> AppSources {
    var message = ProtoAppSources()
    message.overrides = try overrides(
      app, at: try version(nil, app, connection), connection)
    message.channelGroups = try channelGroups(app, connection)
    return AppSources(message, platform: app.platformName)
  }

  private static func newest(_ app: AppFacts, _ connection: StoreConnection) throws -> UInt64 {
    let version = try connection.first(
      "SELECT max(version) FROM scene_version WHERE app = ?", [.integer(app.number)]
    ) { UInt64($0.int64(0)) }
    return version ?? 0
  }

  private static func version(
    _ asked: UInt64?, _ app: AppFacts, _ connection: StoreConnection
  ) throws -> UInt64 {
    let newest = try newest(app, connection)
    guard let asked else { return newest }
    guard asked <= newest else { throw IngestErrors.noVersion(asked, newest: newest) }
    return asked
  }

  private static func overrides(
    _ app: AppFacts, at version: UInt64, _ connection: StoreConnection
  ) throws -> [ProtoSceneOverride] {
    // In SQLite a bare column beside max() is of the row that has the maximum.
    try connection.query(
      """
      SELECT body, max(version) FROM scene_override WHERE app = ? AND version <= ?
      GROUP BY code HAVING body IS NOT NULL ORDER BY code
      """, [.integer(app.number), .integer(Int64(version))]
    ) { try ProtoSceneOverride(serializedBytes: $0.bytes(0)) }
  }

  // MARK: Changing

  func setOverrides(
    _ request: ProtoSetSceneOverridesRequest, appID: String, _ author: Author
  ) async throws -> ProtoSceneVersion {
    try SourceRules.check(request.overrides.map(\.code), "overrides", part: ".code")
    try SourceRules.checkText("note", request.note, max: Limits.noteBytesMax)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      let newest = try Self.checked(
        request.hasExpectedVersion ? request.expectedVersion : nil, app, connection)
      var inForce = Dictionary(
        uniqueKeysWithValues: try Self.overrides(app, at: newest, connection).map { ($0.code, $0) })
      var version = ProtoSceneVersion()
      version.note = request.note
      for (index, override) in request.overrides.enumerated() {
        let kept = try SourceRules.normalized(override, at: index, platform: app.platform)
        if inForce[kept.code] != kept { version.set.append(kept) }
        inForce[kept.code] = kept
      }
      guard inForce.count <= Limits.sceneOverridesMax else {
        throw IngestErrors.full("overrides of \(appID)", max: Limits.sceneOverridesMax)
      }
      guard !version.set.isEmpty else { return try Self.stored(newest, app, connection) }
      return try Self.append(version, after: newest, app, author, appender, connection)
    }
  }

  func removeOverrides(
    _ request: ProtoRemoveSceneOverridesRequest, appID: String, _ author: Author
  ) async throws -> ProtoSceneVersion {
    try SourceRules.check(request.codes, "codes")
    try SourceRules.checkText("note", request.note, max: Limits.noteBytesMax)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      let newest = try Self.checked(
        request.hasExpectedVersion ? request.expectedVersion : nil, app, connection)
      let inForce = Set(try Self.overrides(app, at: newest, connection).map(\.code))
      for (index, code) in request.codes.enumerated() where !inForce.contains(code) {
        throw IngestErrors.missing("codes[\(index)]", "override of scene", "\(code)")
      }
      var version = ProtoSceneVersion()
      version.note = request.note
      version.removed = request.codes.sorted()
      return try Self.append(version, after: newest, app, author, appender, connection)
    }
  }

  private static func checked(
    _ expected: UInt64?, _ app: AppFacts, _ connection: StoreConnection
  ) throws -> UInt64 {
    let newest = try newest(app, connection)
    if let expected, expected != newest {
      throw IngestErrors.otherVersion(expected: expected, actual: newest)
    }
    return newest
  }

  /// A version as it was made; without any, version 0 says so.
  private static func stored(
    _ version: UInt64, _ app: AppFacts, _ connection: StoreConnection
  ) throws -> ProtoSceneVersion {
    try connection.first(
      "SELECT body FROM scene_version WHERE app = ? AND version = ?",
      [.integer(app.number), .integer(Int64(version))]
    ) { try ProtoSceneVersion(serializedBytes: $0.bytes(0)) } ?? ProtoSceneVersion()
  }

  private static func append(
    _ change: ProtoSceneVersion, after newest: UInt64, _ app: AppFacts, _ author: Author,
    _ appender: LogAppender, _ connection: StoreConnection
  ) throws -> ProtoSceneVersion {
    guard newest < Limits.sceneVersionsMax else {
      throw IngestErrors.full("versions of the scenes of \(app.appID)", max: Int(Limits.sceneVersionsMax))
    }
    var version = change
    version.version = newest + 1
    version.changedMs = author.now
    version.changedBy = author.tokenID
    let number = Int64(version.version)
    try connection.execute(
      "INSERT INTO scene_version VALUES (?, ?, ?)",
      [.integer(app.number), .integer(number), .blob(try version.serializedBytes())])
    let changes =
      try version.set.map { ($0.code, StoreValue.blob(try $0.serializedBytes())) }
      + version.removed.map { ($0, StoreValue.null) }
    for (code, body) in changes {
      try connection.execute(
        "INSERT INTO scene_override VALUES (?, ?, ?, ?)",
        [.integer(app.number), .integer(Int64(code)), .integer(number), body])
    }
    try append(.sceneVersion(version), of: app, author, appender, connection)
    return version
  }
}
