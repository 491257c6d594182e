import ArgumentParser
import Messages
import SwiftProtobuf

/// `footfall app`.
struct AppCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "app", abstract: "Create and list apps.",
    subcommands: [Create.self, List.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create an app; the same settings again change nothing.")

    @Argument(help: "The app's id: ^[a-z0-9][a-z0-9_-]{0,63}$.")
    var appID: String
    @Option(help: "A name for people; by default the id.")
    var name: String?
    @Option(help: "wechat, alipay or other.")
    var platform = "wechat"
    @Option(name: .customLong("time-zone"), help: "IANA name; days are cut in it.")
    var timeZone = "Asia/Shanghai"
    @Option(
      name: .customLong("merge-under"),
      help: "Coming back after at most this long in the background does not begin an open.")
    var mergeUnder: String?
    @Option(help: "A longer pause than this begins an open.")
    var timeout: String?
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoCreateAppRequest()
      request.app.appID = appID
      request.app.name = name ?? appID
      request.app.platform = try Self.platform(platform)
      request.app.timeZone = timeZone
      if mergeUnder != nil || timeout != nil {
        request.app.sessionRules.mergeUnderMs = try Self.duration(mergeUnder, "--merge-under", 30_000)
        request.app.sessionRules.timeoutMs = try Self.duration(timeout, "--timeout", 1_800_000)
      }
      let app = try await connection.withChannel(to: .ingest) { channel in
        try await IngestClient(channel).createApp(request)
      }
      if output.json { return try Printer.json(app) }
      Printer.line("app \(app.appID) is there (\(app.platform.word), \(app.timeZone))")
    }

    private static func platform(_ text: String) throws -> ProtoPlatform {
      switch text {
      case "wechat": .wechat
      case "alipay": .alipay
      case "other": .other
      default:
        throw CommandFailure.usage("--platform: \"\(text)\" is none of wechat, alipay, other")
      }
    }

    private static func duration(
      _ text: String?, _ option: String, _ standard: Int64
    ) throws -> Int64 {
      guard let text else { return standard }
      if text == "0" { return 0 }
      guard let milliseconds = DurationText.milliseconds(text) else {
        throw CommandFailure.usage("\(option): \"\(text)\" is no duration such as 30s or 30m")
      }
      return milliseconds
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the apps.")

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await IngestClient(channel).listApps(ProtoListAppsRequest())
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("app", .left), ("name", .left), ("platform", .left), ("time zone", .left),
        ("open ends after", .right), ("created (UTC)", .left),
      ])
      for app in answer.apps {
        let timeout = app.hasSessionRules ? app.sessionRules.timeoutMs : 1_800_000
        table.add([
          app.appID, app.name, app.platform.word, app.timeZone,
          NumberText.duration(milliseconds: Double(timeout)),
          NumberText.time(app.createdMs, zone: "UTC"),
        ])
      }
      Printer.write(table.text)
    }
  }
}

extension ProtoPlatform {
  var word: String {
    switch self {
    case .wechat: "wechat"
    case .alipay: "alipay"
    case .other: "other"
    case .unspecified: "-"
    case .UNRECOGNIZED(let number): String(number)
    }
  }
}
