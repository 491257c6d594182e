import ArgumentParser
import Messages
import RPC
import SwiftProtobuf

/// `footfall funnel`.
struct FunnelCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "funnel",
    abstract: "How many users come how far along 2-20 steps.",
    discussion: """
      A step is an event, or any of several: 'home|promo_page'. With a filter: 'purchase where price > 100'.
      """)

  @Argument(help: "The steps, in order.")
  var steps: [String]
  @OptionGroup var period: PeriodOptions
  @Option(help: "From the first step to the last at most: 30m, 1d, 7d. By default 1d.")
  var window: String?
  @Flag(name: .customLong("whole-range"), help: "No window: any later time within the range.")
  var wholeRange = false
  @OptionGroup var scope: ScopeOptions
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    guard scope.filter == nil else {
      throw CommandFailure.usage("--filter: a funnel's filters stand in its steps: 'EVENT where ...'")
    }
    var request = ProtoGetFunnelRequest()
    request.appID = app.appID
    request.range = try period.range()
    request.steps = try steps.map(Self.step)
    request.wholeRange = wholeRange
    if let window {
      guard let milliseconds = DurationText.milliseconds(window), milliseconds > 0 else {
        throw CommandFailure.usage("--window: \"\(window)\" is no duration such as 30m or 7d")
      }
      request.windowMs = milliseconds
    }
    request.breakdown = scope.breakdown ?? ""
    request.breakdownLimit = scope.breakdownLimit
    request.releaseChannel = try scope.releaseChannel()
    request.includeExcludedScenes = scope.includesExcludedScenes
    let answer = try await connection.withChannel(to: .query) { channel in
      try await QueryClient(channel).getFunnel(request)
    }
    if output.json { return try Printer.json(answer) }
    print(answer)
  }

  /// `a|b where FILTER`.
  static func step(_ text: String) throws -> ProtoFunnelStep {
    var step = ProtoFunnelStep()
    var events = text[...]
    if let word = text.firstRange(of: " where ") {
      events = text[..<word.lowerBound]
      step.filter = try FilterText.parse(String(text[word.upperBound...]))
    }
    step.events = events.split(separator: "|").map { String($0.trimmed) }.filter { !$0.isEmpty }
    guard !step.events.isEmpty else {
      throw CommandFailure.usage("a step names no event: \"\(text)\"")
    }
    step.label = text
    return step
  }

  private func print(_ answer: ProtoGetFunnelResponse) {
    var table = TextTable([("step", .left)] + Self.columns)
    for result in answer.steps { table.add([result.label] + Self.cells(result)) }
    Printer.write(table.text)
    if !answer.breakdown.isEmpty {
      var apart = TextTable([(scope.breakdown ?? "value", .left), ("step", .left)] + Self.columns)
      for part in answer.breakdown {
        let value = part.hasValue ? part.value : nil
        let label = ProtoFieldValue.label(value, isOther: part.other)
        for result in part.steps { apart.add([label, result.label] + Self.cells(result)) }
      }
      Printer.line("")
      Printer.write(apart.text)
    }
    Printer.line(answer.info.notes)
  }

  private static let columns: [(String, TextTable.Alignment)] = [
    ("users", .right), ("of previous", .right), ("of first", .right), ("lost", .right),
    ("median from previous", .right), ("p90 from first", .right),
  ]

  private static func cells(_ step: ProtoFunnelStepResult) -> [String] {
    [
      NumberText.grouped(step.users), NumberText.percent(step.conversionFromPrevious),
      NumberText.percent(step.conversionFromFirst), NumberText.grouped(step.dropOffUsers),
      NumberText.duration(milliseconds: step.medianFromPreviousMs),
      NumberText.duration(milliseconds: step.p90FromFirstMs),
    ]
  }
}

extension Substring {
  var trimmed: Substring {
    let head = drop(while: \.isWhitespace)
    guard let last = head.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return head[...last]
  }
}
