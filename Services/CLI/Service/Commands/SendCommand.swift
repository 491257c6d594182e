import ArgumentParser
import Messages
import RPC
import SwiftProtobuf

/// `footfall send`.
struct SendCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "send", abstract: "Send one event and wait until it is on disk.")

  @Argument(help: "The event's name: purchase, '$page_view'.")
  var name: String
  @Option(help: "The user's open_id.")
  var user: String
  @Option(help: "The page's path.")
  var page = ""
  @Option(help: "When it happened, as 2024-03-13T10:00:00Z; by default now.")
  var time: String?
  @Option(
    name: .customLong("field"),
    help: "name=value; a bare number is a number, 'name:string=12' makes it text.")
  var fields: [String] = []
  @Option(name: .customLong("set"), help: "A context field: platform=ios, scene=1001.")
  var context: [String] = []
  @Option(name: .customLong("event-id"), help: "Sending the same id twice counts once.")
  var eventID: String?
  @Flag(help: "Sent by a server on the user's behalf: does not make the user active.")
  var passive = false
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let request = try request()
    let answer = try await connection.withChannel(to: .ingest) { channel in
      try await IngestClient(channel).collect(request)
    }
    if output.json { try Printer.json(answer) }
    if let rejected = answer.rejected.first {
      throw CommandFailure("\(rejected.field): \(rejected.reason): \(rejected.message)")
    }
    if let quarantined = answer.quarantined.first {
      throw CommandFailure("set aside: \(quarantined.reason): \(quarantined.message)")
    }
    if !output.json { Printer.line(answer.duplicates > 0 ? "was there already" : "on disk") }
  }

  private func request() throws -> ProtoCollectRequest {
    var event = ProtoEvent()
    event.name = name
    event.pagePath = page
    event.passive = passive
    event.eventID = eventID ?? "cli-\(UInt64.random(in: 1...(.max)))"
    event.timeMs =
      time == nil ? WallClock.nowMilliseconds : try LiveCommand.milliseconds(time, "--time")
    event.fields = try fields.map(Self.field)
    var request = ProtoCollectRequest()
    request.appID = app.appID
    request.context.openID = user
    for pair in context {
      let (name, value) = try Self.pair(pair, "--set")
      guard let column = ContextColumn(rawValue: name) else {
        throw CommandFailure.usage("--set: \"\(name)\" is no context field")
      }
      try column.set(.text(value), in: &request.context)
    }
    request.events = [event]
    return request
  }

  private static func pair(_ text: String, _ option: String) throws -> (String, String) {
    guard let sign = text.firstIndex(of: "="), sign != text.startIndex else {
      throw CommandFailure.usage("\(option): \"\(text)\" is not name=value")
    }
    return (String(text[..<sign]), String(text[text.index(after: sign)...]))
  }

  private static func field(_ text: String) throws -> ProtoField {
    let (name, value) = try pair(text, "--field")
    var field = ProtoField()
    let parts = name.split(separator: ":", maxSplits: 1)
    field.name = String(parts[0])
    switch parts.count == 2 ? parts[1] : "" {
    case "": field.value = ProtoFieldValue(guessing: value)
    case "string": field.value.stringValue = value
    case "double":
      guard let double = Double(value), double.isFinite else {
        throw CommandFailure.usage("--field: \"\(value)\" is no number")
      }
      field.value.doubleValue = double
    default: throw CommandFailure.usage("--field: the type is string or double, not \"\(parts[1])\"")
    }
    return field
  }
}
