import ArgumentParser
import Messages
import RPC
import SwiftProtobuf

/// `footfall report`: any report of query as a table, CSV, JSON, its plan, or the users behind one of its numbers.
struct ReportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Any report: pages, sources, retention, paths ...",
    discussion: """
      What a report can be asked beyond the options here is given as JSON under the names of its request
      (proto/footfall/query/v1):

        footfall report pages --from 2024-03-01 --with '{"order_by": "PAGE_ORDER_EXITS", "limit": 20}'
        footfall report retention --with '{"granularity": "GRANULARITY_WEEK"}' --csv > weeks.csv
        footfall report visit_distribution --users '{"index": "access_depth_info", "key": 1, "metric": "visit_uv"}'
      """)

  @Argument(
    help: """
      trend, funnel, events, retention, overview, visit_distribution, pages, sources, performance, user_tiers, lifecycle, \
      stickiness, repurchase or paths.
      """)
  var report: String
  @OptionGroup var period: PeriodOptions
  @Option(help: "Count only what matches: platform = desktop and price >= 10.")
  var filter: String?
  @Option(name: .customLong("with"), help: "More of the request, as JSON.")
  var more: String = "{}"
  @Flag(help: "The report as CSV.")
  var csv = false
  @Flag(help: "How the report is made: plan, days, rows, time per operator.")
  var explain = false
  @Option(help: "The users behind a number of the report: a UserCell as JSON.")
  var users: String?
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let question = try request()
    guard [csv, explain, users != nil].count(where: { $0 }) <= 1 else {
      throw CommandFailure.usage("--csv, --explain and --users exclude each other")
    }
    guard !csv || !output.json else {
      throw CommandFailure.usage("--csv and --json exclude each other")
    }
    try await connection.withChannel(to: .query) { channel in
      let client = ReportsClient(channel)
      if let users { return try await list(question, users, client) }
      if explain { return try await self.explain(question, client) }
      if output.json { return try await Self.printJSON(question, channel) }
      try await show(question, client)
    }
  }

  // MARK: Request

  private func request() throws -> ProtoReport {
    var fields: [String] = []
    let appID = app.appID
    if !appID.isEmpty { fields.append("\"app_id\": \(JSONText.quoted(appID))") }
    if report == "overview" {
      guard period.begin == nil else {
        throw CommandFailure.usage("--from: an overview is of one day: --to")
      }
      if let day = period.end { fields.append("\"date\": \(JSONText.quoted(day))") }
    } else {
      fields.append("\"range\": \(try Printer.jsonText(try period.range()))")
    }
    if let filter {
      guard !more.contains("\"filter\"") || report == "funnel" || report == "events" else {
        throw CommandFailure.usage("--filter and a filter in --with exclude each other")
      }
      fields.append("\"filter\": \(try Printer.jsonText(try FilterText.parse(filter)))")
    }
    var request = try Self.report(report, "{\(fields.joined(separator: ", "))}", "options")
    let rest: ProtoReport = try Self.report(report, more, "--with")
    try request.merge(serializedBytes: try rest.serializedBytes() as [UInt8])
    return request
  }

  private static let names = [
    "trend", "funnel", "events", "retention", "overview", "visit_distribution", "pages", "sources",
    "performance", "user_tiers", "lifecycle", "stickiness", "repurchase", "paths",
  ]

  private static func report(
    _ name: String, _ json: String, _ from: String
  ) throws -> ProtoReport {
    guard names.contains(name) else {
      throw CommandFailure.usage(
        "\"\(name)\" is no report: one of \(names.joined(separator: ", "))")
    }
    do {
      return try ProtoReport(jsonString: "{\"\(name)\": \(json)}")
    } catch {
      throw CommandFailure.usage("report \(name): \(from): \(JSONProblem.text(error))")
    }
  }

  // MARK: Answers

  private func show(_ question: ProtoReport, _ client: ReportsClient) async throws {
    var bytes: [UInt8] = []
    for try await chunk in try await client.exportCSV(question) { bytes += chunk.data }
    if csv { return Printer.write(String(decoding: bytes, as: UTF8.self)) }
    let records = Self.records(bytes)
    guard let names = records.first else { return }
    var table = TextTable(
      names.indices.map { column in
        let isNumber = records.dropFirst().allSatisfy {
          $0[column].isEmpty || Double($0[column]) != nil
        }
        return (names[column], isNumber ? .right : .left)
      })
    for record in records.dropFirst() { table.add(record) }
    Printer.write(table.text)
  }

  private static func records(_ bytes: [UInt8]) -> [[String]] {
    var records: [[String]] = []
    var rest = bytes[...]
    while case .record(let fields, _, let taken, _) = CSVScanner.scan(
      rest, delimiter: UInt8(ascii: ","), isComplete: true)
    {
      records.append(fields ?? [])
      rest = rest.dropFirst(taken)
    }
    return records
  }

  private func explain(_ question: ProtoReport, _ client: ReportsClient) async throws {
    let answer = try await client.explain(question)
    if output.json { return try Printer.json(answer) }
    Printer.write(answer.plan)
    Printer.line(
      """
      \(answer.days) days (\(answer.daysCached) decoded before), \(NumberText.grouped(answer.rowsRead)) rows, \
      \(NumberText.grouped(answer.bytesRead)) bytes of \(answer.columns.joined(separator: " "))
      """)
    Printer.line(answer.info.notes)
  }

  private func list(
    _ question: ProtoReport, _ cell: String, _ client: ReportsClient
  ) async throws {
    var request = ProtoListUsersRequest()
    request.report = question
    do {
      request.cell = try ProtoUserCell(jsonString: cell)
    } catch {
      throw CommandFailure.usage("--users: \(JSONProblem.text(error))")
    }
    request.pageSize = 10_000
    repeat {
      let answer = try await client.listUsers(request)
      if output.json {
        try Printer.json(answer)
      } else {
        for user in answer.openIds { Printer.line(user) }
      }
      request.pageToken = answer.nextPageToken
    } while !request.pageToken.isEmpty
  }
}
