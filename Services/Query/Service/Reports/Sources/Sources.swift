import Events

/// Where do opens come from, and what becomes of them?
package struct SourcesQuery: Sendable {
  /// What opens are told apart by: of their first event.
  package enum Dimension: String, Sendable, CaseIterable {
    case sourceKey = "source_key"
    case channel, scene
    case qrID = "qr_id"
    case campaignSource = "campaign_source"
    case campaignMedium = "campaign_medium"
    case campaignName = "campaign_name"
    case campaignContent = "campaign_content"
    case campaignTerm = "campaign_term"
    case referrerAppID = "referrer_app_id"
  }

  /// Users who do any of these in the same open are converted.
  package struct Conversion: Sendable {
    package var events: [String]
    package var filter: FilterTree?

    package init(_ events: [String], filter: FilterTree? = nil) {
      self.events = events
      self.filter = filter
    }
  }

  package var appID: String
  package var days: ClosedRange<Int>
  package var compareDays: ClosedRange<Int>?
  package var dimension: Dimension
  /// 1-1,000.
  package var limit: Int
  /// Of the points of each source; `all`: none.
  package var granularity: Granularity
  package var filter: FilterTree?
  package var traffic: TrafficChoice
  /// Days after which new users are counted again.
  package var retentionDays: [Int]
  package var conversion: Conversion?

  package init(
    appID: String, days: ClosedRange<Int>, compareDays: ClosedRange<Int>? = nil,
    dimension: Dimension = .sourceKey, limit: Int? = nil, granularity: Granularity = .day,
    filter: FilterTree? = nil, traffic: TrafficChoice = TrafficChoice(), retentionDays: [Int] = [],
    conversion: Conversion? = nil
  ) {
    self.appID = appID
    self.days = days
    self.compareDays = compareDays
    self.dimension = dimension
    self.limit = limit ?? Limits.sourcesDefault
    self.granularity = granularity
    self.filter = filter
    self.traffic = traffic
    self.retentionDays = retentionDays
    self.conversion = conversion
  }
}

/// Of the opens of a source; sums rather than quotients.
package struct SourceMetrics: Sendable, Equatable, BitwiseCopyable {
  package var sessionCount: UInt64 = 0
  package var pageViews: UInt64 = 0
  package var visitUsers: UInt64 = 0
  package var visitNewUsers: UInt64 = 0
  package var conversionUsers: UInt64 = 0
  package var stayMilliseconds: Int64 = 0
  /// Opens with exactly one page visit.
  package var bounces: UInt64 = 0

  package init() {}

  package var conversionRate: Double { share(conversionUsers, visitUsers) }
  package var bounceRate: Double { share(bounces, sessionCount) }
  package var staySecondsPerSession: Double {
    sessionCount == 0 ? 0 : Double(stayMilliseconds) / 1_000 / Double(sessionCount)
  }

  private func share(_ part: UInt64, _ whole: UInt64) -> Double {
    whole == 0 ? 0 : Double(part) / Double(whole)
  }

  /// Adds what was counted of other users.
  mutating func add(_ other: SourceMetrics) {
    sessionCount += other.sessionCount
    pageViews += other.pageViews
    visitUsers += other.visitUsers
    visitNewUsers += other.visitNewUsers
    conversionUsers += other.conversionUsers
    stayMilliseconds += other.stayMilliseconds
    bounces += other.bounces
  }
}

package struct SourcePoint: Sendable, Equatable {
  package let period: Period
  package let isComplete: Bool
  package let metrics: SourceMetrics
}

/// Of the new users of a source: how many were active a number of days after their first.
package struct SourceRetention: Sendable, Equatable {
  package let day: Int
  /// Of days whose day + this one is over.
  package var newUsers: UInt64 = 0
  package var users: UInt64 = 0

  package var share: Double { newUsers == 0 ? 0 : Double(users) / Double(newUsers) }
}

package struct SourceRow: Sendable, Equatable {
  /// nil: missing, or `isOther`.
  package let value: FieldValue?
  /// For people; empty: none.
  package let name: String
  package let isOther: Bool
  package let metrics: SourceMetrics
  package let compare: SourceMetrics?
  package let points: [SourcePoint]
  package let retention: [SourceRetention]
}

package struct SourcesAnswer: Sendable, Equatable {
  /// The largest first, the rest behind them.
  package let rows: [SourceRow]
  package let total: SourceMetrics
  package let compareTotal: SourceMetrics?
  package let info: AnswerInfo
}

/// Which users of a source are listed.
package enum SourceUsers: Sendable, Equatable {
  case active, new, converted
}

extension QueryEngine {
  package func sources(_ query: SourcesQuery, control: QueryControl) throws -> SourcesAnswer {
    try SourcesRun(query, self, control).answer()
  }

  /// - Parameters:
  ///   - refDate: of a point; nil: the whole range.
  ///   - row: nil: all sources together.
  package func sourcesUsers(
    _ query: SourcesQuery, _ kind: SourceUsers, refDate: String?, row: SeriesCell?,
    control: QueryControl
  ) throws -> UserList {
    try SourcesRun(query, self, control).users(kind, refDate, row)
  }
}

private struct SourcesRun {
  let query: SourcesQuery
  let scope: ReportScope
  let breakdown: Breakdown
  let conversion: ConversionMatcher?

  init(_ query: SourcesQuery, _ engine: QueryEngine, _ control: QueryControl) throws {
    try Self.check(query)
    self.query = query
    let snapshot = try engine.snapshot(query.appID)
    breakdown = try Breakdown(query.dimension.rawValue, in: snapshot)
    let conversion = try query.conversion.map { try ConversionMatcher($0, in: snapshot) }
    self.conversion = conversion
    scope = try ReportScope(
      query.appID, engine, filter: query.filter, traffic: query.traffic, control: control,
      snapshot: snapshot, contexts: nil, fields: { _ in conversion?.fieldCodes ?? [] })
  }

  private static func check(_ query: SourcesQuery) throws(QueryError) {
    guard (1...Limits.sourcesMax).contains(query.limit) else {
      throw .invalid("limit", "is \(query.limit), must be 1-\(Limits.sourcesMax)")
    }
    guard query.retentionDays.count <= Limits.retentionDaysPerSourceMax else {
      throw .invalid(
        "retention_days",
        "\(query.retentionDays.count) given, at most \(Limits.retentionDaysPerSourceMax)")
    }
    for day in query.retentionDays where !(1...Limits.retentionDayMax).contains(day) {
      throw .invalid("retention_days", "has \(day), must be 1-\(Limits.retentionDayMax)")
    }
    try query.granularity.check(query.days, field: "range")
  }

  // MARK: Answer

  func answer() throws -> SourcesAnswer {
    let choice = try SourceChoice(scope, breakdown, query)
    let periods =
      query.granularity == .all
      ? [] : Period.periods(query.days, query.granularity, scope.snapshot.calendar)
    let main = try scan(query.days, periods, choice)
    let compared = try query.compareDays.map { try scan($0, [], choice) }
    let retention = try query.retentionDays.isEmpty
      ? [] : SourceRetentionCount(scope, query, main.counts.newUsers, choice.seriesCount).run()
    let rows = (1..<choice.seriesCount).map { series in
      SourceRow(
        value: choice.value(series), name: name(choice.value(series)),
        isOther: choice.isOther(series), metrics: main.counts.cell(0, series, choice.seriesCount),
        compare: compared?.counts.cell(0, series, choice.seriesCount),
        points: points(main.counts, periods, series, choice.seriesCount),
        retention: retention.isEmpty ? [] : retention[series])
    }
    return SourcesAnswer(
      rows: rows, total: main.counts.cell(0, 0, choice.seriesCount),
      compareTotal: compared?.counts.cell(0, 0, choice.seriesCount),
      info: scope.info(main.tally, query.days, query.compareDays))
  }

  private func points(
    _ counts: SourceCounts, _ periods: [Period], _ series: Int, _ seriesCount: Int
  ) -> [SourcePoint] {
    periods.enumerated().map { index, period in
      SourcePoint(
        period: period,
        isComplete: period.isWhole && scope.isOver(period.milliseconds.upperBound),
        metrics: counts.cell(index + 1, series, seriesCount))
    }
  }

  private func name(_ value: FieldValue?) -> String {
    switch (query.dimension, value) {
    case (.sourceKey, .integer(let key)?): SourceKey.name(Int(key))?.english ?? ""
    case (.scene, .integer(let code)?):
      scope.snapshot.definition.sources.scenes[code: Int(code)]?.name.english ?? ""
    case (.channel, .text(let channel)?): Channel.builtIn[channel]?.english ?? ""
    default: ""
    }
  }

  // MARK: Users

  func users(_ kind: SourceUsers, _ refDate: String?, _ row: SeriesCell?) throws -> UserList {
    let choice = try SourceChoice(scope, breakdown, query)
    let series = try row.map { try choice.series($0) } ?? 0
    var days = query.days
    var periods: [Period] = []
    if let refDate {
      guard query.granularity != .all else {
        throw QueryError.invalid("cell.ref_date", "the report has no points")
      }
      periods = Period.periods(query.days, query.granularity, scope.snapshot.calendar)
      guard let period = periods.first(where: { $0.refDate == refDate }) else {
        throw QueryError.invalid("cell.ref_date", "the report has no point \"\(refDate.prefix(64))\"")
      }
      days = period.days
      periods = [period]
    }
    let wanted = SourceVisitor.Wanted(kind: kind, period: periods.count, series: series)
    // Of an hour only the part of the day counts that it is.
    let found = try scan(days, periods, choice, wanted: wanted)
    return UserList(
      users: found.counts.users.sorted(), app: scope.snapshot.app,
      info: scope.info(found.tally, query.days))
  }

  // MARK: Scan

  private func scan(
    _ days: ClosedRange<Int>, _ periods: [Period], _ choice: SourceChoice,
    wanted: SourceVisitor.Wanted? = nil
  ) throws -> (counts: SourceCounts, tally: EventTally) {
    let seriesCount = choice.seriesCount
    let cells = (periods.count + 1) * seriesCount
    guard cells <= Limits.answerPointsMax else {
      throw QueryError(
        .resourceExhausted,
        """
        the answer would have \(cells) points (\(periods.count) periods of \(seriesCount) sources), at most \
        \(Limits.answerPointsMax): ask for a shorter range, a coarser granularity or a lower limit
        """)
    }
    let marker = DayMarker(scope.filter, scope.traffic)
    let configuration = SourceVisitor.Configuration(
      seriesCount: seriesCount, periods: periods.isEmpty ? nil : PeriodTable(periods),
      listsNewUsers: !query.retentionDays.isEmpty, wanted: wanted)
    let (snapshot, classes) = (scope.snapshot, scope.traffic.classes)
    var walk = OpenWalk<SourceVisitor>(
      source: scope.source, days: days, control: scope.control,
      prepare: { [conversion] day, place in
        SourceMarks(
          day: marker.marks(day, place, values: try choice.series(day)),
          conversion: conversion.map { Scratch($0.mask(day)) })
      },
      make: { users in
        SourceVisitor(
          users, configuration, snapshot.times.first(users: users, classes: classes))
      })
    walk.bytesPerUser = SourceVisitor.bytesPerUser(seriesCount)
    walk.markBytesPerRow = scope.maskBytesPerRow + (conversion == nil ? 0 : 1)
    return (try walk.run(), marker.tally)
  }
}

/// Which events convert.
struct ConversionMatcher {
  private let isWanted: Set<UInt32>
  private let filter: FilterProgram?

  init(_ conversion: SourcesQuery.Conversion, in snapshot: AppSnapshot) throws(QueryError) {
    guard (1...Limits.eventsPerStepMax).contains(conversion.events.count) else {
      throw .invalid(
        "conversion.events",
        "\(conversion.events.count) given, must be 1-\(Limits.eventsPerStepMax)")
    }
    try EventCodes.checkNames(conversion.events, asked: "conversion.events")
    // An event that never occurred is fine: nobody did it.
    isWanted = Set(conversion.events.compactMap { snapshot.app.code(.events, of: $0) })
    if let tree = conversion.filter {
      filter = try FilterProgram(tree, in: snapshot, asked: "conversion.filter")
    } else {
      filter = nil
    }
  }

  var fieldCodes: Set<UInt32> { filter?.fieldCodes ?? [] }

  /// 1 for each row that converts.
  func mask(_ day: DayColumns) -> [UInt8] {
    let highest = Int(isWanted.max() ?? 0)
    let table = (0...highest).map { isWanted.contains(UInt32($0)) ? UInt8(1) : 0 }
    var mask = day.event.map { Int($0) <= highest ? table[Int($0)] : 0 }
    if let matches = filter?.mask(day) {
      for row in mask.indices { mask[row] &= matches[row] }
    }
    return mask
  }
}
