import ArgumentParser
import Messages

/// `footfall source campaign`.
struct CampaignCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "campaign", abstract: "Register and list campaigns.",
    subcommands: [Register.self, Update.self, Archive.self, Restore.self, List.self])

  /// What is said of a campaign.
  struct Settings: ParsableArguments {
    @Argument(help: "The campaign_id: ^[a-z0-9][a-z0-9_-]{0,63}$.")
    var campaignID: String
    @Option(help: "campaign_source, as events bring it: newsletter.")
    var source: String
    @Option(help: "campaign_medium, as events bring it: email.")
    var medium: String
    @Option(help: "campaign_name, as events bring it: spring.")
    var name: String
    @Option(help: "For people.")
    var title = ""
    @Option(help: "campaign_content of its links.")
    var content = ""
    @Option(help: "campaign_term of its links.")
    var term = ""
    @Option(help: "Its begin, 2024-03-01 or 2024-03-01T09:00:00Z.")
    var begin: String?
    @Option(help: "Its end.")
    var end: String?
    @Option(help: "In the currency's smallest unit: 50000 CNY are 500 yuan.")
    var budget: Int64 = 0
    @Option(help: "ISO 4217: CNY.")
    var currency = ""

    func campaign() throws -> ProtoCampaign {
      var campaign = ProtoCampaign()
      campaign.campaignID = campaignID
      campaign.title = title
      (campaign.source, campaign.medium, campaign.name) = (source, medium, name)
      (campaign.content, campaign.term) = (content, term)
      campaign.beginMs = try Self.time(begin, "--begin")
      campaign.endMs = try Self.time(end, "--end")
      campaign.budgetMinor = budget
      campaign.budgetCurrency = currency
      return campaign
    }

    private static func time(_ text: String?, _ option: String) throws -> Int64 {
      guard let text else { return 0 }
      guard let time = TimeReader(.automatic).read(text) else {
        throw CommandFailure.usage("\(option): \"\(text)\" is not a time such as 2024-03-01T09:00:00Z")
      }
      // Without an offset: UTC.
      return time.localMilliseconds - Int64(time.offsetSeconds ?? 0) * 1_000
    }
  }

  struct Register: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Register a campaign; the same settings again change nothing.")

    @OptionGroup var settings: Settings
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoRegisterCampaignRequest()
      request.appID = app.appID
      request.campaign = try settings.campaign()
      let campaign = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).registerCampaign(request)
      }
      if output.json { return try Printer.json(campaign) }
      Printer.line("campaign \(campaign.campaignID) is registered")
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Replace what is said of a campaign; source, medium and name stay.")

    @OptionGroup var settings: Settings
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoUpdateCampaignRequest()
      request.appID = app.appID
      request.campaign = try settings.campaign()
      let campaign = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).updateCampaign(request)
      }
      if output.json { return try Printer.json(campaign) }
      Printer.line("campaign \(campaign.campaignID) is changed")
    }
  }

  struct Archive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Archive a campaign: it still resolves, and its names stay taken.")

    @Argument(help: "The campaign_id.")
    var campaignID: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await CampaignCommand.archive(campaignID, restore: false, app, connection)
      Printer.line("campaign \(campaignID) is archived")
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take a campaign out of the archive.")

    @Argument(help: "The campaign_id.")
    var campaignID: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await CampaignCommand.archive(campaignID, restore: true, app, connection)
      Printer.line("campaign \(campaignID) is back")
    }
  }

  private static func archive(
    _ campaignID: String, restore: Bool, _ app: AppOptions, _ connection: ConnectionOptions
  ) async throws {
    var request = ProtoArchiveCampaignRequest()
    request.appID = app.appID
    request.campaignID = campaignID
    request.restore = restore
    _ = try await connection.withChannel(to: .ingest) { channel in
      try await SourcesClient(channel).archiveCampaign(request)
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the campaigns.")

    @Flag(help: "Archived ones too.")
    var archived = false
    @OptionGroup var page: PageOptions
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListCampaignsRequest()
      request.appID = app.appID
      request.pageSize = page.size
      request.pageToken = page.token
      request.includeArchived = archived
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).listCampaigns(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("campaign", .left), ("source", .left), ("medium", .left), ("name", .left),
        ("begin (UTC)", .left), ("end (UTC)", .left), ("budget", .right), ("", .left),
      ])
      for campaign in answer.campaigns {
        let budget =
          campaign.budgetMinor == 0
          ? "" : "\(NumberText.grouped(campaign.budgetMinor)) \(campaign.budgetCurrency)"
        table.add([
          campaign.campaignID, campaign.source, campaign.medium, campaign.name,
          NumberText.time(campaign.beginMs, zone: "UTC"),
          NumberText.time(campaign.endMs, zone: "UTC"), budget, campaign.archived ? "archived" : "",
        ])
      }
      Printer.write(table.text)
      PageOptions.note(answer.nextPageToken)
    }
  }
}
