import ArgumentParser
import Messages

/// `footfall source override`.
struct SceneOverrideCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "override",
    abstract: "Change what scenes mean for an app, for all of its history at once.",
    subcommands: [Set.self, Remove.self, List.self, History.self])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say something else of a scene; what is not given stays as built in.")

    @Argument(help: "The scene code.")
    var code: UInt32
    @Option(name: .customLong("source-key"), help: "The key of WeChat's data API, 1-57.")
    var sourceKey: UInt32?
    @Option(name: .customLong("name"), help: "A name in English.")
    var english: String?
    @Option(name: .customLong("name-zh"), help: "A name in Chinese.")
    var chinese: String?
    @Option(name: .customLong("channel"), help: "^[a-z][a-z0-9_]{0,31}$")
    var channelName: String?
    @Option(name: .customLong("channel-detail"), help: "Finer than the channel.")
    var channelDetail: String?
    @Option(help: "true: reports leave its events out; false: they count.")
    var excluded: Bool?
    @OptionGroup var change: ChangeOptions
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var override = ProtoSceneOverride()
      override.code = code
      if let sourceKey { override.sourceKey = sourceKey }
      if let english { override.nameEn = english }
      if let chinese { override.nameZh = chinese }
      if let channelName { override.channel = channelName }
      if let channelDetail { override.channelDetail = channelDetail }
      if let excluded { override.excluded = excluded }
      var request = ProtoSetSceneOverridesRequest()
      request.appID = app.appID
      request.overrides = [override]
      request.note = change.note
      if let expected = change.expected { request.expectedVersion = expected }
      let version = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).setSceneOverrides(request)
      }
      if output.json { return try Printer.json(version) }
      Printer.line("the table of scenes is at version \(version.version)")
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take overrides back: the built-in rows hold again.")

    @Argument(help: "The scene codes.")
    var codes: [UInt32]
    @OptionGroup var change: ChangeOptions
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoRemoveSceneOverridesRequest()
      request.appID = app.appID
      request.codes = codes
      request.note = change.note
      if let expected = change.expected { request.expectedVersion = expected }
      let version = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).removeSceneOverrides(request)
      }
      if output.json { return try Printer.json(version) }
      Printer.line("the table of scenes is at version \(version.version)")
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The overrides in force.")

    @Option(help: "As it was at this version.")
    var version: UInt64?
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListSceneOverridesRequest()
      request.appID = app.appID
      if let version { request.version = version }
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).listSceneOverrides(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([("scene", .right), ("changes", .left)])
      for override in answer.overrides { table.add(["\(override.code)", override.changes]) }
      Printer.write(table.text)
    }
  }

  struct History: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Who changed what and when, the newest first.")

    @OptionGroup var page: PageOptions
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListSceneVersionsRequest()
      request.appID = app.appID
      request.pageSize = page.size
      request.pageToken = page.token
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).listSceneVersions(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("version", .right), ("changed (UTC)", .left), ("by token", .left), ("changes", .left),
        ("note", .left),
      ])
      for version in answer.versions {
        let changes =
          version.set.map { "\($0.code): \($0.changes)" }
          + version.removed.map { "\($0): as built in" }
        table.add([
          "\(version.version)", NumberText.time(version.changedMs, zone: "UTC"), version.changedBy,
          changes.joined(separator: "; "), version.note,
        ])
      }
      Printer.write(table.text)
      PageOptions.note(answer.nextPageToken)
    }
  }
}

/// What every change of the table of scenes may say.
struct ChangeOptions: ParsableArguments {
  @Option(help: "Why, for the history.")
  var note = ""
  @Option(
    name: .customLong("expect"), help: "Only where the table is at this version; 0: never changed.")
  var expected: UInt64?
}

extension ProtoSceneOverride {
  /// What it says, for people: `source_key 33, excluded`.
  var changes: String {
    var parts: [String] = []
    if hasSourceKey { parts.append("source_key \(sourceKey)") }
    if hasNameEn { parts.append("name \"\(nameEn)\"") }
    if hasNameZh { parts.append("name_zh \"\(nameZh)\"") }
    if hasChannel { parts.append("channel \(channel)") }
    if hasChannelDetail { parts.append("channel_detail \(channelDetail)") }
    if hasExcluded { parts.append(excluded ? "left out" : "counts") }
    return parts.joined(separator: ", ")
  }
}
