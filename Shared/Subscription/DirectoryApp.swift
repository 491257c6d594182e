package import Events
package import Messages

/// An app as the log last described it.
package struct DirectoryApp: Sendable {
  package let definition: ProtoApp
  package let calendar: AppCalendar
  package let sessionRules: SessionRules
  /// The scenes of the app's platform.
  package let scenes: SceneTable

  package var appID: String { definition.appID }
  /// `wechat`, `alipay`, `other`.
  package var platform: String { Self.name(definition.platform) }

  /// - Throws: `LogFault.badApp` where ingest let something through that this service cannot use.
  package init(_ definition: ProtoApp) throws(LogFault) {
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
    scenes = SceneTable.of(platform: Self.name(definition.platform))
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
