import Events
import Testing

@Suite struct ChannelTests {
  private static func rule(_ change: (inout ChannelRule) -> Void) -> ChannelRule {
    var rule = ChannelRule()
    change(&rule)
    return rule
  }

  private static let groups = [
    ChannelGroup(
      name: "table", rules: [rule { $0.qrIDs = ["t1", "t2"] }]),
    ChannelGroup(
      name: "paid",
      rules: [
        rule {
          $0.campaignSources = ["wechat"]
          $0.campaignMediums = ["cpc", "cpm"]
        },
        rule { $0.sourceKeys = [33] },
      ]),
    ChannelGroup(name: "search_box", rules: [rule { $0.scenes = [1005, 1053] }]),
  ]

  @Test(arguments: [
    (ChannelInput(scene: 1001), "other"), (ChannelInput(scene: 1006), "search"),
    (ChannelInput(scene: 1005), "search_box"), (ChannelInput(scene: 1045), "paid"),
    (ChannelInput(scene: 1005, campaignSource: "wechat", campaignMedium: "cpc"), "paid"),
    // One list of the rule does not hold, so the rule does not.
    (ChannelInput(scene: 1005, campaignSource: "wechat", campaignMedium: "mail"), "search_box"),
    (ChannelInput(scene: 1045, qrID: "t2"), "table"), (ChannelInput(scene: 0), "other"),
    (ChannelInput(scene: 0, qrID: "t1"), "table"), (ChannelInput(scene: 0, qrID: "T1"), "other"),
  ])
  func `the first group that matches wins, then the scene's own channel`(
    input: ChannelInput, channel: String
  ) {
    let sources = AppSources(platform: "wechat", groups: Self.groups)
    #expect(sources.channel(of: input) == channel)
  }

  @Test func `the order of groups decides`() {
    let input = ChannelInput(scene: 1005, qrID: "t1")
    let reversed = AppSources(platform: "wechat", groups: Self.groups.reversed())
    #expect(reversed.channel(of: input) == "search_box")
    #expect(AppSources(platform: "wechat", groups: Self.groups).channel(of: input) == "table")
  }

  @Test func `without the defaults what no group matches is other`() {
    let sources = AppSources(platform: "wechat", groups: Self.groups, isWithoutDefaults: true)
    #expect(sources.channel(of: ChannelInput(scene: 1006)) == "other")
    #expect(sources.channel(of: ChannelInput(scene: 1005)) == "search_box")
  }

  @Test func `a rule over source keys follows the app's table, and never holds without a scene`() {
    var override = SceneOverride(code: 1175)
    override.sourceKey = 33
    let sources = AppSources(platform: "wechat", overrides: [override], groups: Self.groups)
    #expect(sources.channel(of: ChannelInput(scene: 1175)) == "paid")
    let rest = [ChannelGroup(name: "rest", rules: [Self.rule { $0.sourceKeys = [10] }])]
    #expect(AppSources(platform: "wechat", groups: rest).channel(of: ChannelInput(scene: 0)) == "other")
    #expect(AppSources(platform: "wechat", groups: rest).channel(of: ChannelInput(scene: 1000)) == "rest")
  }

  @Test func `an override of the channel holds where no group matches`() {
    var override = SceneOverride(code: 1006)
    override.channel = "inner"
    let sources = AppSources(platform: "wechat", overrides: [override])
    #expect(sources.channel(of: ChannelInput(scene: 1006)) == "inner")
  }

  @Test func `Alipay's scenes have channels of their own`() {
    let sources = AppSources(platform: "alipay")
    #expect(sources.channel(of: ChannelInput(scene: 1011)) == "scan")
    #expect(sources.channel(of: ChannelInput(scene: 1035)) == "other")
    #expect(AppSources(platform: "other").channel(of: ChannelInput(scene: 1011)) == "other")
  }

  @Test(arguments: ["a", "official_account", "a23456789012345678901234567890_2"])
  func `a channel's name follows the rule of custom names`(name: String) {
    #expect(Channel.isName(name))
  }

  @Test(arguments: ["", "A", "1a", "_a", "a-b", "a b", "渠道", "a23456789012345678901234567890_23"])
  func `any other text is no channel's name`(name: String) { #expect(!Channel.isName(name)) }
}
