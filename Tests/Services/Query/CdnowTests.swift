import Events
import Query
import TestKit
import Testing

/// The purchases of CDNOW's customers (lifetimes, MIT), with what follows from the file.
@Suite struct CdnowTests {
  static let name = "cdnow/CDNOW_master.txt.gz"

  /// A line: customer, yyyymmdd, CDs, dollars, padded with blanks. Times of day are not known: noon.
  private static func purchases() throws -> [ReferenceEvent] {
    try PublishedData.rows(name).enumerated().map { index, line in
      let columns = line.split(separator: " ").map(String.init)
      try #require(columns.count == 4)
      var event = ReferenceEvent(
        user: columns[0], time: Int64(try #require(CivilDay(columns[1])).index) * 86_400_000 + 43_200_000,
        sequence: 0, offset: UInt64(index), name: "purchase")
      event.fields = [
        "cds": .integer(try #require(Int64(columns[2]))), "price": .double(try #require(Double(columns[3]))),
      ]
      return event
    }
  }

  private static func harness(sealed: Bool) throws -> EngineHarness {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let purchases = try purchases()
    // A batch is one customer's: the file is ordered by customer.
    let batches = purchases.chunks { $0.user == $1.user }
    for begin in stride(from: 0, to: batches.count, by: 500) {
      try harness.apply(
        Array(batches[begin..<min(begin + 500, batches.count)]), receivedMilliseconds: 0)
      if sealed, begin % 5_000 == 0 { try harness.engine.mergeIfDue(rows: 1) }
    }
    if sealed { try harness.engine.mergeIfDue(rows: 1) }
    return harness
  }

  @Test(
    .enabled(if: PublishedData.isThere(name), "shared/data/cdnow/CDNOW_master.txt.gz is not beside the checkout"),
    arguments: [false, true])
  func `gives the figures of the file`(_ sealed: Bool) throws {
    let harness = try Self.harness(sealed: sealed)
    let days = try #require(CivilDay("19970101")).index...#require(CivilDay("19981231")).index
    let order = EventChoice(["purchase"])
    let repurchase = try harness.engine.repurchase(
      RepurchaseQuery(appID: "shop", days: days, order: order), control: QueryControl()
    ).metrics
    #expect(repurchase.orders == 69_659)
    #expect(repurchase.buyers == 23_570)
    #expect(repurchase.repeatBuyers == 11_662)
    #expect((repurchase.rate * 100_000).rounded() == 49_478)
    #expect(repurchase.gaps.reduce(0) { $0 + $1.gaps } == 69_659 - 23_570)

    // All of them bought first in the first quarter of 1997.
    let trend = try harness.engine.trend(
      TrendQuery(appID: "shop", days: days.lowerBound...days.lowerBound + 89, granularity: .all),
      control: QueryControl())
    #expect(trend.points.map(\.metrics.visitNewUsers) == [23_570])
    let revenue = try harness.engine.analyzeEvents(
      EventAnalysisQuery(
        appID: "shop", days: days, granularity: .all, series: [.init(order, .sum, field: "price")]),
      control: QueryControl())
    #expect(abs(try #require(revenue.results[0].total.value) - 2_500_315.63) < 0.005)
  }
}

extension Array {
  /// Neighbours for which `isSame` holds come together.
  fileprivate func chunks(_ isSame: (Element, Element) -> Bool) -> [[Element]] {
    reduce(into: []) { chunks, next in
      if let last = chunks.last?.last, isSame(last, next) {
        chunks[chunks.count - 1].append(next)
      } else {
        chunks.append([next])
      }
    }
  }
}
