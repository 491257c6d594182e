/// A name for people, in both languages of the suite.
package struct LocalizedName: Sendable, Equatable {
  package var english: String
  package var chinese: String

  package init(english: String = "", chinese: String = "") {
    self.english = english
    self.chinese = chinese
  }
}

/// What one scene code says about how an open came: its source, its channel, and whether its events are left out of reports
/// (SEMANTICS 1 and 2).
package struct Scene: Sendable, Equatable {
  /// The code, such as 1129. It means something on one platform only.
  package let code: Int
  /// The key under which WeChat's data API reports it, such as 10.
  package var sourceKey: Int
  package var name: LocalizedName
  /// `official_account`, `search` ... A channel is a coarser group than a source, and another one: WeChat's own two ways of
  /// grouping disagree (1144 is of the source "video" and of the channel of official accounts), so both are kept.
  package var channel: String
  /// Finer than the channel: `menu`, `article`. May be empty.
  package var channelDetail: String
  /// Why its events are left out of reports: `crawler`, `load test` ... Empty: they are not.
  package var excludedBecause: String
  /// Whether an app changed it.
  package var isOverridden: Bool

  package var isExcluded: Bool { !excludedBecause.isEmpty }

  /// What a code means that no table has.
  package init(unknown code: Int) {
    self.init(code: code, sourceKey: SourceKey.other)
  }

  init(
    code: Int, sourceKey: Int, name: LocalizedName = LocalizedName(),
    channel: String = Channel.other, channelDetail: String = "", excludedBecause: String = ""
  ) {
    self.code = code
    self.sourceKey = sourceKey
    self.name = name
    self.channel = channel
    self.channelDetail = channelDetail
    self.excludedBecause = excludedBecause
    isOverridden = false
  }
}

/// Names of channels.
package enum Channel {
  /// Of what nothing else claims.
  package static let other = "other"

  /// The channels that the built-in tables name. Of WeChat's eleven the ones that could be verified; the rest is `other`.
  package static let builtIn: [String: LocalizedName] = [
    "official_account": LocalizedName(english: "official account", chinese: "公众号"),
    "video_channel": LocalizedName(english: "video channel", chinese: "视频号"),
    "share": LocalizedName(english: "share", chinese: "分享"),
    "search": LocalizedName(english: "search", chinese: "搜索"),
    "scan": LocalizedName(english: "scan", chinese: "扫码"),
    other: LocalizedName(english: "other", chinese: "其他"),
  ]

  /// A channel's name for breakdowns: ^[a-z][a-z0-9_]{0,31}$, the rule of custom event names.
  package static func isName(_ text: String) -> Bool {
    var text = text
    return text.withUTF8 { EventName.isCustomName(UnsafeRawBufferPointer($0)) }
  }
}
