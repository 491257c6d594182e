import Events
import Foundation
import Testing

/// The built-in tables against the facts that they were made from, and what an app's overrides make of them.
@Suite struct SceneTableTests {
  /// A line of Tests/Shared/Data/scenes.wechat.csv: WeChat's source keys and the scenes that reports leave out.
  struct Fact: Sendable {
    let code: Int
    let sourceKey: Int
    let chinese: String
    let english: String
    let excludedBecause: String
  }

  private static func facts() throws -> [Fact] {
    let file = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../Data/scenes.wechat.csv")
    // The lines end as they came, in carriage return and line feed.
    let lines = try String(contentsOf: file, encoding: .utf8).split(whereSeparator: \.isNewline)
    return try lines.dropFirst().map { line in
      let columns = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      return Fact(
        code: try #require(Int(columns[1])), sourceKey: try #require(Int(columns[2])),
        chinese: columns[3], english: columns[4], excludedBecause: columns[5])
    }
  }

  @Test func `every scene of the data API has its source key and its exclusion`() throws {
    let facts = try Self.facts()
    #expect(facts.count == 151)
    for fact in facts {
      let scene = try #require(SceneTable.wechat[code: fact.code], "\(fact.code)")
      #expect(scene.sourceKey == fact.sourceKey, "\(fact.code)")
      #expect(scene.excludedBecause == fact.excludedBecause, "\(fact.code)")
      let source = try #require(SourceKey.name(fact.sourceKey))
      #expect(source == LocalizedName(english: fact.english, chinese: fact.chinese), "\(fact.code)")
    }
  }

  @Test func `a scene that the data API does not name is of the source other and counts`() throws {
    let named = Set(try Self.facts().map(\.code))
    let others = SceneTable.wechat.scenes.filter { !named.contains($0.code) }
    #expect(others.count == 96)
    #expect(others.allSatisfy { $0.sourceKey == SourceKey.other && !$0.isExcluded })
  }

  @Test func `the 57 keys of the data API are complete, and each has a scene`() throws {
    for key in 1...57 {
      let name = try #require(SourceKey.name(key), "\(key)")
      #expect(!name.english.isEmpty && !name.chinese.isEmpty, "\(key)")
    }
    #expect(SourceKey.name(0) == nil)
    #expect(SourceKey.name(58) == nil)
    let used = Set(SceneTable.wechat.scenes.map(\.sourceKey))
    #expect(used == Set(1...57))
    // 145 codes are in one of the 56 keys beside `other`.
    #expect(SceneTable.wechat.scenes.count { $0.sourceKey != SourceKey.other } == 145)
  }

  @Test func `every scene has a name in both languages and a channel`() {
    for table in [SceneTable.wechat, SceneTable.of(platform: "alipay")] {
      for scene in table.scenes {
        #expect(!scene.name.english.isEmpty && !scene.name.chinese.isEmpty, "\(scene.code)")
        #expect(Channel.builtIn[scene.channel] != nil, "\(scene.code)")
      }
    }
  }

  @Test func `the same number means another thing on another platform`() throws {
    let alipay = SceneTable.of(platform: "alipay")
    #expect(alipay.scenes.count == 22)
    // A load test of WeChat's is a doctor's waiting room of Alipay's.
    #expect(SceneTable.wechat.isExcluded(1203))
    #expect(!alipay.isExcluded(1203))
    #expect(alipay[code: 1203]?.name.english == "medical services")
    #expect(alipay[code: 1000]?.name.english == "home grid")
    #expect(alipay.sourceKey(1200) == 32)
    #expect(SceneTable.wechat.sourceKey(1200) == SourceKey.other)
    #expect(alipay.excludedCodes.isEmpty)
    #expect(SceneTable.of(platform: "other").scenes.isEmpty)
  }

  @Test(arguments: [
    ("official_account", "menu", [1035, 1102]), ("official_account", "article", [1058, 1091, 1144, 1152]),
    ("official_account", "chat", [1074, 1082, 1157]), ("official_account", "message", [1043]),
    ("official_account", "other", [1020]), ("video_channel", "home", [1175]),
    ("video_channel", "live", [1177]), ("share", "one_to_one", [1007]),
    ("share", "group", [1008, 1044, 1160]), ("share", "app", [1036]),
    ("share", "moments", [1154, 1155]), ("search", "mobile", [1005, 1006, 1027, 1042, 1053, 1106]),
    ("search", "pc", [1183]), ("scan", "offline", [1011, 1025, 1047, 1124]),
    ("scan", "long_press", [1012, 1031, 1048, 1125]),
  ])
  func `the verified channels hold their scenes and no others`(
    channel: String, detail: String, codes: [Int]
  ) {
    let found = SceneTable.wechat.scenes.filter { $0.channel == channel && $0.channelDetail == detail }
    #expect(found.map(\.code) == codes)
  }

  @Test func `source and channel are two groupings that disagree`() {
    #expect(SceneTable.wechat.sourceKey(1144) == 48)
    #expect(SceneTable.wechat[code: 1144]?.channel == "official_account")
  }

  @Test func `a scene that no table has is of the source other and counts`() {
    #expect(SceneTable.wechat.sourceKey(999_999) == SourceKey.other)
    #expect(!SceneTable.wechat.isExcluded(999_999))
    #expect(SceneTable.wechat.excludedCodes == [1017, 1030, 1059, 1101, 1129, 1203])
  }

  @Test func `a broken line is named`() {
    let found = #expect(throws: SceneTable.BrokenLine.self) {
      try SceneTable(platform: "wechat", csv: Array("heading\nwechat,x,1,a,b,c,d,\n".utf8))
    }
    #expect(found?.description == "line 2: wechat,x,1,a,b,c,d,")
    let short = #expect(throws: SceneTable.BrokenLine.self) {
      try SceneTable(platform: "wechat", csv: Array("heading\nwechat,1,1,a,b,,\n".utf8))
    }
    #expect(short?.description == "line 2: wechat,1,1,a,b,,")
  }

  // MARK: Overrides

  private static func override(
    _ code: Int, _ change: (inout SceneOverride) -> Void
  ) -> SceneOverride {
    var override = SceneOverride(code: code)
    change(&override)
    return override
  }

  @Test func `an override replaces what it says and leaves the rest as built in`() throws {
    let table = SceneTable.wechat.applying([Self.override(1175) { $0.sourceKey = 48 }])
    let scene = try #require(table[code: 1175])
    #expect(scene.sourceKey == 48 && scene.isOverridden)
    #expect(scene.name == SceneTable.wechat[code: 1175]?.name)
    #expect(scene.channel == "video_channel" && scene.channelDetail == "home")
    #expect(table[code: 1177] == SceneTable.wechat[code: 1177])
    #expect(table.scenes.count == SceneTable.wechat.scenes.count)
  }

  @Test func `an override makes a row for a code that the table does not have`() throws {
    let table = SceneTable.wechat.applying([
      Self.override(9_001) {
        $0.english = "kiosk"
        $0.channel = "kiosk"
      }
    ])
    let scene = try #require(table[code: 9_001])
    #expect(scene.sourceKey == SourceKey.other && scene.channel == "kiosk" && !scene.isExcluded)
    #expect(table.scenes.map(\.code) == table.scenes.map(\.code).sorted())
  }

  @Test func `the later of two overrides of one code holds, from the built-in row on`() throws {
    let table = SceneTable.wechat.applying([
      Self.override(1001) { $0.sourceKey = 36 }, Self.override(1001) { $0.chinese = "最近" },
    ])
    #expect(table.sourceKey(1001) == 1)
    #expect(table[code: 1001]?.name.chinese == "最近")
  }

  @Test func `an override excludes a scene or takes a built-in exclusion back`() {
    let table = SceneTable.wechat.applying([
      Self.override(1001) { $0.isExcluded = true }, Self.override(1129) { $0.isExcluded = false },
      Self.override(1203) { $0.isExcluded = true },
    ])
    #expect(table.excludedCodes == [1001, 1017, 1030, 1059, 1101, 1203])
    #expect(table[code: 1001]?.excludedBecause == SceneOverride.exclusion)
    // What was left out before keeps its reason.
    #expect(table[code: 1203]?.excludedBecause == "load test")
  }

  @Test func `another channel has not the detail of the one before`() {
    let table = SceneTable.wechat.applying([Self.override(1035) { $0.channel = "share" }])
    #expect(table[code: 1035]?.channel == "share")
    #expect(table[code: 1035]?.channelDetail == "")
  }
}
