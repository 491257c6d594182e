import ArgumentParser
package import Messages
import RPC
import SwiftProtobuf

/// `footfall ledger`.
struct LedgerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ledger",
    abstract: "What became of every event that came, and what never came, by day of receipt.")

  @OptionGroup var period: PeriodOptions
  @Flag(name: .customLong("by-sdk"), help: "One row per day and SDK version.")
  var byVersion = false
  @Flag(help: "Comma-separated values for a spreadsheet, every figure a column.")
  var csv = false
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    if csv, output.json {
      throw CommandFailure.usage("--csv and --json: one of them")
    }
    var request = ProtoGetCompletenessRequest()
    request.appID = app.appID
    request.range = try period.range(daysAhead: 1)
    request.bySdkVersion = byVersion
    let answer = try await connection.withChannel(to: .ingest) { channel in
      try await CompletenessClient(channel).getCompleteness(request)
    }
    if output.json { return try Printer.json(answer) }
    let table = LedgerTable(answer, byVersion: byVersion)
    Printer.write(csv ? table.csv : table.text)
  }
}

/// The answer of `GetCompleteness` as text.
package struct LedgerTable {
  private let answer: ProtoGetCompletenessResponse
  private let byVersion: Bool

  package init(_ answer: ProtoGetCompletenessResponse, byVersion: Bool) {
    self.answer = answer
    self.byVersion = byVersion
  }

  /// For people: the days, their sum, and what stands behind the sums.
  package var text: String {
    let versions: [(String, TextTable.Alignment)] = byVersion ? [("sdk", .left)] : []
    var table = TextTable(
      [("day", .left)] + versions + [
        ("received", .right), ("accepted", .right), ("duplicate", .right), ("late", .right),
        ("aside", .right), ("rejected", .right), ("removed", .right), ("missing", .right),
        ("lost", .right), ("complete", .right),
      ])
    for row in answer.rows { table.add(cells(row.refDate, row.sdkVersion, row.figures)) }
    if answer.rows.count > 1 { table.add(cells("all", "", answer.total)) }
    return table.text + reasons + "\(answer.timeZone) · as of offset \(NumberText.grouped(answer.asOfOffset))"
      + (answer.complete ? "" : " · not over yet") + "\n"
  }

  private func cells(
    _ day: String, _ version: String, _ figures: ProtoCompletenessFigures
  ) -> [String] {
    let aside = figures.quarantined.reduce(0) { $0 + $1.events } - figures.late
    let counts = [
      figures.received, figures.accepted, figures.duplicate, figures.late, aside,
      figures.rejected.reduce(0) { $0 + $1.events }, figures.removed.reduce(0) { $0 + $1.events },
    ]
    return [day] + (byVersion ? [version.isEmpty && day != "all" ? "-" : version] : [])
      + counts.map { NumberText.grouped($0) } + [
        NumberText.grouped(figures.missing), NumberText.grouped(figures.lost),
        Self.percent(figures.completeness),
      ]
  }

  /// Never rounded up to 100 %.
  private static func percent(_ share: Double) -> String {
    share < 1 && share > 0.999 ? NumberText.decimal(min(share * 100, 99.9999), 4) + " %"
      : NumberText.percent(share)
  }

  /// One line for each kind that has reasons.
  private var reasons: String {
    let total = answer.total
    let lines = [("rejected", total.rejected), ("aside", total.quarantined), ("removed", total.removed)]
    return lines.filter { !$0.1.isEmpty }.map { name, counts in
      let parts = counts.map { "\($0.reason) \(NumberText.grouped($0.events))" }
      return "\(name): \(parts.joined(separator: ", "))\n"
    }.joined()
  }

  /// One line per row, then nothing: sums are the spreadsheet's.
  package var csv: String {
    let reasons: [(String, (ProtoCompletenessFigures) -> [ProtoReasonCount])] = [
      ("quarantined", \.quarantined), ("rejected", \.rejected), ("removed", \.removed),
    ]
    let columns = reasons.flatMap { kind, counts in
      counts(answer.total).map { (kind: kind, reason: $0.reason, counts: counts) }
    }
    var header = ["ref_date"] + (byVersion ? ["sdk_version"] : [])
    header += [
      "received", "accepted", "duplicate", "gaps_opened", "gaps_recovered", "missing", "lost",
      "before_first", "before_first_received", "completeness",
    ]
    header += columns.map { "\($0.kind).\($0.reason)" }
    let rows = answer.rows.map { row -> [String] in
      let figures = row.figures
      let counts = [
        figures.received, figures.accepted, figures.duplicate, figures.gapsOpened,
        figures.gapsRecovered,
      ]
      return [row.refDate] + (byVersion ? [row.sdkVersion] : []) + counts.map { "\($0)" } + [
        "\(figures.missing)", "\(figures.lost)", "\(figures.beforeFirst)",
        "\(figures.beforeFirstReceived)", "\(figures.completeness)",
      ] + columns.map { column in
        "\(column.counts(figures).first { $0.reason == column.reason }?.events ?? 0)"
      }
    }
    return ([header] + rows).map { $0.map(Self.field).joined(separator: ",") + "\r\n" }.joined()
  }

  /// RFC 4180. A version is the sender's text: one that a spreadsheet would run as a formula gets an apostrophe before it.
  private static func field(_ text: String) -> String {
    let isFormula = text.unicodeScalars.first.map { "=+@\t\r".unicodeScalars.contains($0) } ?? false
    let safe = isFormula ? "'" + text : text
    // By scalars: CR LF is one character of its own.
    guard safe.unicodeScalars.contains(where: { ",\"\n\r".unicodeScalars.contains($0) }) else {
      return safe
    }
    return "\"" + safe.replacing("\"", with: "\"\"") + "\""
  }
}
