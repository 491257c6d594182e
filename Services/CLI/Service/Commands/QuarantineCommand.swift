import ArgumentParser
import Foundation
import Messages
import RPC

/// `footfall quarantine`.
struct QuarantineCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quarantine",
    abstract: "Look at events that were kept aside, send them again, or give them up.",
    subcommands: [List.self, Count.self, Show.self, Replay.self, Discard.self])

  /// Which events.
  struct Filter: ParsableArguments {
    @Option(
      name: .customLong("reason"), help: "wrong_type, late, conflict or below_window; may be given again.")
    var reasons: [String] = []
    @Option(name: .customLong("event"), help: "Only events of this name.")
    var event = ""
    @Option(name: .customLong("received-within"), help: "Only what came in the last: 90d, 12h.")
    var receivedWithin: String?

    var isEmpty: Bool { reasons.isEmpty && event.isEmpty && receivedWithin == nil }

    func message() throws -> ProtoQuarantineFilter {
      var filter = ProtoQuarantineFilter()
      filter.reasons = reasons
      filter.eventName = event
      if let receivedWithin {
        guard let milliseconds = DurationText.milliseconds(receivedWithin) else {
          throw CommandFailure.usage("--received-within: \"\(receivedWithin)\" is no duration such as 90d")
        }
        filter.receivedFromMs = max(WallClock.nowMilliseconds - milliseconds, 0)
      }
      return filter
    }
  }

  /// Ids, a filter, or `--all`.
  struct Selection: ParsableArguments {
    @Argument(help: "Ids, as listed.")
    var ids: [UInt64] = []
    @OptionGroup var filter: Filter
    @Flag(help: "Every event of the app.")
    var all = false

    /// - Returns: nil where ids are given.
    func message() throws -> ProtoQuarantineFilter? {
      let ways = [!ids.isEmpty, !filter.isEmpty, all].count { $0 }
      guard ways == 1 else {
        throw CommandFailure.usage("give ids, or a filter such as --reason late, or --all")
      }
      return ids.isEmpty ? try filter.message() : nil
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List events, the newest first.")

    @OptionGroup var filter: Filter
    @Option(help: "At most so many.")
    var limit = 100
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      guard limit > 0 else { throw CommandFailure.usage("--limit: at least 1") }
      var request = ProtoListQuarantinedRequest()
      request.appID = app.appID
      request.filter = try filter.message()
      let first = request
      let limit = limit
      let answer = try await connection.withChannel(to: .ingest) { channel in
        var request = first
        var all = ProtoListQuarantinedResponse()
        repeat {
          request.pageSize = UInt32(min(limit - all.events.count, 1_000))
          let page = try await QuarantineClient(channel).listQuarantined(request)
          all.events += page.events
          all.nextCursor = page.nextCursor
          request.cursor = page.nextCursor
        } while !request.cursor.isEmpty && all.events.count < limit
        return all
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("id", .right), ("received (UTC)", .left), ("reason", .left), ("event", .left), ("field", .left),
        ("sdk", .left),
      ])
      for event in answer.events {
        table.add([
          "\(event.id)", NumberText.time(event.receivedMs, zone: "UTC"), event.reason, event.eventName,
          event.field, event.sdkVersion,
        ])
      }
      Printer.write(table.text)
      if !answer.nextCursor.isEmpty { Printer.note("there are more: --limit") }
    }
  }

  struct Count: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "How many events are kept aside and how many have left, by reason.")

    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoCountQuarantinedRequest()
      request.appID = app.appID
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await QuarantineClient(channel).countQuarantined(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("reason", .left), ("kept", .right), ("replayed", .right), ("discarded", .right),
        ("dropped", .right),
      ])
      for reason in answer.reasons {
        table.add(
          [reason.reason]
            + [reason.kept, reason.replayed, reason.discarded, reason.dropped].map {
              NumberText.grouped(Int($0))
            })
      }
      Printer.write(table.text)
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show one event with its context, as JSON with the names of the proto files.")

    @Argument(help: "The id, as listed.")
    var id: UInt64
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      var request = ProtoGetQuarantinedRequest()
      request.appID = app.appID
      request.id = id
      try Printer.json(
        try await connection.withChannel(to: .ingest) { channel in
          try await QuarantineClient(channel).getQuarantined(request)
        })
    }
  }

  struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Send events through the steps again. Those that pass enter the log, once.")

    @OptionGroup var selection: Selection
    @Flag(name: .customLong("dry-run"), help: "Tell what would happen.")
    var dryRun = false
    @Flag(name: .customLong("waive-late"), help: "Take events that are older than the lateness bound.")
    var waiveLate = false
    @Flag(
      name: .customLong("waive-below-window"),
      help: "Take events of which it cannot be told whether they were counted: you say that they were not.")
    var waiveBelowWindow = false
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoReplayQuarantinedRequest()
      request.appID = app.appID
      request.ids = selection.ids
      if let filter = try selection.message() { request.filter = filter }
      request.dryRun = dryRun
      request.waiveLate = waiveLate
      request.waiveBelowWindow = waiveBelowWindow
      let first = request
      let answer = try await connection.withChannel(to: .ingest) { channel in
        var request = first
        var all = ProtoReplayQuarantinedResponse()
        repeat {
          let part = try await QuarantineClient(channel).replayQuarantined(request)
          all.replayed += part.replayed
          all.duplicates += part.duplicates
          all.remaining += part.remaining
          all.settled += part.settled
          all.problems += part.problems.prefix(1_000 - min(all.problems.count, 1_000))
          request.cursor = part.nextCursor
        } while !request.cursor.isEmpty
        return all
      }
      if output.json { return try Printer.json(answer) }
      Printer.line(
        """
        \(dryRun ? "would enter" : "entered") the log: \(NumberText.grouped(Int(answer.replayed))), \
        in it already: \(NumberText.grouped(Int(answer.duplicates))), \
        left before: \(NumberText.grouped(Int(answer.settled))), \
        stay: \(NumberText.grouped(Int(answer.remaining)))
        """)
      for problem in answer.problems.prefix(20) { Printer.line("  \(problem.id): \(problem.message)") }
    }
  }

  struct Discard: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give events up. They are counted, and not kept again when they are delivered again.")

    @OptionGroup var selection: Selection
    @Option(help: "Why: kept with each event.")
    var note: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoDiscardQuarantinedRequest()
      request.appID = app.appID
      request.ids = selection.ids
      if let filter = try selection.message() { request.filter = filter }
      request.note = note
      let sent = request
      let answer = try await connection.withChannel(to: .ingest) { channel in
        var all = ProtoDiscardQuarantinedResponse()
        repeat {
          let part = try await QuarantineClient(channel).discardQuarantined(sent)
          all.discarded += part.discarded
          all.settled += part.settled
          all.hasMore_p = part.hasMore_p
        } while all.hasMore_p
        return all
      }
      if output.json { return try Printer.json(answer) }
      Printer.line(
        "discarded: \(NumberText.grouped(Int(answer.discarded))), left before: \(NumberText.grouped(Int(answer.settled)))")
    }
  }
}
