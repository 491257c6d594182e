import ArgumentParser
import Messages
import RPC
import SwiftProtobuf

/// `footfall trend`.
struct TrendCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trend",
    abstract: "The trend metrics by day, week, month or over the whole range.")

  @OptionGroup var period: PeriodOptions
  @Option(help: "day, week, month or all.")
  var granularity = "day"
  @Option(name: .customLong("compare-from"), help: "First day of a second period.")
  var compareBegin: String?
  @Option(name: .customLong("compare-to"), help: "Last day of it.")
  var compareEnd: String?
  @OptionGroup var scope: ScopeOptions
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    var request = ProtoGetTrendRequest()
    request.appID = app.appID
    request.range = try period.range()
    request.granularity = try Self.granularity(granularity)
    if compareBegin != nil || compareEnd != nil {
      guard let compareBegin, let compareEnd else {
        throw CommandFailure.usage("--compare-from and --compare-to belong together")
      }
      request.compareRange.beginDate = compareBegin
      request.compareRange.endDate = compareEnd
    }
    if let filter = scope.filter { request.filter = try FilterText.parse(filter) }
    request.breakdown = scope.breakdown ?? ""
    request.breakdownLimit = scope.breakdownLimit
    request.releaseChannel = try scope.releaseChannel()
    request.includeExcludedScenes = scope.includesExcludedScenes
    let answer = try await connection.withChannel(to: .query) { channel in
      try await QueryClient(channel).getTrend(request)
    }
    if output.json { return try Printer.json(answer) }
    print(answer)
  }

  private static func granularity(_ text: String) throws -> ProtoGranularity {
    switch text {
    case "day": .day
    case "week": .week
    case "month": .month
    case "all": .all
    default:
      throw CommandFailure.usage("--granularity: \"\(text)\" is none of day, week, month, all")
    }
  }

  private func print(_ answer: ProtoGetTrendResponse) {
    var table = TextTable([("period", .left)] + Self.columns)
    for point in answer.points { table.add([Self.label(point)] + Self.cells(point.metrics)) }
    Printer.write(table.text)
    if !answer.comparePoints.isEmpty { printComparison(answer) }
    if !answer.breakdown.isEmpty { printBreakdown(answer) }
    Printer.line(answer.info.notes)
  }

  private func printComparison(_ answer: ProtoGetTrendResponse) {
    var table = TextTable([
      ("period", .left), ("compared with", .left), ("opens", .right), ("visits", .right),
      ("users", .right), ("new users", .right),
    ])
    for (now, then) in zip(answer.points, answer.comparePoints) {
      let growth = { (value: (ProtoTrendMetrics) -> UInt64) in
        NumberText.growth(Double(value(now.metrics)), Double(value(then.metrics)))
      }
      table.add([
        Self.label(now), Self.label(then), growth(\.sessionCnt), growth(\.visitPv),
        growth(\.visitUv), growth(\.visitUvNew),
      ])
    }
    Printer.line("")
    Printer.write(table.text)
  }

  private func printBreakdown(_ answer: ProtoGetTrendResponse) {
    var table = TextTable([(scope.breakdown ?? "value", .left), ("period", .left)] + Self.columns)
    for series in answer.breakdown {
      let value = series.hasValue ? series.value : nil
      let label = ProtoFieldValue.label(value, isOther: series.other)
      for point in series.points {
        table.add([label, Self.label(point)] + Self.cells(point.metrics))
      }
    }
    Printer.line("")
    Printer.write(table.text)
  }

  private static let columns: [(String, TextTable.Alignment)] = [
    ("events", .right), ("opens", .right), ("visits", .right), ("users", .right),
    ("new users", .right), ("users ever", .right), ("shares", .right), ("sharers", .right),
    ("stay/user", .right), ("stay/open", .right), ("depth", .right),
  ]

  private static func label(_ point: ProtoTrendPoint) -> String {
    point.refDate + (point.complete ? "" : " *")
  }

  private static func cells(_ metrics: ProtoTrendMetrics) -> [String] {
    let counts = [
      metrics.eventCnt, metrics.sessionCnt, metrics.visitPv, metrics.visitUv, metrics.visitUvNew,
      metrics.visitTotal, metrics.sharePv, metrics.shareUv,
    ]
    return counts.map { NumberText.grouped($0) } + [
      NumberText.duration(milliseconds: metrics.stayTimeUv * 1_000),
      NumberText.duration(milliseconds: metrics.stayTimeSession * 1_000),
      NumberText.decimal(metrics.visitDepth, 2),
    ]
  }
}
