import Crypto
import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite struct DirectoryTests {
  private static func app(_ change: (inout ProtoApp) -> Void = { _ in }) -> ProtoApp {
    var app = ProtoApp()
    app.appID = "news"
    change(&app)
    return app
  }

  @Test func `an app gets its defaults and travels through the log`() async throws {
    let fixture = try await Fixture()
    let app = try await fixture.core.createApp(Self.app(), now: Fixture.start)
    #expect(app.timeZone == "Asia/Shanghai")
    #expect(app.sessionRules.mergeUnderMs == 30_000)
    #expect(app.sessionRules.timeoutMs == 1_800_000)
    #expect(app.createdMs == Fixture.start)
    let record = try #require(try await fixture.records().last)
    #expect(try ProtoApp(serializedBytes: record.app) == app)
    #expect(record.count == 1)
  }

  @Test func `the same app again answers the first one, another one is refused`() async throws {
    let fixture = try await Fixture()
    let app = try await fixture.core.createApp(Self.app(), now: Fixture.start)
    let again = try await fixture.core.createApp(
      Self.app { $0.timeZone = "Asia/Shanghai" }, now: Fixture.start + 5)
    #expect(again == app)
    #expect(fixture.core.head == 2)
    let error = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.createApp(
        Self.app { $0.timeZone = "Europe/Berlin" }, now: Fixture.start)
    }
    #expect(error?.code == .alreadyExists)
  }

  @Test(arguments: [
    ("app_id", app { $0.appID = "No" }), ("app_id", app { $0.appID = "" }),
    ("name", app { $0.name = String(repeating: "x", count: 129) }),
    ("time_zone", app { $0.timeZone = "Mars/Olympus" }),
    ("platform", app { $0.platform = .UNRECOGNIZED(9) }),
    ("session_rules.timeout_ms", app { $0.sessionRules.timeoutMs = 999 }),
    (
      "session_rules.merge_under_ms",
      app {
        $0.sessionRules.timeoutMs = 1_000
        $0.sessionRules.mergeUnderMs = 86_400_001
      }
    ),
  ])
  func `an app that breaks a rule is refused by its field`(field: String, app: ProtoApp) async throws {
    let fixture = try await Fixture()
    let error = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.createApp(app, now: Fixture.start)
    }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.hasPrefix(field) == true)
    #expect(fixture.core.head == 1)
  }

  private static func token(
    _ scopes: [String], app: String = "", label: String = "", expires: Int64 = 0
  ) -> ProtoCreateTokenRequest {
    var request = ProtoCreateTokenRequest()
    request.scopes = scopes
    request.appID = app
    request.label = label
    request.expiresMs = expires
    return request
  }

  @Test func `a token is stored by its hash and told at once and after a restart`() async throws {
    let fixture = try await Fixture()
    let made = try await fixture.core.createToken(
      Self.token(["ingest:write", "ingest:write"], app: "shop", label: "web"), now: Fixture.start)
    #expect(made.secret.hasPrefix("ff_\(made.token.tokenID)_"))
    #expect(made.secret.utf8.count == 3 + made.token.tokenID.utf8.count + 1 + 43)
    #expect(made.token.scopes == ["ingest:write"])
    let hash = Data(SHA256.hash(data: Data(made.secret.utf8)))
    let told = fixture.tokens.withLock { $0.removeValue(forKey: made.token.tokenID) }
    #expect(told?.secretHash == hash)
    let record = try #require(try await fixture.records().last)
    #expect(try ProtoTokenRecord(serializedBytes: record.token).secretHash == hash)
    try fixture.reopen()
    #expect(fixture.tokens.withLock { $0[made.token.tokenID]?.secretHash } == hash)
    #expect(try await fixture.core.listTokens(appID: "shop") == [made.token])
    #expect(try await fixture.core.listTokens(appID: "news") == [])
  }

  @Test(arguments: [
    ("scopes", token([])), ("scopes", token(["ingest:write", "everything"])),
    ("scopes", token(["admin"], app: "shop")), ("scopes", token(["events:read"], app: "shop")),
    ("label", token(["admin"], label: String(repeating: "x", count: 129))),
    ("expires_ms", token(["admin"], expires: Fixture.start)),
  ])
  func `a token that breaks a rule is refused by its field`(
    field: String, request: ProtoCreateTokenRequest
  ) async throws {
    let fixture = try await Fixture()
    let error = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.createToken(request, now: Fixture.start)
    }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.hasPrefix(field) == true)
  }

  @Test func `an unknown scope's error lists the scopes`() async throws {
    let fixture = try await Fixture()
    let error = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.createToken(Self.token(["everything"]), now: Fixture.start)
    }
    #expect(error?.message.contains("\"everything\"") == true)
    #expect(error?.message.contains("profile:erase") == true)
  }

  @Test func `a token of an unknown app is refused`() async throws {
    let fixture = try await Fixture()
    let error = await #expect(throws: RPCError.self) {
      _ = try await fixture.core.createToken(
        Self.token(["query:read"], app: "nowhere"), now: Fixture.start)
    }
    #expect(error?.code == .notFound)
  }

  @Test func `a revoked token is told once and stays revoked`() async throws {
    let fixture = try await Fixture()
    let made = try await fixture.core.createToken(Self.token(["admin"]), now: Fixture.start)
    let id = made.token.tokenID
    try await fixture.core.revokeToken(id, now: Fixture.start + 1)
    try await fixture.core.revokeToken(id, now: Fixture.start + 2)
    #expect(fixture.tokens.withLock { $0[id]?.token.revokedMs } == Fixture.start + 1)
    #expect(fixture.core.head == 3)
    let error = await #expect(throws: RPCError.self) {
      try await fixture.core.revokeToken("nobody", now: Fixture.start)
    }
    #expect(error?.code == .notFound)
  }

  @Test func `the first start writes two secret files, the second none`() async throws {
    let fixture = try await Fixture()
    let folder = fixture.folder.path
    try await fixture.core.makeFirstTokens(in: folder, now: Fixture.start, logger: fixture.logger)
    var secrets: [String] = []
    for (file, scope) in [("admin.token", "admin"), ("service.token", "events:read")] {
      let path = "\(folder)/\(file)"
      let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
      #expect(mode == 0o600)
      let secret = try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .newlines)
      let hash = Data(SHA256.hash(data: Data(secret.utf8)))
      let record = fixture.tokens.withLock { $0.values.first { $0.secretHash == hash } }
      #expect(record?.token.scopes == [scope])
      secrets.append(secret)
      try FileManager.default.removeItem(atPath: path)
    }
    #expect(Set(secrets).count == 2)
    try await fixture.core.makeFirstTokens(in: folder, now: Fixture.start, logger: fixture.logger)
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/admin.token"))
  }

  @Test func `a first start that was killed halfway is made good`() async throws {
    let fixture = try await Fixture()
    let folder = fixture.folder.path
    // As it stands when the process dies behind the first of the two tokens.
    var request = ProtoCreateTokenRequest()
    request.scopes = ["admin"]
    request.label = "administrator, made at the first start"
    _ = try await fixture.core.createToken(request, now: Fixture.start)
    try await fixture.core.makeFirstTokens(in: folder, now: Fixture.start, logger: fixture.logger)
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/admin.token"))
    #expect(FileManager.default.fileExists(atPath: "\(folder)/service.token"))
  }
}
