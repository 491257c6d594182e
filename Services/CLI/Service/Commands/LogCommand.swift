import ArgumentParser
import Messages
import RPC

/// `footfall log`.
struct LogCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log", abstract: "Look at the log, check it, and erase a user from it.",
    subcommands: [Status.self, Verify.self, Forget.self, Erase.self])

  struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "How large the log is, and how far each subscriber is behind.")

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let status = try await connection.withChannel(to: .ingest) { channel in
        try await IngestClient(channel).getLogStatus(ProtoGetLogStatusRequest())
      }
      if output.json { return try Printer.json(status) }
      Printer.write(Self.table(status).text)
      Printer.line("")
      Printer.write(Self.subscribers(status).text)
      if status.diskFull { Printer.note("the disk is full: no events are taken") }
    }

    private static func table(_ status: ProtoLogStatus) -> TextTable {
      var table = TextTable([("log", .left), ("", .right)])
      table.add(["first offset", NumberText.grouped(status.firstOffset)])
      table.add(["next offset", NumberText.grouped(status.headOffset)])
      table.add(["payload bytes", NumberText.grouped(status.payloadBytes)])
      table.add(["file bytes", NumberText.grouped(status.fileBytes)])
      table.add(["free in the file", NumberText.grouped(status.freeBytes)])
      table.add(["quarantined events", NumberText.grouped(status.quarantinedEvents)])
      table.add(["damaged records found", NumberText.grouped(status.damagedRecords)])
      return table
    }

    private static func subscribers(_ status: ProtoLogStatus) -> TextTable {
      var table = TextTable([
        ("subscriber", .left), ("app", .left), ("state", .left), ("applied", .right),
        ("behind", .right), ("behind (s)", .right), ("last seen (UTC)", .left),
      ])
      for one in status.subscribers {
        table.add([
          one.name, one.appID.isEmpty ? "(all)" : one.appID,
          one.connected ? "connected" : one.holdsRetention ? "not connected" : "away",
          NumberText.grouped(one.acknowledgedOffset), NumberText.grouped(one.lagEvents),
          "\(one.lagMs / 1_000).\(one.lagMs % 1_000 / 100)",
          NumberText.time(one.lastSeenMs, zone: "UTC"),
        ])
      }
      return table
    }
  }

  struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Read the whole log and compare its checksums.",
      discussion: "Lists the damaged records. Exit code 0 if there are none.")

    @Option(help: "The first offset to read.")
    var from: UInt64 = 0
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoVerifyLogRequest()
      request.fromOffset = from
      let last = try await connection.withChannel(to: .ingest) { channel in
        var last = ProtoVerifyLogResponse()
        for try await message in try await LogControlClient(channel).verifyLog(request) {
          last = message
          if output.json { try Printer.json(message) } else { show(message) }
        }
        return last
      }
      guard last.damagedRecords == 0 else {
        throw CommandFailure("\(last.damagedRecords) records of the log are damaged")
      }
      guard !output.json else { return }
      Printer.line(
        "\(NumberText.grouped(last.records)) records up to offset \(NumberText.grouped(last.endOffset)): none is damaged")
    }

    private func show(_ message: ProtoVerifyLogResponse) {
      for record in message.damaged {
        Printer.line("offset \(record.offset), \(record.count) events: \(record.reason)")
      }
      guard Printer.isTerminal(2), message.nextOffset < message.endOffset else { return }
      Printer.status("\r\(NumberText.grouped(message.nextOffset)) of \(NumberText.grouped(message.endOffset))")
    }
  }

  struct Forget: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Forget a subscriber that will not come back, so that retention does not wait for it.")

    @Argument(help: "Its name (footfall log status).")
    var name: String
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      var request = ProtoForgetSubscriberRequest()
      request.subscriber = name
      _ = try await connection.withChannel(to: .ingest) { channel in
        try await LogControlClient(channel).forgetSubscriber(request)
      }
      Printer.line("subscriber \(name) is forgotten")
    }
  }

  struct Erase: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Erase every event of a user from the log and from quarantine.",
      discussion: "Cannot be undone. query follows; what user-profile and live-stats hold of the user is not erased by this.")

    @Argument(help: "The user's open_id.")
    var openID: String
    @Flag(help: "Do it: without this nothing happens.")
    var yes = false
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      guard yes else { throw CommandFailure.usage("--yes: erasing cannot be undone; say --yes") }
      var request = ProtoEraseUserRequest()
      request.appID = app.appID
      request.openID = openID
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await LogControlClient(channel).eraseUser(request)
      }
      if output.json { return try Printer.json(answer) }
      Printer.line(
        "\(answer.erasedEvents) events and \(answer.erasedQuarantined) kept aside are erased (offset \(answer.offset))")
    }
  }
}
