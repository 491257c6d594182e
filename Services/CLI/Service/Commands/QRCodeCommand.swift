import ArgumentParser
import Messages

/// `footfall source qr`.
struct QRCodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "qr", abstract: "Register and list QR codes.",
    subcommands: [Register.self, Update.self, Archive.self, Restore.self, List.self, Unregistered.self])

  /// What is said of a code.
  struct Settings: ParsableArguments {
    @Argument(help: "The qr_id, as events bring it: 1-64 bytes.")
    var qrID: String
    @Option(help: "A name for people.")
    var name: String
    @Option(help: "The page that it opens.")
    var page = ""
    @Option(help: "Who looks after it.")
    var owner = ""
    @Option(help: "Where it is: poster, table ...")
    var medium = ""
    @Option(help: "The campaign_id of a registered campaign.")
    var campaign = ""

    var code: ProtoQrCode {
      var code = ProtoQrCode()
      code.qrID = qrID
      code.name = name
      code.pagePath = page
      code.owner = owner
      code.medium = medium
      code.campaignID = campaign
      return code
    }
  }

  struct Register: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Register a code; the same settings again change nothing.")

    @OptionGroup var settings: Settings
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoRegisterQrCodeRequest()
      request.appID = app.appID
      request.qrCode = settings.code
      let code = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).registerQrCode(request)
      }
      if output.json { return try Printer.json(code) }
      Printer.line("QR code \(code.qrID) is registered")
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Replace what is said of a code; options that are not given are emptied.")

    @OptionGroup var settings: Settings
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoUpdateQrCodeRequest()
      request.appID = app.appID
      request.qrCode = settings.code
      let code = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).updateQrCode(request)
      }
      if output.json { return try Printer.json(code) }
      Printer.line("QR code \(code.qrID) is changed")
    }
  }

  struct Archive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Archive a code: it still resolves, and its qr_id stays taken.")

    @Argument(help: "The qr_id.")
    var qrID: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await QRCodeCommand.archive(qrID, restore: false, app, connection)
      Printer.line("QR code \(qrID) is archived")
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take a code out of the archive.")

    @Argument(help: "The qr_id.")
    var qrID: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await QRCodeCommand.archive(qrID, restore: true, app, connection)
      Printer.line("QR code \(qrID) is back")
    }
  }

  private static func archive(
    _ qrID: String, restore: Bool, _ app: AppOptions, _ connection: ConnectionOptions
  ) async throws {
    var request = ProtoArchiveQrCodeRequest()
    request.appID = app.appID
    request.qrID = qrID
    request.restore = restore
    _ = try await connection.withChannel(to: .ingest) { channel in
      try await SourcesClient(channel).archiveQrCode(request)
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the registered codes.")

    @Flag(help: "Archived ones too.")
    var archived = false
    @OptionGroup var page: PageOptions
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListQrCodesRequest()
      request.appID = app.appID
      request.pageSize = page.size
      request.pageToken = page.token
      request.includeArchived = archived
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).listQrCodes(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("qr_id", .left), ("name", .left), ("page", .left), ("owner", .left), ("medium", .left),
        ("campaign", .left), ("created (UTC)", .left), ("", .left),
      ])
      for code in answer.qrCodes {
        table.add([
          code.qrID, code.name, code.pagePath, code.owner, code.medium, code.campaignID,
          NumberText.time(code.createdMs, zone: "UTC"), code.archived ? "archived" : "",
        ])
      }
      Printer.write(table.text)
      PageOptions.note(answer.nextPageToken)
    }
  }

  struct Unregistered: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The qr_ids that events brought and nobody registered.")

    @OptionGroup var page: PageOptions
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListUnregisteredQrCodesRequest()
      request.appID = app.appID
      request.pageSize = page.size
      request.pageToken = page.token
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await SourcesClient(channel).listUnregisteredQrCodes(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("qr_id", .left), ("events", .right), ("first (UTC)", .left), ("latest (UTC)", .left),
      ])
      for code in answer.qrCodes {
        table.add([
          code.qrID, NumberText.grouped(code.events), NumberText.time(code.firstMs, zone: "UTC"),
          NumberText.time(code.lastMs, zone: "UTC"),
        ])
      }
      Printer.write(table.text)
      if answer.otherEvents > 0 {
        Printer.note("\(NumberText.grouped(answer.otherEvents)) events of further codes")
      }
      PageOptions.note(answer.nextPageToken)
    }
  }
}
