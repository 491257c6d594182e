package import Events
package import Messages
internal import Sources

/// An app as the log last described it.
package struct DirectoryApp: Sendable {
  package let definition: ProtoApp
  package let calendar: AppCalendar
  package let sessionRules: SessionRules
  /// What the app's scenes and channels mean, as of the applied position.
  package let sources: AppSources
  /// As the log has them.
  let sourceRecord: ProtoAppSources

  package var scenes: SceneTable { sources.scenes }

  package var appID: String { definition.appID }
  /// `wechat`, `alipay`, `other`.
  package var platform: String { Self.name(definition.platform) }

  /// - Throws: `LogFault.badApp` where ingest let something through that this service cannot use.
  package init(
    _ definition: ProtoApp, sources record: ProtoAppSources = ProtoAppSources()
  ) throws(LogFault) {
    guard AppID(definition.appID) != nil else {
      throw .badApp("app_id \"\(definition.appID.prefix(64))\" breaks the rule of app ids")
    }
    let zone = definition.timeZone.isEmpty ? AppCalendar.defaultIdentifier : definition.timeZone
    guard let calendar = AppCalendar(zone) else {
      throw .badApp("\(definition.appID): unknown time zone \"\(zone)\"")
    }
    self.definition = definition
    self.calendar = calendar
    sessionRules = try Self.rules(definition)
    sourceRecord = record
    sources = AppSources(record, platform: Self.name(definition.platform))
  }

  private static func rules(_ definition: ProtoApp) throws(LogFault) -> SessionRules {
    guard definition.hasSessionRules else { return .classic }
    let rules = definition.sessionRules
    do {
      return try SessionRules(
        mergeUnderMilliseconds: rules.mergeUnderMs, timeoutMilliseconds: rules.timeoutMs)
    } catch {
      throw .badApp("\(definition.appID): \(error.message)")
    }
  }

  private static func name(_ platform: ProtoPlatform) -> String {
    switch platform {
    case .wechat, .unspecified: "wechat"
    case .alipay: "alipay"
    case .other, .UNRECOGNIZED: "other"
    }
  }
}
