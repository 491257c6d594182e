import ArgumentParser
import Messages

/// `footfall source link`.
struct LinkCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "link", abstract: "Paths that open a page and say where from.",
    subcommands: [Build.self, Parse.self])

  struct Build: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The path with query of a page, a campaign and a QR code.")

    @Argument(help: "The page; by default the QR code's.")
    var page = ""
    @Option(help: "The campaign_id; by default the QR code's.")
    var campaign = ""
    @Option(name: .customLong("qr"), help: "The qr_id.")
    var qrID = ""
    @Option(name: .customLong("set"), help: "A parameter of the page's own, name=value; may be given again.")
    var parameters: [String] = []
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoBuildLinkRequest()
      request.appID = app.appID
      request.pagePath = page
      request.campaignID = campaign
      request.qrID = qrID
      request.parameters = try parameters.map { text in
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
          throw CommandFailure.usage("--set: \"\(text)\" is not name=value")
        }
        var parameter = ProtoLinkParameter()
        (parameter.name, parameter.value) = (String(parts[0]), String(parts[1]))
        return parameter
      }
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).buildLink(request)
      }
      if output.json { return try Printer.json(answer) }
      Printer.line(answer.path)
    }
  }

  struct Parse: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "What such a path says.")

    @Argument(help: "A path, with or without a query.")
    var link: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoParseLinkRequest()
      request.appID = app.appID
      request.link = link
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).parseLink(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([("", .left), ("", .left)])
      let own = [
        ("page", answer.pagePath), ("campaign_source", answer.campaignSource),
        ("campaign_medium", answer.campaignMedium), ("campaign_name", answer.campaignName),
        ("campaign_content", answer.campaignContent), ("campaign_term", answer.campaignTerm),
        ("qr_id", answer.qrID), ("campaign", answer.campaignID),
      ]
      for (name, value) in own where !value.isEmpty { table.add([name, value]) }
      for parameter in answer.parameters { table.add([parameter.name, parameter.value]) }
      Printer.write(table.text)
    }
  }
}
