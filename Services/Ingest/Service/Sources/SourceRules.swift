import Events
import Messages
import RPC
import SwiftProtobuf

/// What scenes, channels, QR codes and campaigns may look like (sources.proto). Each check throws INVALID_ARGUMENT that
/// names the field, the limit and the value.
enum SourceRules {
  static func name(_ platform: ProtoPlatform) -> String {
    switch platform {
    case .wechat, .unspecified: "wechat"
    case .alipay: "alipay"
    case .other, .UNRECOGNIZED: "other"
    }
  }

  // MARK: Pieces

  static func checkText(
    _ field: String, _ text: String, max: Int, required: Bool = false
  ) throws(RPCError) {
    guard text.utf8.count <= max else {
      throw IngestErrors.invalid(field, "at most \(max) bytes; got \(text.utf8.count) bytes")
    }
    guard !required || !text.isEmpty else { throw IngestErrors.invalid(field, "required") }
    guard !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
      throw IngestErrors.invalid(field, "no control characters; got \(text.debugDescription.prefix(128))")
    }
  }

  static func checkCode(_ field: String, _ code: UInt32) throws(RPCError) {
    guard code >= 1, code <= EventLimits.sceneMax else {
      throw IngestErrors.invalid(field, "from 1 to \(EventLimits.sceneMax); got \(code)")
    }
  }

  static func checkSourceKey(_ field: String, _ key: UInt32) throws(RPCError) {
    guard SourceKey.all.contains(Int(key)) else {
      throw IngestErrors.invalid(
        field,
        "a key of the data API, from \(SourceKey.all.lowerBound) to \(SourceKey.all.upperBound); got \(key)")
    }
  }

  static func checkChannel(_ field: String, _ name: String) throws(RPCError) {
    guard Channel.isName(name) else {
      throw IngestErrors.invalid(
        field, "must match ^[a-z][a-z0-9_]{0,31}$; got \"\(name.prefix(64))\"")
    }
  }

  static func checkPage(_ field: String, _ path: String, required: Bool) throws(RPCError) {
    try checkText(field, path, max: EventLimits.pagePathBytesMax, required: required)
    guard !path.hasPrefix("/"), !path.contains("?"), !path.contains("#") else {
      throw IngestErrors.invalid(
        field, "a path without query, fragment and leading slash; got \"\(path.prefix(128))\"")
    }
  }

  static func checkCount(_ field: String, _ count: Int, max: Int) throws(RPCError) {
    guard (1...max).contains(count) else {
      throw IngestErrors.invalid(field, "from 1 to \(max); got \(count)")
    }
  }

  /// The rows of a page, with the default filled in.
  static func pageRows(_ size: UInt32) throws(RPCError) -> Int {
    guard size <= Limits.pageRowsMax else {
      throw IngestErrors.invalid("page_size", "at most \(Limits.pageRowsMax); got \(size)")
    }
    return Int(size == 0 ? Limits.pageRowsDefault : size)
  }

  // MARK: Scenes

  /// The override as it is kept: with its platform, checked against the app's.
  static func normalized(
    _ override: ProtoSceneOverride, at index: Int, platform: ProtoPlatform
  ) throws(RPCError) -> ProtoSceneOverride {
    let field = "overrides[\(index)]"
    guard override.platform == .unspecified || override.platform == platform else {
      throw IngestErrors.invalid(
        "\(field).platform",
        "the app is of \(name(platform)), whose codes mean other things; got \(override.platform)")
    }
    if override.hasSourceKey { try checkSourceKey("\(field).source_key", override.sourceKey) }
    try checkText("\(field).name_en", override.nameEn, max: Limits.nameBytesMax)
    try checkText("\(field).name_zh", override.nameZh, max: Limits.nameBytesMax)
    if override.hasChannel { try checkChannel("\(field).channel", override.channel) }
    if !override.channelDetail.isEmpty {
      try checkChannel("\(field).channel_detail", override.channelDetail)
    }
    guard
      override.hasSourceKey || override.hasNameEn || override.hasNameZh || override.hasChannel
        || override.hasChannelDetail || override.hasExcluded
    else {
      throw IngestErrors.invalid(
        field, "code \(override.code) changes nothing: give source_key, a name, a channel or excluded")
    }
    var kept = override
    kept.platform = platform
    kept.unknownFields = .init()
    return kept
  }

  /// - Parameter part: the code's name within an element.
  static func check(
    _ codes: [UInt32], _ field: String, part: String = ""
  ) throws(RPCError) {
    try checkCount(field, codes.count, max: Limits.sceneChangesMax)
    var seen: Set<UInt32> = []
    for (index, code) in codes.enumerated() {
      try checkCode("\(field)[\(index)]\(part)", code)
      guard seen.insert(code).inserted else {
        throw IngestErrors.invalid("\(field)[\(index)]\(part)", "\(code) is given twice")
      }
    }
  }

  // MARK: Channels

  static func normalized(_ groups: [ProtoChannelGroup]) throws(RPCError) -> [ProtoChannelGroup] {
    guard groups.count <= Limits.channelGroupsMax else {
      throw IngestErrors.invalid(
        "groups", "at most \(Limits.channelGroupsMax); got \(groups.count)")
    }
    var names: Set<String> = []
    var kept: [ProtoChannelGroup] = []
    for (index, group) in groups.enumerated() {
      let field = "groups[\(index)]"
      try checkChannel("\(field).name", group.name)
      guard group.name != Channel.other else {
        throw IngestErrors.invalid("\(field).name", "\"other\" is what no group matches")
      }
      guard names.insert(group.name).inserted else {
        throw IngestErrors.invalid("\(field).name", "\"\(group.name)\" is given twice")
      }
      try checkText("\(field).name_en", group.nameEn, max: Limits.nameBytesMax)
      try checkText("\(field).name_zh", group.nameZh, max: Limits.nameBytesMax)
      try checkCount("\(field).rules", group.rules.count, max: Limits.channelRulesMax)
      for (place, rule) in group.rules.enumerated() { try check(rule, "\(field).rules[\(place)]") }
      kept.append(stripped(group))
    }
    return kept
  }

  private static func stripped(_ group: ProtoChannelGroup) -> ProtoChannelGroup {
    var kept = group
    kept.unknownFields = .init()
    for index in kept.rules.indices { kept.rules[index].unknownFields = .init() }
    return kept
  }

  private static func check(_ rule: ProtoChannelRule, _ field: String) throws(RPCError) {
    let count =
      rule.scenes.count + rule.sourceKeys.count + rule.campaignSources.count
      + rule.campaignMediums.count + rule.qrIds.count
    guard count > 0 else {
      throw IngestErrors.invalid(
        field, "give at least one of scenes, source_keys, campaign_sources, campaign_mediums, qr_ids")
    }
    guard count <= Limits.channelValuesMax else {
      throw IngestErrors.invalid(field, "at most \(Limits.channelValuesMax) values; got \(count)")
    }
    for code in rule.scenes { try checkCode("\(field).scenes", code) }
    for key in rule.sourceKeys { try checkSourceKey("\(field).source_keys", key) }
    for (name, texts) in [
      ("campaign_sources", rule.campaignSources), ("campaign_mediums", rule.campaignMediums),
      ("qr_ids", rule.qrIds),
    ] {
      for text in texts {
        try checkText(
          "\(field).\(name)", text, max: EventLimits.contextTextBytesMax, required: true)
      }
    }
  }

  // MARK: QR codes

  /// The code as it is kept, but for who and when.
  static func normalized(_ code: ProtoQrCode) throws(RPCError) -> ProtoQrCode {
    try checkText("qr_code.qr_id", code.qrID, max: Limits.qrIDBytesMax, required: true)
    try checkText("qr_code.name", code.name, max: Limits.nameBytesMax, required: true)
    try checkPage("qr_code.page_path", code.pagePath, required: false)
    try checkText("qr_code.owner", code.owner, max: Limits.nameBytesMax)
    try checkText("qr_code.medium", code.medium, max: Limits.nameBytesMax)
    if !code.campaignID.isEmpty { try checkCampaignID("qr_code.campaign_id", code.campaignID) }
    var kept = ProtoQrCode()
    kept.qrID = code.qrID
    kept.name = code.name
    kept.pagePath = code.pagePath
    kept.owner = code.owner
    kept.medium = code.medium
    kept.campaignID = code.campaignID
    return kept
  }

  // MARK: Campaigns

  static func checkCampaignID(_ field: String, _ id: String) throws(RPCError) {
    // The same rule as that of apps.
    guard AppID(id) != nil else {
      throw IngestErrors.invalid(
        field, "must match ^[a-z0-9][a-z0-9_-]{0,63}$; got \"\(id.prefix(128))\"")
    }
  }

  /// The campaign as it is kept, but for who and when.
  static func normalized(_ campaign: ProtoCampaign) throws(RPCError) -> ProtoCampaign {
    let max = EventLimits.contextTextBytesMax
    try checkCampaignID("campaign.campaign_id", campaign.campaignID)
    try checkText("campaign.title", campaign.title, max: Limits.nameBytesMax)
    try checkText("campaign.source", campaign.source, max: max, required: true)
    try checkText("campaign.medium", campaign.medium, max: max, required: true)
    try checkText("campaign.name", campaign.name, max: max, required: true)
    try checkText("campaign.content", campaign.content, max: max)
    try checkText("campaign.term", campaign.term, max: max)
    try checkTimes(campaign)
    try checkBudget(campaign)
    var kept = campaign
    kept.unknownFields = .init()
    (kept.archived, kept.createdMs, kept.createdBy) = (false, 0, "")
    (kept.changedMs, kept.changedBy) = (0, "")
    return kept
  }

  private static func checkTimes(_ campaign: ProtoCampaign) throws(RPCError) {
    for (name, time) in [("begin_ms", campaign.beginMs), ("end_ms", campaign.endMs)] {
      guard (0...EventLimits.timeMillisecondsMax).contains(time) else {
        throw IngestErrors.invalid(
          "campaign.\(name)", "from 0 to \(EventLimits.timeMillisecondsMax); got \(time)")
      }
    }
    guard campaign.endMs == 0 || campaign.endMs > campaign.beginMs else {
      throw IngestErrors.invalid(
        "campaign.end_ms", "0 or later than begin_ms (\(campaign.beginMs)); got \(campaign.endMs)")
    }
  }

  private static func checkBudget(_ campaign: ProtoCampaign) throws(RPCError) {
    guard (0...Limits.campaignBudgetMax).contains(campaign.budgetMinor) else {
      throw IngestErrors.invalid(
        "campaign.budget_minor", "from 0 to \(Limits.campaignBudgetMax); got \(campaign.budgetMinor)")
    }
    let currency = campaign.budgetCurrency
    let isCode =
      currency.utf8.count == 3
      && currency.utf8.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
    guard campaign.budgetMinor > 0 ? isCode : currency.isEmpty else {
      throw IngestErrors.invalid(
        "campaign.budget_currency",
        "^[A-Z]{3}$ with a budget, empty without; got \"\(currency.prefix(16))\"")
    }
  }
}
