import Foundation

/// What an import says at its end.
package struct ImportSummary {
  private let report: ImportReport
  private let file: String
  private let appID: String
  private let isDryRun: Bool

  package init(report: ImportReport, file: String, appID: String, isDryRun: Bool) {
    self.report = report
    self.file = file
    self.appID = appID
    self.isDryRun = isDryRun
  }

  package func print(asJSON: Bool) throws {
    Printer.write(asJSON ? try json + "\n" : text)
  }

  /// `{"rows":..,"accepted":..,"duplicates":..,"rejected":[..],"quarantined":[..]}`
  package var json: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return String(decoding: try encoder.encode(report), as: UTF8.self)
    }
  }

  package var text: String {
    let goal = appID.isEmpty ? "" : " into \(appID)"
    var counts = TextTable([(file + goal, .left), ("rows", .right)])
    counts.add(["read", NumberText.grouped(report.rows)])
    counts.add([
      isDryRun ? "would be sent" : "imported",
      NumberText.grouped(report.accepted - report.duplicates),
    ])
    if !isDryRun { counts.add(["were there already", NumberText.grouped(report.duplicates)]) }
    counts.add(["rejected", NumberText.grouped(report.rejectedRows)])
    if report.quarantinedRows > 0 {
      counts.add(["set aside", NumberText.grouped(report.quarantinedRows)])
    }
    return counts.text + refusals("rejected", report.rejected)
      + refusals("set aside", report.quarantined)
  }

  private func refusals(_ title: String, _ list: [ImportReport.Refusal]) -> String {
    guard !list.isEmpty else { return "" }
    var table = TextTable([
      (title, .left), ("field", .left), ("rows", .right), ("lines", .left), ("example", .left),
    ])
    for refusal in list.sorted(by: { $0.rows > $1.rows }) {
      let lines = refusal.lines.map { "\($0)" }.joined(separator: " ")
      table.add([
        refusal.reason, refusal.field, NumberText.grouped(refusal.rows),
        lines + (refusal.rows > refusal.lines.count ? " ..." : ""), refusal.example,
      ])
    }
    return "\n" + table.text
  }
}
