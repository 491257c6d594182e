package import Events

/// What the log says of an app, as far as reports need it.
package struct AppDefinition: Sendable, Equatable {
  package let appID: String
  /// `wechat`, `alipay`, `other`: which table of scenes holds.
  package let platform: String
  /// IANA name.
  package let timeZone: String
  package let sessionRules: SessionRules
  /// What the app's scenes and channels mean: it holds for all of the app's history.
  package let sources: AppSources

  /// - Parameter sources: by default the platform's.
  package init(
    appID: String, platform: String, timeZone: String, sessionRules: SessionRules,
    sources: AppSources? = nil
  ) {
    self.appID = appID
    self.platform = platform
    self.timeZone = timeZone
    self.sessionRules = sessionRules
    self.sources = sources ?? AppSources(platform: platform)
  }
}
