import ArgumentParser
import Foundation
import Messages
import RPC
import SwiftProtobuf

/// `footfall plan`.
struct PlanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "The tracking plan of an app: as a file, and beside what is really sent.",
    subcommands: [
      Export.self, Diff.self, Apply.self, Coverage.self, Mode.self, Pages.self,
    ])

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write the plan as JSON, the same text for the same plan.")

    @Option(help: "Write to this file and not to the terminal.")
    var out: String?
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      var request = ProtoExportPlanRequest()
      request.appID = app.appID
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await EventManagementClient(channel).exportPlan(request)
      }
      guard let out else { return Printer.write(answer.text) }
      do {
        try Data(answer.text.utf8).write(to: URL(fileURLWithPath: out), options: .atomic)
      } catch {
        throw CommandFailure("--out: \(out) cannot be written: \(error.localizedDescription)")
      }
      Printer.line("the plan is in \(out)")
    }
  }

  struct Diff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract:
        "Show what applying a file would change, and what is wrong with it. Changes nothing.")

    @Argument(help: "A file that `plan export` wrote, or one like it; - for standard input.")
    var file: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let answer = try await PlanCommand.apply(file, app, connection, dryRun: true)
      if output.json {
        try Printer.json(answer)
      } else {
        PlanCommand.show(answer)
        for violation in answer.violations { Printer.line("! \(violation.message)") }
      }
      guard answer.violations.isEmpty else {
        throw CommandFailure("\(file) breaks \(answer.violations.count) rules; it would be refused")
      }
    }
  }

  struct Apply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract:
        "Make the plan what a file says, whole or not at all. The same file again changes nothing.")

    @Argument(help: "A file that `plan export` wrote, or one like it; - for standard input.")
    var file: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let answer = try await PlanCommand.apply(file, app, connection, dryRun: false)
      if output.json { return try Printer.json(answer) }
      PlanCommand.show(answer)
    }
  }

  private static func apply(
    _ file: String, _ app: AppOptions, _ connection: ConnectionOptions, dryRun: Bool
  ) async throws -> ProtoApplyPlanResponse {
    var request = ProtoApplyPlanRequest()
    request.appID = app.appID
    request.text = try PlanFile.text(file)
    request.dryRun = dryRun
    let sent = request
    return try await connection.withChannel(to: .ingest) { channel in
      try await EventManagementClient(channel).applyPlan(sent)
    }
  }

  private static func show(_ answer: ProtoApplyPlanResponse) {
    if answer.differences.isEmpty { return Printer.line("nothing differs") }
    for difference in answer.differences {
      Printer.line(
        difference.name.isEmpty ? difference.kind : "\(difference.kind) \(difference.name)")
      for detail in difference.details { Printer.line("  \(detail)") }
    }
    if answer.applied { Printer.line("applied") }
  }

  struct Coverage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Compare the plan with what is really sent.")

    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoGetCoverageRequest()
      request.appID = app.appID
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await EventManagementClient(channel).getCoverage(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("event", .left), ("state", .left), ("events", .right), ("last seen (UTC)", .left),
        ("never sent", .left), ("undeclared", .left),
      ])
      for event in answer.definitions {
        table.add([
          event.name, event.state.word, NumberText.grouped(event.events),
          NumberText.time(event.lastSeenMs, zone: "UTC"), event.neverSent.joined(separator: " "),
          event.undeclared.map(\.name).joined(separator: " "),
        ])
      }
      Printer.write(table.text)
      Self.show(answer.unregistered)
      if answer.otherEvents > 0 {
        Printer.line(
          "\(NumberText.grouped(answer.otherEvents)) events of names that are not listed")
      }
    }

    private static func show(_ events: [ProtoUnregisteredEvent]) {
      guard !events.isEmpty else { return }
      var table = TextTable([
        ("unregistered", .left), ("events", .right), ("kept aside", .right),
        ("first seen (UTC)", .left), ("last seen (UTC)", .left), ("fields", .left),
      ])
      for event in events {
        table.add([
          event.name, NumberText.grouped(event.events), NumberText.grouped(event.quarantined),
          NumberText.time(event.firstSeenMs, zone: "UTC"),
          NumberText.time(event.lastSeenMs, zone: "UTC"),
          event.fields.map(\.name).joined(separator: " "),
        ])
      }
      Printer.line("")
      Printer.write(table.text)
    }
  }

  struct Mode: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show or set what becomes of events that the plan does not name.")

    @Argument(help: "open: accepted and listed; strict: kept aside. Without it the mode is shown.")
    var mode: String?
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let appID = app.appID
      let wanted = try mode.map(Self.mode)
      let plan = try await connection.withChannel(to: .ingest) { channel in
        let client = EventManagementClient(channel)
        guard let wanted else { return try await client.getPlan(.with { $0.appID = appID }) }
        return try await client.setPlanMode(
          .with {
            $0.appID = appID
            $0.mode = wanted
          })
      }
      if output.json { return try Printer.json(plan) }
      Printer.line(
        "\(plan.mode == .strict ? "strict" : "open"): \(plan.publishedEvents) of \(plan.events) events published, "
          + "\(plan.pages.count) pages, configuration version \(plan.configVersion)")
    }

    private static func mode(_ text: String) throws -> ProtoPlanMode {
      switch text {
      case "open": .open
      case "strict": .strict
      default: throw CommandFailure.usage("the mode is open or strict, not \"\(text)\"")
      }
    }
  }

  struct Pages: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show the page list, or set it: the pages of app.json, on which actions may happen."
    )

    @Argument(help: "The pages: pages/index pages/cart. Without them the list is shown.")
    var pages: [String] = []
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let (appID, pages) = (app.appID, pages)
      let plan = try await connection.withChannel(to: .ingest) { channel in
        let client = EventManagementClient(channel)
        guard !pages.isEmpty else { return try await client.getPlan(.with { $0.appID = appID }) }
        return try await client.setPages(
          .with {
            $0.appID = appID
            $0.pages = pages
          })
      }
      if output.json { return try Printer.json(plan) }
      for page in plan.pages { Printer.line(page) }
    }
  }
}

/// A file of a plan or of an event.
enum PlanFile {
  static let bytesMax = 4 << 20

  /// - Parameter path: `-` for standard input.
  static func text(_ path: String) throws -> String {
    let handle = path == "-" ? FileHandle.standardInput : FileHandle(forReadingAtPath: path)
    guard let handle, let data = try handle.read(upToCount: bytesMax + 1) else {
      throw CommandFailure("\(path): empty, or cannot be read")
    }
    guard data.count <= bytesMax else {
      throw CommandFailure("\(path): more than \(bytesMax) bytes")
    }
    guard let text = String(data: data, encoding: .utf8) else {
      throw CommandFailure("\(path): not UTF-8")
    }
    return text
  }

  static func definition(_ path: String) throws -> ProtoEventDefinition {
    let text = try text(path)
    do {
      return try ProtoEventDefinition(jsonString: text)
    } catch {
      throw CommandFailure("\(path): not an EventDefinition in JSON: \(JSONProblem.text(error))")
    }
  }
}

extension ProtoEventState {
  var word: String {
    switch self {
    case .unspecified: "-"
    case .draft: "draft"
    case .checked: "checked"
    case .test: "test"
    case .published: "published"
    case .archived: "archived"
    case .UNRECOGNIZED(let number): String(number)
    }
  }
}
