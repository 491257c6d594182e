import ArgumentParser
import Foundation
import Messages
import SwiftProtobuf

/// `footfall source channel`.
struct ChannelCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "channel", abstract: "An app's groups of sources, in order.",
    subcommands: [Show.self, Set.self])

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The groups in force; with --json what `set` takes, under `groups`.")

    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoGetChannelGroupsRequest()
      request.appID = app.appID
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).getChannelGroups(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([("channel", .left), ("name", .left), ("rules", .left), ("of", .left)])
      for group in answer.groups.groups {
        table.add([group.name, group.nameEn, group.rulesText, "the app"])
      }
      for group in answer.defaults {
        table.add([group.name, group.nameEn, group.rulesText, "the table of scenes"])
      }
      Printer.write(table.text)
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Replace all groups by those of a JSON file: the message ChannelGroups.",
      discussion: """
        {"groups": [{"name": "paid", "rules": [{"campaignMediums": ["cpc"]}, {"sourceKeys": [33]}]}]}
        """)

    @Argument(help: "The file.")
    var file: String
    @Option(
      name: .customLong("expect"), help: "Only where the groups are at this version; 0: never set.")
    var expected: UInt64?
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let groups: ProtoChannelGroups
      do {
        groups = try ProtoChannelGroups(
          jsonUTF8Data: Data(contentsOf: URL(fileURLWithPath: file)))
      } catch {
        throw CommandFailure("\(file): no JSON of ChannelGroups: \(JSONProblem.text(error))")
      }
      var request = ProtoSetChannelGroupsRequest()
      request.appID = app.appID
      request.groups = groups.groups
      request.withoutDefaults = groups.withoutDefaults
      if let expected { request.expectedVersion = expected }
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).setChannelGroups(request)
      }
      if output.json { return try Printer.json(answer) }
      Printer.line("\(answer.groups.count) channels, version \(answer.version)")
    }
  }
}

extension ProtoChannelGroup {
  /// `scenes 1005,1053 or campaign_mediums cpc`.
  var rulesText: String {
    rules.map { rule in
      [
        ("scenes", rule.scenes.map { "\($0)" }), ("source_keys", rule.sourceKeys.map { "\($0)" }),
        ("campaign_sources", rule.campaignSources), ("campaign_mediums", rule.campaignMediums),
        ("qr_ids", rule.qrIds),
      ].filter { !$0.1.isEmpty }
        .map { name, values in
          let shown = values.prefix(8).joined(separator: ",")
          return "\(name) \(shown)\(values.count > 8 ? " ... (\(values.count))" : "")"
        }.joined(separator: " and ")
    }.joined(separator: " or ")
  }
}
