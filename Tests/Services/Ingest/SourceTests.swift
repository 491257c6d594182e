import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import Testing

/// Scenes, channels, QR codes and campaigns: what is kept, what is refused, what travels through the log.
@Suite struct SourceTests {
  /// The calls of one caller.
  private struct Caller {
    let service: SourcesService
    let principal: Principal

    init(_ fixture: Fixture, app: String? = "shop") {
      service = SourcesService(core: fixture.core, now: { Fixture.start + 7 })
      principal = Principal(tokenID: "who", appID: app, scopes: ["admin"])
    }

    func context(_ method: MethodDescriptor) -> CallContext {
      CallContext(method: method, principal: principal)
    }

    func set(
      _ overrides: [ProtoSceneOverride], note: String = "", expected: UInt64? = nil, app: String = ""
    ) async throws -> ProtoSceneVersion {
      var request = ProtoSetSceneOverridesRequest()
      request.appID = app
      request.overrides = overrides
      request.note = note
      if let expected { request.expectedVersion = expected }
      return try await service.setSceneOverrides(
        request, context: context(SourcesMethods.setSceneOverrides))
    }

    func remove(_ codes: [UInt32]) async throws -> ProtoSceneVersion {
      var request = ProtoRemoveSceneOverridesRequest()
      request.codes = codes
      return try await service.removeSceneOverrides(
        request, context: context(SourcesMethods.removeSceneOverrides))
    }

    func table(version: UInt64? = nil) async throws -> ProtoSceneTable {
      var request = ProtoGetSceneTableRequest()
      if let version { request.version = version }
      return try await service.getSceneTable(request, context: context(SourcesMethods.getSceneTable))
    }

    func scene(_ code: UInt32, version: UInt64? = nil) async throws -> ProtoScene {
      var request = ProtoResolveSceneRequest()
      request.code = code
      if let version { request.version = version }
      return try await service.resolveScene(request, context: context(SourcesMethods.resolveScene))
        .scene
    }

    func resolve(_ change: (inout ProtoResolveRequest) -> Void) async throws -> ProtoResolveResponse {
      var request = ProtoResolveRequest()
      change(&request)
      return try await service.resolve(request, context: context(SourcesMethods.resolve))
    }

    func register(_ code: ProtoQrCode) async throws -> ProtoQrCode {
      var request = ProtoRegisterQrCodeRequest()
      request.qrCode = code
      return try await service.registerQrCode(request, context: context(SourcesMethods.registerQrCode))
    }

    func register(_ campaign: ProtoCampaign) async throws -> ProtoCampaign {
      var request = ProtoRegisterCampaignRequest()
      request.campaign = campaign
      return try await service.registerCampaign(
        request, context: context(SourcesMethods.registerCampaign))
    }

    func link(_ change: (inout ProtoBuildLinkRequest) -> Void) async throws -> String {
      var request = ProtoBuildLinkRequest()
      change(&request)
      return try await service.buildLink(request, context: context(SourcesMethods.buildLink)).path
    }

    func parse(_ link: String) async throws -> ProtoParseLinkResponse {
      var request = ProtoParseLinkRequest()
      request.link = link
      return try await service.parseLink(request, context: context(SourcesMethods.parseLink))
    }
  }

  private static func override(
    _ code: UInt32, _ change: (inout ProtoSceneOverride) -> Void = { $0.sourceKey = 48 }
  ) -> ProtoSceneOverride {
    var override = ProtoSceneOverride()
    override.code = code
    change(&override)
    return override
  }

  private static func code(
    _ id: String, _ change: (inout ProtoQrCode) -> Void = { _ in }
  ) -> ProtoQrCode {
    var code = ProtoQrCode()
    code.qrID = id
    code.name = "a code"
    change(&code)
    return code
  }

  private static func campaign(
    _ id: String, _ change: (inout ProtoCampaign) -> Void = { _ in }
  ) -> ProtoCampaign {
    var campaign = ProtoCampaign()
    campaign.campaignID = id
    (campaign.source, campaign.medium, campaign.name) = ("newsletter", "email", id)
    change(&campaign)
    return campaign
  }

  private func error(_ body: () async throws -> some Sendable) async throws -> RPCError {
    try await #require(throws: RPCError.self) { _ = try await body() }
  }

  private func changes(_ fixture: Fixture) async throws -> [ProtoSourceRecord] {
    try await fixture.records().compactMap { record in
      guard case .source(let bytes) = record.body else { return nil }
      #expect(record.count == 1 && record.appID == "shop")
      return try ProtoSourceRecord(serializedBytes: bytes)
    }
  }

  // MARK: Scenes

  @Test func `each change is a version with who and when, and every version can be read`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    #expect(try await caller.table().version == 0)
    let first = try await caller.set([Self.override(1175), Self.override(9_001)], note: "video")
    #expect(first.version == 1 && first.changedMs == Fixture.start + 7 && first.changedBy == "who")
    #expect(first.note == "video")
    _ = try await caller.set([Self.override(1175) { $0.excluded = true }])
    let third = try await caller.remove([9_001])
    #expect(third.version == 3 && third.removed == [9_001])
    #expect(try await caller.scene(1175, version: 0).sourceKey == 10)
    #expect(try await caller.scene(1175, version: 1).sourceKey == 48)
    // The second override replaced the first as a whole.
    let now = try await caller.scene(1175)
    #expect(now.sourceKey == 10 && now.excludedBecause == "override" && now.overridden)
    for (version, rows) in [(0, 247), (1, 248), (2, 248), (3, 247)] as [(UInt64, Int)] {
      #expect(try await caller.table(version: version).scenes.count == rows, "\(version)")
    }
    let late = try await error { try await caller.table(version: 4) }
    #expect(late.code == .outOfRange && late.message == "version: at most 3; got 4")
    try fixture.reopen()
    #expect(try await Caller(fixture).table().version == 3)
    #expect(try await Caller(fixture).scene(1175).excludedBecause == "override")
  }

  @Test func `the history is paged, the newest first`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    for key in 1...5 as ClosedRange<UInt32> {
      _ = try await caller.set([Self.override(1175) { $0.sourceKey = key }])
    }
    var seen: [UInt64] = []
    var request = ProtoListSceneVersionsRequest()
    request.pageSize = 2
    repeat {
      let page = try await caller.service.listSceneVersions(
        request, context: caller.context(SourcesMethods.listSceneVersions))
      seen += page.versions.map(\.version)
      request.pageToken = page.nextPageToken
    } while !request.pageToken.isEmpty
    #expect(seen == [5, 4, 3, 2, 1])
  }

  @Test func `what is so already makes no version and no record`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    let nothing = try await caller.set([Self.override(1175)])
    let head = fixture.core.head
    #expect(try await caller.set([Self.override(1175)]) == nothing)
    #expect(fixture.core.head == head)
    // Of two rows one is new: the version says which.
    let second = try await caller.set([Self.override(1175), Self.override(1176)])
    #expect(second.set.map(\.code) == [1176])
  }

  @Test func `a change says at which version it may happen`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    _ = try await caller.set([Self.override(1175)], expected: 0)
    let refused = try await error { try await caller.set([Self.override(1176)], expected: 0) }
    #expect(refused.code == .aborted)
    #expect(refused.message.hasPrefix("expected_version: is 0, the app is at 1"))
    #expect(try await caller.set([Self.override(1176)], expected: 1).version == 2)
  }

  @Test(arguments: [
    ("overrides: from 1 to 500; got 0", []),
    ("overrides: from 1 to 500; got 501", (1...501).map { override(UInt32($0)) }),
    ("overrides[0].code: from 1 to 1000000000; got 0", [override(0)]),
    ("overrides[0].code: from 1 to 1000000000; got 1000000001", [override(1_000_000_001)]),
    ("overrides[1].code: 7 is given twice", [override(7), override(7)]),
    ("overrides[0].source_key: a key of the data API, from 1 to 57; got 58", [override(7) { $0.sourceKey = 58 }]),
    ("overrides[0].source_key: a key of the data API, from 1 to 57; got 0", [override(7) { $0.sourceKey = 0 }]),
    ("overrides[0].channel: must match ^[a-z][a-z0-9_]{0,31}$; got \"Shop\"", [override(7) { $0.channel = "Shop" }]),
    ("overrides[0].channel_detail: must match", [override(7) { $0.channelDetail = "a b" }]),
    ("overrides[0].name_en: at most 128 bytes; got 129 bytes", [override(7) { $0.nameEn = String(repeating: "x", count: 129) }]),
    ("overrides[0].name_zh: at most 128 bytes; got 129 bytes", [override(7) { $0.nameZh = String(repeating: "茶", count: 43) }]),
    ("overrides[0].name_en: no control characters", [override(7) { $0.nameEn = "a\nb" }]),
    ("overrides[0]: code 7 changes nothing", [override(7) { _ in }]),
    ("overrides[0].platform: the app is of wechat", [override(7) { ($0.platform, $0.excluded) = (.alipay, true) }]),
  ])
  func `an override that breaks a rule is refused by its field`(
    message: String, overrides: [ProtoSceneOverride]
  ) async throws {
    let fixture = try await Fixture()
    let head = fixture.core.head
    let refused = try await error { try await Caller(fixture).set(overrides) }
    #expect(refused.code == .invalidArgument)
    #expect(refused.message.hasPrefix(message), "\(refused.message)")
    #expect(fixture.core.head == head)
  }

  @Test func `an override that is not there cannot be taken back`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    _ = try await caller.set([Self.override(1175)])
    let refused = try await error { try await caller.remove([1175, 1176]) }
    #expect(refused.code == .notFound && refused.message == "codes[1]: there is no override of scene \"1176\"")
    _ = try await caller.remove([1175])
    #expect(try await error { try await caller.remove([1175]) }.code == .notFound)
  }

  @Test func `no more than 1,000 overrides are in force`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    _ = try await caller.set((1...500).map { Self.override($0) })
    _ = try await caller.set((501...1_000).map { Self.override($0) })
    let refused = try await error { try await caller.set([Self.override(1_001)]) }
    #expect(refused.code == .resourceExhausted && refused.message.contains("at most 1000"))
    // One that is in force may still be changed.
    #expect(try await caller.set([Self.override(1_000) { $0.sourceKey = 2 }]).version == 3)
  }

  @Test func `an app of Alipay has Alipay's scenes`() async throws {
    let fixture = try await Fixture()
    var app = ProtoApp()
    (app.appID, app.platform) = ("pay", .alipay)
    _ = try await fixture.core.createApp(app, now: Fixture.start)
    let caller = Caller(fixture, app: "pay")
    let table = try await caller.table()
    #expect(table.platform == .alipay && table.scenes.count == 22)
    #expect(try await caller.scene(1203).nameEn == "medical services")
    let kept = try await caller.set([Self.override(1203) { ($0.platform, $0.excluded) = (.alipay, true) }])
    #expect(kept.set.map(\.platform) == [.alipay])
    // The number is another scene of the other app.
    #expect(try await Caller(fixture).scene(1203).excludedBecause == "load test")
  }

  @Test func `every change travels through the log`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    let version = try await caller.set([Self.override(1175)])
    let campaign = try await caller.register(Self.campaign("spring"))
    let code = try await caller.register(Self.code("t1") { $0.campaignID = "spring" })
    #expect(
      try await changes(fixture).map(\.change)
        == [.sceneVersion(version), .campaign(campaign), .qrCode(code)])
  }

  // MARK: QR codes and campaigns

  @Test func `a code is registered once, changed, archived and taken back`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    let made = try await caller.register(Self.code("t1") { $0.owner = "ada" })
    #expect(made.createdBy == "who" && made.createdMs == Fixture.start + 7 && !made.archived)
    #expect(try await caller.register(Self.code("t1") { $0.owner = "ada" }) == made)
    #expect(try await error { try await caller.register(Self.code("t1")) }.code == .alreadyExists)
    var archive = ProtoArchiveQrCodeRequest()
    archive.qrID = "t1"
    let method = SourcesMethods.archiveQrCode
    #expect(try await caller.service.archiveQrCode(archive, context: caller.context(method)).archived)
    let taken = try await error { try await caller.register(Self.code("t1") { $0.owner = "ada" }) }
    #expect(taken.code == .alreadyExists && taken.message.contains("is archived"))
    // History still resolves.
    #expect(try await caller.resolve { $0.qrID = "t1" }.qrCode.archived)
    archive.restore = true
    #expect(try await !caller.service.archiveQrCode(archive, context: caller.context(method)).archived)
    var update = ProtoUpdateQrCodeRequest()
    update.qrCode = Self.code("t1") { $0.name = "table one" }
    let changed = try await caller.service.updateQrCode(
      update, context: caller.context(SourcesMethods.updateQrCode))
    #expect(changed.name == "table one" && changed.owner.isEmpty && changed.createdMs == made.createdMs)
    try fixture.reopen()
    #expect(try await Caller(fixture).resolve { $0.qrID = "t1" }.qrCode == changed)
  }

  @Test func `an event resolves to its campaign by its fields, else by its code`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    _ = try await caller.register(Self.campaign("spring"))
    _ = try await caller.register(Self.campaign("autumn"))
    _ = try await caller.register(Self.code("t1") { $0.campaignID = "autumn" })
    let byFields = try await caller.resolve {
      ($0.campaignSource, $0.campaignMedium, $0.campaignName) = ("newsletter", "email", "spring")
      ($0.qrID, $0.scene) = ("t1", 1047)
    }
    #expect(byFields.campaign.campaignID == "spring" && !byFields.campaignByQrCode)
    #expect(byFields.qrCode.qrID == "t1" && byFields.scene.sourceKey == 4 && byFields.channel == "scan")
    let byCode = try await caller.resolve { $0.qrID = "t1" }
    #expect(byCode.campaign.campaignID == "autumn" && byCode.campaignByQrCode && !byCode.hasScene)
    // Fields that say another campaign are not overruled by the code.
    let neither = try await caller.resolve {
      ($0.campaignSource, $0.qrID) = ("elsewhere", "t1")
    }
    #expect(!neither.hasCampaign && neither.hasQrCode)
    #expect(try await !caller.resolve { $0.qrID = "unknown" }.hasQrCode)
  }

  // MARK: Codes that nobody registered

  private func listed(
    _ caller: Caller, after: String = ""
  ) async throws -> ProtoListUnregisteredQrCodesResponse {
    var request = ProtoListUnregisteredQrCodesRequest()
    request.pageToken = after
    request.pageSize = 1_000
    return try await caller.service.listUnregisteredQrCodes(
      request, context: caller.context(SourcesMethods.listUnregisteredQrCodes))
  }

  private func request(
    _ events: [ProtoEvent], qrID: String, user: String = "u"
  ) -> ProtoCollectRequest {
    var request = Fixture.request(events)
    request.context.openID = user
    request.context.qrID = qrID
    return request
  }

  @Test func `events of a code that nobody registered are kept and counted, each once`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    _ = try await caller.register(Self.code("known"))
    var own = Fixture.event(id: "own")
    own.context.qrID = "other"
    let batch = request([Fixture.event(id: "1"), own, Fixture.event(id: "2")], qrID: "t1")
    for _ in 0..<2 { #expect(try await fixture.send(batch).accepted == 3) }
    _ = try await fixture.send(request([Fixture.event(id: "3")], qrID: "known"), received: Fixture.start + 1)
    _ = try await fixture.send(request([Fixture.event(id: "4")], qrID: "t1"), received: Fixture.start + 9)
    // A bad event, and one that is too late, are not counted.
    let late = Fixture.event(time: Fixture.start - 9 * Fixture.day, id: "5")
    _ = try await fixture.send(request([Fixture.event("Bad", id: "6"), late], qrID: "t9"))
    // Without a code nothing is written.
    _ = try await fixture.send([Fixture.event(id: "7")])
    for round in 0..<2 {
      let codes = try await listed(Caller(fixture)).qrCodes
      #expect(codes.map(\.qrID) == ["other", "t1"], "\(round)")
      #expect(codes.map(\.events) == [1, 3])
      #expect(codes.last?.firstMs == Fixture.start && codes.last?.lastMs == Fixture.start + 9)
      try fixture.reopen()
    }
    _ = try await Caller(fixture).register(Self.code("t1"))
    #expect(try await listed(Caller(fixture)).qrCodes.map(\.qrID) == ["other"])
  }

  @Test func `beyond 10,000 codes of an app the events of further ones are counted together`() async throws {
    let fixture = try await Fixture()
    func send(_ range: Range<Int>, round: Int = 0) async throws {
      for first in stride(from: range.lowerBound, to: range.upperBound, by: 500) {
        let events = (first..<min(first + 500, range.upperBound)).map { number in
          var event = Fixture.event(id: "\(number)-\(round)")
          event.context.qrID = "code-\(number)"
          return event
        }
        _ = try await fixture.send(events)
      }
    }
    try await send(0..<9_000)
    try fixture.reopen()
    try await send(9_000..<10_050)
    // One that is known is still counted by itself.
    try await send(10_000..<10_001, round: 1)
    try await send(0..<1, round: 1)
    var counts: [UInt64] = []
    var page = try await listed(Caller(fixture))
    #expect(page.otherEvents == 51)
    while true {
      counts += page.qrCodes.map(\.events)
      if page.nextPageToken.isEmpty { break }
      page = try await listed(Caller(fixture), after: page.nextPageToken)
    }
    #expect(counts.count == 10_000 && counts.reduce(0, +) == 10_001)
  }

  @Test func `a link of a campaign and a code comes back as what it was made of`() async throws {
    let fixture = try await Fixture()
    let caller = Caller(fixture)
    _ = try await caller.register(
      Self.campaign("spring") { ($0.name, $0.content, $0.term) = ("春 & 茶", "50% off", "a+b") })
    _ = try await caller.register(
      Self.code("桌 1") { ($0.campaignID, $0.pagePath) = ("spring", "pages/tea") })
    let path = try await caller.link {
      $0.qrID = "桌 1"
      $0.parameters = [.with { ($0.name, $0.value) = ("id", "4=2") }]
    }
    #expect(
      path
        == "pages/tea?utm_source=newsletter&utm_medium=email&utm_campaign=%E6%98%A5%20%26%20%E8%8C%B6"
        + "&utm_content=50%25%20off&utm_term=a%2Bb&qr_id=%E6%A1%8C%201&id=4%3D2")
    let parsed = try await caller.parse(path)
    #expect(parsed.pagePath == "pages/tea" && parsed.qrID == "桌 1" && parsed.qrRegistered)
    #expect(parsed.campaignName == "春 & 茶" && parsed.campaignContent == "50% off" && parsed.campaignTerm == "a+b")
    #expect(parsed.campaignID == "spring")
    #expect(parsed.parameters.map(\.value) == ["4=2"])
  }
}
