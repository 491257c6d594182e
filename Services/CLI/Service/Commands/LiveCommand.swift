import ArgumentParser
import Messages
import RPC
import SwiftProtobuf

/// `footfall live`.
struct LiveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "live", abstract: "What happens now: by the minute, by page, or as it changes.")

  @Flag(help: "List the pages of the last 24 hours by visits.")
  var pages = false
  @Flag(help: "Show each change as it happens, until interrupted.")
  var watch = false
  @Option(help: "Only this page.")
  var page = ""
  @Option(help: "Width of a point: 1, 5, 10, 30 or 60 minutes.")
  var minutes: Int32 = 1
  @Option(help: "How many points of the series, up to now.")
  var points: Int64 = 60
  @Option(help: "How many pages.")
  var limit: UInt32 = 20
  @Option(
    name: .customLong("from"), help: "Begin, as 2024-03-13T10:00:00Z (a time without Z is UTC).")
  var begin: String?
  @Option(name: .customLong("to"), help: "End, not included; by default now.")
  var end: String?
  @Option(help: "Stop --watch after this many changes; 0: never.")
  var changes = 0
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    guard !(pages && watch) else {
      throw CommandFailure.usage("--pages and --watch do not go together")
    }
    try await connection.withChannel(to: .liveStats) { channel in
      let client = LiveStatsClient(channel)
      if watch { return try await follow(client) }
      if pages { return try await listPages(client) }
      try await printSeries(client)
    }
  }

  static func milliseconds(_ text: String?, _ option: String) throws -> Int64 {
    guard let text else { return 0 }
    guard let time = TimeReader(.automatic).read(text) else {
      throw CommandFailure.usage("\(option): \"\(text)\" is not a time such as 2024-03-13T10:00:00Z")
    }
    return time.localMilliseconds - Int64(time.offsetSeconds ?? 0) * 1_000
  }

  private func printSeries(_ client: LiveStatsClient) async throws {
    var request = ProtoGetSeriesRequest()
    request.appID = app.appID
    request.pagePath = page
    request.bucketMinutes = minutes
    request.endMs = try Self.milliseconds(end, "--to")
    request.beginMs = try Self.milliseconds(begin, "--from")
    guard (1...2_880).contains(points) else {
      throw CommandFailure.usage("--points: 1-2,880, this is \(points)")
    }
    if begin == nil, minutes > 0 {
      let last = request.endMs == 0 ? WallClock.nowMilliseconds : request.endMs
      request.beginMs = last - points * Int64(minutes) * 60_000
    }
    let answer = try await client.getSeries(request)
    if output.json { return try Printer.json(answer) }
    var table = TextTable(Self.columns)
    for point in answer.points { table.add(Self.cells(point, answer.info.timeZone)) }
    Printer.write(table.text)
    Printer.line(answer.info.notes)
  }

  private func listPages(_ client: LiveStatsClient) async throws {
    var request = ProtoListPagesRequest()
    request.appID = app.appID
    request.beginMs = try Self.milliseconds(begin, "--from")
    request.endMs = try Self.milliseconds(end, "--to")
    request.limit = limit
    let answer = try await client.listPages(request)
    if output.json { return try Printer.json(answer) }
    var table = TextTable([
      ("page", .left), ("visits", .right), ("share", .right), ("users", .right),
    ])
    for page in answer.pages {
      table.add([
        page.pagePath, NumberText.grouped(page.visitPv), NumberText.percent(page.visitShare),
        NumberText.grouped(page.visitUv),
      ])
    }
    Printer.write(table.text)
    Printer.line("\(NumberText.grouped(answer.pageCnt)) pages · \(answer.info.notes)")
  }

  private func follow(_ client: LiveStatsClient) async throws {
    var request = ProtoWatchRequest()
    request.appID = app.appID
    request.pagePath = page
    let answers = try await client.watch(request)
    var seen = 0
    for try await answer in answers {
      if output.json {
        try Printer.json(answer)
      } else {
        for point in answer.points.suffix(seen == 0 ? 5 : 60) {
          let cells = Self.cells(point, answer.info.timeZone)
          Printer.line(
            "\(cells[0])  \(cells[1]) events  \(cells[2]) visits  \(cells[3]) opens  \(cells[4]) users")
        }
        let (short, long) = (answer.activeUsers5Min, answer.activeUsers30Min)
        Printer.line(
          "active users: \(NumberText.grouped(short)) in 5 min, \(NumberText.grouped(long)) in 30 min")
      }
      seen += 1
      if seen == changes { break }
    }
    answers.cancel()
  }

  private static let columns: [(String, TextTable.Alignment)] = [
    ("time", .left), ("events", .right), ("visits", .right), ("opens", .right), ("users", .right),
  ]

  private static func cells(_ point: ProtoLivePoint, _ zone: String) -> [String] {
    [NumberText.time(point.beginMs, zone: zone)]
      + [point.eventCnt, point.visitPv, point.sessionCnt, point.visitUv].map {
        NumberText.grouped($0)
      }
  }
}
