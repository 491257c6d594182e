/// Why an event is left out of reports unless somebody asks for it (SEMANTICS 1, Excluded by default).
package enum ExclusionReason: UInt8, CaseIterable, Sendable {
  /// The scene is marked in the table: a crawler, a load test.
  case scene
  /// Sent by a trial or a develop build.
  case releaseChannel

  /// As answers call it.
  package var name: String {
    switch self {
    case .scene: "scene"
    case .releaseChannel: "release_channel"
    }
  }
}

/// The default exclusions of an app. An event that both reasons leave out counts under `scene`.
package struct DefaultExclusions: Sendable {
  private let scenes: SceneTable

  /// - Parameter scenes: of the app's platform.
  package init(scenes: SceneTable) { self.scenes = scenes }

  /// - Parameter platform: the app's: `wechat`, `alipay`, `other`.
  package init(platform: String) { self.init(scenes: SceneTable.of(platform: platform)) }

  /// nil: the event counts. Cost: one hash where a scene is set.
  package func reason(for context: EventContext) -> ExclusionReason? {
    let scene = context.integer(.scene)
    if scene != 0, scenes.isExcluded(Int(scene)) { return .scene }
    return context.integer(.releaseChannel) > 1 ? .releaseChannel : nil
  }
}
