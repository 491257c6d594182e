import Events
import Messages
import RPC
import Store

/// The question behind `GetCompleteness`.
struct CompletenessQuery: Sendable {
  let days: ClosedRange<Int>
  let byVersion: Bool

  /// - Throws: INVALID_ARGUMENT that names the field.
  init(_ request: ProtoGetCompletenessRequest) throws(RPCError) {
    let range: DayRange
    do throws(RuleViolation) {
      range = try DayRange(begin: request.range.beginDate, end: request.range.endDate)
    } catch {
      throw IngestErrors.refused(error)
    }
    days = range.days
    byVersion = request.bySdkVersion
    let max = byVersion ? Limits.ledgerVersionDaysAskedMax : Limits.ledgerDaysAskedMax
    guard days.count <= max else {
      throw IngestErrors.invalid(
        "range", "at most \(max) days\(byVersion ? " with by_sdk_version" : ""); got \(days.count)")
    }
  }

  /// The rows of the answer, in its order.
  func rows(app: Int64, _ connection: StoreConnection) throws -> [ProtoCompletenessRow] {
    var rows: [ProtoCompletenessRow] = []
    var builder = FiguresBuilder()
    var current: (day: Int, version: String)?
    func finish() {
      guard let current else { return }
      var row = ProtoCompletenessRow()
      row.refDate = CivilPeriod.refDate(day: current.day)
      row.sdkVersion = current.version
      row.figures = builder.figures
      rows.append(row)
      builder = FiguresBuilder()
    }
    let sql = """
      SELECT day, version, figure, count FROM ledger WHERE app = ? AND day BETWEEN ? AND ?
      ORDER BY day, version
      """
    let values: [StoreValue] = [
      .integer(app), .integer(Int64(days.lowerBound)), .integer(Int64(days.upperBound)),
    ]
    _ = try connection.query(sql, values) { row in
      let line = (day: row.int(0), version: byVersion ? row.string(1) : "")
      if let known = current, known != line { finish() }
      current = line
      builder.add(LedgerFigure(word: row.string(2)), row.int64(3))
    }
    finish()
    return rows
  }

  static func total(_ rows: [ProtoCompletenessRow]) -> ProtoCompletenessFigures {
    var builder = FiguresBuilder()
    for row in rows { builder.add(row.figures) }
    return builder.figures
  }
}

/// Adds stored figures up to those of an answer.
private struct FiguresBuilder {
  private var sums: [LedgerFigure: Int64] = [:]

  mutating func add(_ figure: LedgerFigure, _ count: Int64) {
    let (sum, isTooLarge) = sums[figure, default: 0].addingReportingOverflow(count)
    sums[figure] = isTooLarge ? .max : sum
  }

  mutating func add(_ figures: ProtoCompletenessFigures) {
    for (figure, path) in Self.plain { add(figure, Int64(clamping: figures[keyPath: path])) }
    for (prefix, path) in Self.byReason {
      for count in figures[keyPath: path] {
        add(LedgerFigure(word: prefix.rawValue + count.reason), Int64(clamping: count.events))
      }
    }
  }

  private static let plain:
    [(LedgerFigure, any WritableKeyPath<ProtoCompletenessFigures, UInt64> & Sendable)] = [
      (.received, \.received), (.accepted, \.accepted), (.duplicate, \.duplicate),
      (.missing, \.gapsOpened), (.recovered, \.gapsRecovered), (.lost, \.lost),
      (.beforeFirst, \.beforeFirst), (.beforeFirstReceived, \.beforeFirstReceived),
    ]

  private static let byReason:
    [(
      LedgerFigure.Prefix,
      any WritableKeyPath<ProtoCompletenessFigures, [ProtoReasonCount]> & Sendable
    )] = [
      (.quarantined, \.quarantined), (.rejected, \.rejected), (.removed, \.removed),
    ]

  var figures: ProtoCompletenessFigures {
    var figures = ProtoCompletenessFigures()
    for (figure, path) in Self.plain { figures[keyPath: path] = UInt64(clamping: sums[figure] ?? 0) }
    for (figure, count) in sums.sorted(by: { $0.key.word < $1.key.word }) where count > 0 {
      guard let (prefix, reason) = figure.byReason else { continue }
      var entry = ProtoReasonCount()
      entry.reason = String(reason)
      entry.events = UInt64(clamping: count)
      for (own, path) in Self.byReason where own == prefix { figures[keyPath: path].append(entry) }
    }
    figures.late = figures.quarantined.first { $0.reason == EventReason.late.word }?.events ?? 0
    let (missing, isTooLarge) = (sums[.missing] ?? 0).subtractingReportingOverflow(
      sums[.recovered] ?? 0)
    figures.missing = isTooLarge ? .max : missing
    figures.completeness = Self.completeness(figures.accepted, figures.missing)
    return figures
  }

  private static func completeness(_ accepted: UInt64, _ missing: Int64) -> Double {
    guard missing > 0 else { return 1 }
    return Double(accepted) / (Double(accepted) + Double(missing))
  }
}
