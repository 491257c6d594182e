package import Events
package import Messages
internal import SwiftProtobuf

extension SceneOverride {
  /// Takes over what the message gives. Whether it may is ingest's to say.
  package init(_ message: ProtoSceneOverride) {
    self.init(code: Int(message.code))
    if message.hasSourceKey { sourceKey = Int(message.sourceKey) }
    if message.hasNameEn { english = message.nameEn }
    if message.hasNameZh { chinese = message.nameZh }
    if message.hasChannel { channel = message.channel }
    if message.hasChannelDetail { channelDetail = message.channelDetail }
    if message.hasExcluded { isExcluded = message.excluded }
  }
}

extension ProtoSceneOverride {
  package init(_ override: SceneOverride) {
    self.init()
    code = UInt32(override.code)
    if let key = override.sourceKey { sourceKey = UInt32(key) }
    if let english = override.english { nameEn = english }
    if let chinese = override.chinese { nameZh = chinese }
    if let channel = override.channel { self.channel = channel }
    if let detail = override.channelDetail { channelDetail = detail }
    if let isExcluded = override.isExcluded { excluded = isExcluded }
  }
}

extension ChannelRule {
  package init(_ message: ProtoChannelRule) {
    self.init()
    scenes = Set(message.scenes.map { Int($0) })
    sourceKeys = Set(message.sourceKeys.map { Int($0) })
    campaignSources = Set(message.campaignSources)
    campaignMediums = Set(message.campaignMediums)
    qrIDs = Set(message.qrIds)
  }
}

extension ChannelGroup {
  package init(_ message: ProtoChannelGroup) {
    self.init(name: message.name, rules: message.rules.map(ChannelRule.init))
  }
}

extension AppSources {
  /// - Parameter platform: the app's: `wechat`, `alipay`, `other`.
  package init(_ message: ProtoAppSources, platform: String) {
    self.init(
      platform: platform, overrides: message.overrides.map(SceneOverride.init),
      groups: message.channelGroups.groups.map(ChannelGroup.init),
      isWithoutDefaults: message.channelGroups.withoutDefaults)
  }

  /// - Parameter encoded: what `encoded` gave; no bytes: nothing but the platform's table.
  package init(encoded: [UInt8], platform: String) throws {
    self.init(try ProtoAppSources(serializedBytes: encoded), platform: platform)
  }

  /// For stores.
  package func encoded() throws -> [UInt8] {
    var message = ProtoAppSources()
    message.overrides = overrides.map(ProtoSceneOverride.init)
    message.channelGroups.groups = groups.map(ProtoChannelGroup.init)
    message.channelGroups.withoutDefaults = isWithoutDefaults
    return try message.serializedBytes()
  }
}

extension ProtoChannelGroup {
  /// Lists in ascending order: equal groups have equal bytes.
  init(_ group: ChannelGroup) {
    self.init()
    name = group.name
    rules = group.rules.map { rule in
      var message = ProtoChannelRule()
      message.scenes = rule.scenes.sorted().map { UInt32($0) }
      message.sourceKeys = rule.sourceKeys.sorted().map { UInt32($0) }
      message.campaignSources = rule.campaignSources.sorted()
      message.campaignMediums = rule.campaignMediums.sorted()
      message.qrIds = rule.qrIDs.sorted()
      return message
    }
  }
}

extension ProtoAppSources {
  /// Follows a change of the log. Registered codes and campaigns change nothing of what is kept here.
  ///
  /// - Returns: whether anything changed.
  package mutating func apply(_ change: ProtoSourceRecord) -> Bool {
    switch change.change {
    case .sceneVersion(let version):
      var byCode = Dictionary(
        overrides.map { ($0.code, $0) }, uniquingKeysWith: { _, later in later })
      for code in version.removed { byCode[code] = nil }
      for override in version.set { byCode[override.code] = override }
      overrides = byCode.values.sorted { $0.code < $1.code }
      self.version = version.version
      return true
    case .channelGroups(let groups):
      channelGroups = groups
      return true
    case .qrCode, .campaign, nil: return false
    }
  }
}
