/// Where an event came from, as far as channels ask.
package struct ChannelInput: Sendable, Equatable {
  /// 0: unknown.
  package var scene: Int
  package var campaignSource: String
  package var campaignMedium: String
  package var qrID: String

  package init(
    scene: Int = 0, campaignSource: String = "", campaignMedium: String = "", qrID: String = ""
  ) {
    self.scene = scene
    self.campaignSource = campaignSource
    self.campaignMedium = campaignMedium
    self.qrID = qrID
  }
}

/// Holds where every list that it gives holds; a list holds where one of its values does.
package struct ChannelRule: Sendable, Equatable {
  package var scenes: Set<Int> = []
  package var sourceKeys: Set<Int> = []
  package var campaignSources: Set<String> = []
  package var campaignMediums: Set<String> = []
  package var qrIDs: Set<String> = []

  package init() {}

  /// - Parameter sourceKey: of the input's scene, by the app's table.
  func holds(_ input: ChannelInput, sourceKey: Int) -> Bool {
    holds(scenes, input.scene) && holds(sourceKeys, sourceKey)
      && holds(campaignSources, input.campaignSource)
      && holds(campaignMediums, input.campaignMedium) && holds(qrIDs, input.qrID)
  }

  private func holds<Value>(_ list: Set<Value>, _ value: Value) -> Bool {
    list.isEmpty || list.contains(value)
  }
}

/// A channel of an app's own: one rule that holds is enough.
package struct ChannelGroup: Sendable, Equatable {
  package let name: String
  package let rules: [ChannelRule]

  package init(name: String, rules: [ChannelRule]) {
    self.name = name
    self.rules = rules
  }
}

/// What an app knows about where its events come from: its table of scenes and its channels. Applied when a question is
/// asked; events keep what they brought.
package struct AppSources: Sendable, Equatable {
  /// The app's overrides, by code.
  package let overrides: [SceneOverride]
  /// The platform's table with the overrides.
  package let scenes: SceneTable
  /// In order: the first that matches wins.
  package let groups: [ChannelGroup]
  /// Whether what no group matches is `other` rather than of its scene's channel.
  package let isWithoutDefaults: Bool

  package init(
    platform: String, overrides: [SceneOverride] = [], groups: [ChannelGroup] = [],
    isWithoutDefaults: Bool = false
  ) {
    self.overrides = overrides.sorted { $0.code < $1.code }
    scenes = SceneTable.of(platform: platform).applying(self.overrides)
    self.groups = groups
    self.isWithoutDefaults = isWithoutDefaults
  }

  /// Cost: linear in the rules.
  package func channel(of input: ChannelInput) -> String {
    // Without a scene there is no source: a rule over sources cannot hold, not even over `other`.
    let sourceKey = input.scene == 0 ? 0 : scenes.sourceKey(input.scene)
    for group in groups
    where group.rules.contains(where: { $0.holds(input, sourceKey: sourceKey) }) {
      return group.name
    }
    guard !isWithoutDefaults else { return Channel.other }
    return scenes[code: input.scene]?.channel ?? Channel.other
  }
}
