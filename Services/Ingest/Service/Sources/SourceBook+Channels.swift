import Events
import Messages
import RPC
import Store
import SwiftProtobuf

extension SourceBook {
  static func channelGroups(
    _ app: AppFacts, _ connection: StoreConnection
  ) throws -> ProtoChannelGroups {
    try connection.first(
      "SELECT body FROM channel_groups WHERE app = ?", [.integer(app.number)]
    ) { try ProtoChannelGroups(serializedBytes: $0.bytes(0)) } ?? ProtoChannelGroups()
  }

  func setChannelGroups(
    _ request: ProtoSetChannelGroupsRequest, appID: String, _ author: Author
  ) async throws -> ProtoChannelGroups {
    let kept = try SourceRules.normalized(request.groups)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      let current = try Self.channelGroups(app, connection)
      if request.hasExpectedVersion, request.expectedVersion != current.version {
        throw IngestErrors.otherVersion(
          expected: request.expectedVersion, actual: current.version)
      }
      guard current.groups != kept || current.withoutDefaults != request.withoutDefaults else {
        return current
      }
      var groups = ProtoChannelGroups()
      groups.groups = kept
      groups.withoutDefaults = request.withoutDefaults
      groups.version = current.version + 1
      groups.changedMs = author.now
      groups.changedBy = author.tokenID
      try connection.execute(
        "INSERT INTO channel_groups VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
        [.integer(app.number), .blob(try groups.serializedBytes())])
      try Self.append(.channelGroups(groups), of: app, author, appender, connection)
      return groups
    }
  }

  func channelGroups(_ appID: String) async throws -> ProtoGetChannelGroupsResponse {
    try await read(appID) { app, connection in
      var response = ProtoGetChannelGroupsResponse()
      response.groups = try Self.channelGroups(app, connection)
      if !response.groups.withoutDefaults {
        response.defaults = try Self.defaults(app, connection)
      }
      return response
    }
  }

  /// The channels of the app's table of scenes, as groups.
  private static func defaults(
    _ app: AppFacts, _ connection: StoreConnection
  ) throws -> [ProtoChannelGroup] {
    let scenes = try sources(app, connection).scenes.scenes
    return Dictionary(grouping: scenes, by: \.channel).sorted { $0.key < $1.key }.map { name, scenes in
      var group = ProtoChannelGroup()
      group.name = name
      group.nameEn = Channel.builtIn[name]?.english ?? ""
      group.nameZh = Channel.builtIn[name]?.chinese ?? ""
      var rule = ProtoChannelRule()
      rule.scenes = scenes.map { UInt32($0.code) }
      group.rules = [rule]
      return group
    }
  }
}
