import ArgumentParser
import Foundation
import Messages
import SwiftProtobuf

/// `footfall source`.
struct SourceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "source",
    abstract: "Where opens come from: scenes, channels, QR codes, campaigns, links.",
    subcommands: [
      Scenes.self, Resolve.self, SceneOverrideCommand.self, ChannelCommand.self, QRCodeCommand.self,
      CampaignCommand.self, LinkCommand.self,
    ])

  struct Scenes: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The table of scenes that holds for an app, or the built-in one of a platform.")

    @Option(help: "Only this code.")
    var code: UInt32?
    @Option(help: "The app's table as it was at this version; 0 is the built-in one.")
    var version: UInt64?
    @Option(help: "The built-in table of wechat, alipay or other.")
    var platform: String?
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoGetSceneTableRequest()
      request.appID = app.appID
      if let version { request.version = version }
      if let platform { request.platform = try ProtoPlatform(word: platform) }
      var answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).getSceneTable(request)
      }
      if let code { answer.scenes.removeAll { $0.code != code } }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("scene", .right), ("name", .left), ("名称", .left), ("key", .right), ("source", .left),
        ("channel", .left), ("left out", .left), ("", .left),
      ])
      for scene in answer.scenes {
        let detail = scene.channelDetail.isEmpty ? "" : " / \(scene.channelDetail)"
        table.add([
          "\(scene.code)", scene.nameEn, scene.nameZh, "\(scene.sourceKey)", scene.sourceEn,
          scene.channel + detail, scene.excludedBecause, scene.overridden ? "*" : "",
        ])
      }
      Printer.write(table.text)
    }
  }

  struct Resolve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Where an event with such a scene, QR code and campaign came from.")

    @Option(help: "The scene code.")
    var scene: UInt32 = 0
    @Option(name: .customLong("qr"), help: "The qr_id.")
    var qrID = ""
    @Option(name: .customLong("campaign-source"), help: "As the event brings it.")
    var source = ""
    @Option(name: .customLong("campaign-medium"), help: "As the event brings it.")
    var medium = ""
    @Option(name: .customLong("campaign-name"), help: "As the event brings it.")
    var name = ""
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoResolveRequest()
      request.appID = app.appID
      request.scene = scene
      request.qrID = qrID
      request.campaignSource = source
      request.campaignMedium = medium
      request.campaignName = name
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).resolve(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([("", .left), ("", .left)])
      if answer.hasScene {
        table.add(["scene", "\(answer.scene.code) \(answer.scene.nameEn)"])
        table.add(["source", "\(answer.scene.sourceKey) \(answer.scene.sourceEn)"])
      }
      table.add(["channel", answer.channel])
      if answer.hasQrCode { table.add(["QR code", "\(answer.qrCode.qrID) \(answer.qrCode.name)"]) }
      if answer.hasCampaign {
        let how = answer.campaignByQrCode ? " (by the QR code)" : ""
        table.add(["campaign", answer.campaign.campaignID + how])
      }
      Printer.write(table.text)
    }
  }
}

extension ProtoPlatform {
  init(word: String) throws {
    switch word {
    case "wechat": self = .wechat
    case "alipay": self = .alipay
    case "other": self = .other
    default: throw CommandFailure.usage("--platform: \"\(word)\" is none of wechat, alipay, other")
    }
  }
}

/// A page of a list.
struct PageOptions: ParsableArguments {
  @Option(name: .customLong("page-size"), help: "Rows, 1-1000.")
  var size: UInt32 = 100
  @Option(name: .customLong("page-token"), help: "What the page before ended with.")
  var token = ""

  /// Tells how to go on, behind the table.
  static func note(_ next: String) {
    if !next.isEmpty { Printer.note("more: --page-token '\(next)'") }
  }
}
