import ArgumentParser
import Messages
import RPC
import SwiftProtobuf

/// `footfall event`.
struct EventCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "event", abstract: "Define events: check, save, test, publish.",
    discussion:
      "A definition is a file of JSON under the names of EventDefinition in plan.proto; - for standard input.",
    subcommands: [
      List.self, Show.self, Check.self, Save.self, Test.self, Publish.self, Archive.self,
      Watch.self,
    ])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the events of the plan.")

    @Option(
      help:
        "draft, checked, test, published or archived; may be given again. By default all but archived ones."
    )
    var state: [String] = []
    @Option(help: "Occurs in the name, the Chinese name or the description.")
    var text = ""
    @Option(name: .customLong("page-size"), help: "1-200.")
    var pageSize: UInt32 = 50
    @Option(name: .customLong("page-token"), help: "From the answer before.")
    var pageToken = ""
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListEventsRequest()
      request.appID = app.appID
      request.states = try state.map(Self.state)
      request.text = text
      request.pageSize = pageSize
      request.pageToken = pageToken
      let sent = request
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await EventManagementClient(channel).listEvents(sent)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("event", .left), ("name", .left), ("state", .left), ("version", .right), ("by", .left),
        ("changed (UTC)", .left),
      ])
      for event in answer.events {
        table.add([
          event.definition.name, event.definition.chineseName, event.state.word,
          "\(event.version)", event.definition.method == .manual ? "configuration" : "code",
          NumberText.time(event.changedMs, zone: "UTC"),
        ])
      }
      Printer.write(table.text)
      let next = answer.nextPageToken.isEmpty ? "" : " · next: --page-token \(answer.nextPageToken)"
      Printer.line("\(answer.total) events\(next)")
    }

    private static func state(_ text: String) throws -> ProtoEventState {
      let all: [ProtoEventState] = [.draft, .checked, .test, .published, .archived]
      guard let state = all.first(where: { $0.word == text }) else {
        let words = all.map(\.word).joined(separator: ", ")
        throw CommandFailure.usage("--state: \"\(text)\" is none of \(words)")
      }
      return state
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show an event and who changed it.")

    @Argument(help: "The event's name.")
    var name: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoGetEventRequest()
      request.appID = app.appID
      request.name = name
      let sent = request
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await EventManagementClient(channel).getEvent(sent)
      }
      if output.json { return try Printer.json(answer) }
      let event = answer.event
      Printer.line(
        "\(event.definition.name)  \(event.definition.chineseName)  \(event.state.word), version \(event.version)"
      )
      for field in event.definition.fields {
        Printer.line("  \(field.name)  \(field.type.word)  \(field.description_p)")
      }
      for change in answer.history {
        let time = NumberText.time(change.event.changedMs, zone: "UTC")
        let actor = change.event.changedBy
        let who = actor.label.isEmpty ? actor.tokenID : "\(actor.label) (\(actor.tokenID))"
        Printer.line("\(change.event.revision)  \(time)  \(change.action)  \(who)")
        for detail in change.details { Printer.line("     \(detail)") }
      }
    }
  }

  struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check a definition as a whole and show its table of fields.")

    @Argument(help: "The definition's file.")
    var file: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoCheckFieldsRequest()
      request.appID = app.appID
      request.definition = try PlanFile.definition(file)
      let sent = request
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await EventManagementClient(channel).checkFields(sent)
      }
      if output.json {
        try Printer.json(answer)
      } else {
        var table = TextTable([("field", .left), ("type", .left), ("source", .left)])
        for row in answer.fields {
          table.add([row.name, row.type.word, row.source == .custom ? "custom" : "default"])
        }
        Printer.write(table.text)
        for violation in answer.violations { Printer.line("! \(violation.message)") }
      }
      guard answer.passed else {
        throw CommandFailure("\(file) breaks \(answer.violations.count) rules")
      }
      if !output.json { Printer.line("passed") }
    }
  }

  struct Save: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keep a definition; nothing is collected by it.")
    @OptionGroup var saving: SavingOptions

    func run() async throws {
      let request = try saving.request()
      try await saving.perform { try await $0.saveEvent(request) }
    }
  }

  struct Test: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Save, and collect the event for test users only: see `event watch`.")
    @Option(name: .customLong("user"), help: "Open id of a test user; may be given again.")
    var users: [String] = []
    @OptionGroup var saving: SavingOptions

    func run() async throws {
      let plain = try saving.request()
      let request = ProtoSaveAndTestRequest.with {
        $0.appID = plain.appID
        $0.definition = plain.definition
        $0.expectedRevision = plain.expectedRevision
        $0.testUsers = users
      }
      try await saving.perform { try await $0.saveAndTest(request) }
    }
  }

  struct Publish: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Save, and collect the event for everybody, under the next version.")
    @OptionGroup var saving: SavingOptions

    func run() async throws {
      let request = try saving.request()
      try await saving.perform { try await $0.saveAndPublish(request) }
    }
  }

  struct Archive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Collect an event no longer. Its names stay taken.")

    @Argument(help: "The event's name.")
    var name: String
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let request = ProtoArchiveEventRequest.with {
        $0.appID = app.appID
        $0.name = name
      }
      _ = try await connection.withChannel(to: .ingest) { channel in
        try await EventManagementClient(channel).archiveEvent(request)
      }
      Printer.line("\(name) is archived")
    }
  }

  struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract:
        "Show what test users send, and whether it is what its definition says, until interrupted.")

    @Argument(help: "Only this event.")
    var name = ""
    @Option(help: "Stop after this many events; 0: never.")
    var events = 0
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let request = ProtoWatchTestRequest.with {
        $0.appID = app.appID
        $0.name = name
      }
      try await connection.withChannel(to: .ingest) { channel in
        let answers = try await EventManagementClient(channel).watchTest(request)
        var seen = 0
        for try await answer in answers {
          if output.json { try Printer.json(answer) } else { Self.show(answer) }
          seen += answer.observations.count
          if events > 0, seen >= events { break }
        }
        answers.cancel()
      }
    }

    private static func show(_ answer: ProtoWatchTestResponse) {
      if answer.missed > 0 { Printer.line("\(answer.missed) came too fast to be shown") }
      for seen in answer.observations {
        let fields = seen.fields.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
        let verdict = seen.matched ? "matched" : seen.outcome
        Printer.line(
          "\(NumberText.time(seen.receivedMs, zone: "UTC"))  \(seen.openID)  \(seen.name)  \(verdict)  \(fields)"
        )
        if !seen.message.isEmpty { Printer.line("  ! \(seen.message)") }
        for problem in seen.problems { Printer.line("  ! \(problem.message)") }
      }
    }
  }
}

/// What saving, testing and publishing share.
struct SavingOptions: ParsableArguments {
  @Argument(help: "The definition's file.")
  var file: String
  @Option(
    name: .customLong("expected-revision"),
    help: "Refuse where somebody changed the event since this revision; 0: whatever it is.")
  var expectedRevision: UInt32 = 0
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func request() throws -> ProtoSaveEventRequest {
    var request = ProtoSaveEventRequest()
    request.appID = app.appID
    request.definition = try PlanFile.definition(file)
    request.expectedRevision = expectedRevision
    return request
  }

  func perform(_ call: (EventManagementClient) async throws -> ProtoPlannedEvent) async throws {
    let event = try await connection.withChannel(to: .ingest) { channel in
      try await call(EventManagementClient(channel))
    }
    if output.json { return try Printer.json(event) }
    Printer.line(
      "\(event.definition.name) is \(event.state.word), revision \(event.revision), version \(event.version)"
    )
  }
}

extension ProtoFieldType {
  var word: String {
    switch self {
    case .string: "string"
    case .integer: "integer"
    case .double: "double"
    case .boolean: "boolean"
    case .unspecified: "-"
    case .UNRECOGNIZED(let number): String(number)
    }
  }
}
