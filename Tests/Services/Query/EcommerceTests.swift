import Events
import Query
import TestKit
import Testing

/// A demo shop's stream (retentioneering-tools, Apache-2.0), whose figures others published.
@Suite struct EcommerceTests {
  static let name = "ecom_sessions/ecom.csv.gz"

  private static func events() throws -> [ReferenceEvent] {
    try PublishedData.rows(name).enumerated().map { index, line in
      let columns = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      try #require(columns.count == 8)
      var event = ReferenceEvent(
        user: columns[0], time: try milliseconds(columns[3]), sequence: 0, offset: UInt64(index),
        name: columns[2])
      event.context = ["platform": .text(columns[4]), "campaign_source": .text(columns[5])]
      return event
    }
  }

  /// `yyyy-mm-dd hh:mm:ss` in UTC.
  private static func milliseconds(_ text: String) throws -> Int64 {
    let parts = text.split(separator: " ")
    let day = try #require(CivilDay(String(parts[0])))
    let clock = parts[1].split(separator: ":").compactMap { Int($0) }
    try #require(clock.count == 3)
    let seconds = day.index * 86_400 + clock[0] * 3_600 + clock[1] * 60 + clock[2]
    return Int64(seconds) * 1_000
  }

  private static func harness(sealed: Bool) throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    var batches: [[ReferenceEvent]] = []
    for event in try events() {
      if let last = batches.indices.last, batches[last][0].user == event.user,
        batches[last].count < 500
      {
        batches[last].append(event)
      } else {
        batches.append([event])
      }
    }
    for begin in stride(from: 0, to: batches.count, by: 50) {
      try harness.apply(Array(batches[begin..<min(begin + 50, batches.count)]), receivedMilliseconds: 0)
      if sealed, begin % 200 == 0 { try harness.engine.mergeIfDue(rows: 1) }
    }
    if sealed { try harness.engine.mergeIfDue(rows: 1) }
    return harness
  }

  @Test(
    .enabled(if: PublishedData.isThere(name), "shared/data/ecom_sessions/ecom.csv.gz is not beside the checkout"),
    arguments: [false, true])
  func `gives the published figures`(_ sealed: Bool) throws {
    let harness = try Self.harness(sealed: sealed)
    let first = try #require(CivilDay("20200101")).index
    let days = first...first + 3_600
    let trend = try harness.engine.trend(
      TrendQuery(appID: "shop", days: days, granularity: .all, breakdown: "platform"),
      control: QueryControl())
    let point = try #require(trend.points.first).metrics
    #expect(point.eventCount == 31_106)
    #expect(point.visitUsers == 600)
    #expect(point.visitTotal == 600)
    #expect(point.visitNewUsers == 600)
    #expect(point.sessionCount == 3_605)
    #expect(trend.breakdown.map { $0.points[0].metrics.visitUsers } == [392, 297, 107])
    #expect(trend.breakdown.map { $0.points[0].metrics.eventCount }.reduce(0, +) == 31_106)

    let byDay = try harness.engine.trend(
      TrendQuery(appID: "shop", days: days), control: QueryControl())
    #expect(byDay.points.reduce(0) { $0 + $1.metrics.sessionCount } == 3_605)
    #expect(byDay.points.reduce(0) { $0 + $1.metrics.visitNewUsers } == 600)

    let steps = ["catalog", "add_to_cart", "cart", "purchase"].map { FunnelQuery.Step([$0]) }
    let funnel = try harness.engine.funnel(
      FunnelQuery(appID: "shop", days: days, steps: steps, windowMilliseconds: nil),
      control: QueryControl())
    #expect(funnel.steps.map(\.users) == [600, 511, 431, 225])
  }
}
