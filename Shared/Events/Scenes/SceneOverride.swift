/// What an app says of one scene in place of the built-in table. nil: as built in.
package struct SceneOverride: Sendable, Equatable {
  package let code: Int
  package var sourceKey: Int?
  package var english: String?
  package var chinese: String?
  package var channel: String?
  package var channelDetail: String?
  package var isExcluded: Bool?

  /// Why the events of a scene are left out that the app excludes.
  package static let exclusion = "override"

  package init(code: Int) { self.code = code }

  func applied(to scene: Scene) -> Scene {
    var scene = scene
    scene.isOverridden = true
    if let sourceKey { scene.sourceKey = sourceKey }
    if let english { scene.name.english = english }
    if let chinese { scene.name.chinese = chinese }
    if let channel {
      scene.channel = channel
      // The detail is of the channel: of another one it says nothing.
      scene.channelDetail = ""
    }
    if let channelDetail { scene.channelDetail = channelDetail }
    switch isExcluded {
    case true? where !scene.isExcluded: scene.excludedBecause = Self.exclusion
    case false?: scene.excludedBecause = ""
    default: break
    }
    return scene
  }
}
