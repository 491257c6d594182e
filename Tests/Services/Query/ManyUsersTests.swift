import Events
import Query
import TestKit
import Testing

/// Users that are more than one piece of a dictionary holds.
@Suite struct ManyUsersTests {
  private func batches(_ users: Range<Int>) -> [[ReferenceEvent]] {
    users.map { number in
      // Most ids are of one length, as those of a platform are.
      let user = number % 1_000 == 999 ? "guest \(number)" : "user\(100_000 + number)"
      return [
        ReferenceEvent(
          user: user, time: 1_000, sequence: 0, offset: UInt64(number), name: "$page_view")
      ]
    }
  }

  private func counted(_ engine: QueryEngine) throws -> UInt64 {
    let answer = try engine.trend(
      TrendQuery(appID: "shop", days: 0...0, granularity: .all), control: QueryControl())
    return UInt64(try #require(answer.points.first).metrics.visitUsers)
  }

  @Test func `many users are told apart, and known again after a restart`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    // New ones and known ones, and the same one twice, in one transaction.
    try harness.apply(batches(0..<40_000) + batches(0..<10), receivedMilliseconds: 2_000)
    try harness.apply(batches(30_000..<70_000), receivedMilliseconds: 2_000)
    #expect(try counted(harness.engine) == 70_000)
    try harness.engine.mergeIfDue(rows: 1)
    while try harness.engine.compressIfQuiet(seconds: 0) {}
    try harness.reopen()
    try harness.apply(batches(10_000..<80_000), receivedMilliseconds: 2_000)
    #expect(try counted(harness.engine) == 80_000)
  }

  @Test func `users who are erased come back as strangers, the others stay`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    try harness.apply(batches(0..<35_000), receivedMilliseconds: 2_000)
    try harness.erase("guest 33999")
    try harness.erase("user100007")
    try harness.engine.mergeIfDue(rows: 1)
    #expect(try counted(harness.engine) == 34_998)
    try harness.apply(batches(0..<35_000), receivedMilliseconds: 2_000)
    #expect(try counted(harness.engine) == 35_000)
    try harness.reopen()
    try harness.apply(batches(0..<35_000), receivedMilliseconds: 2_000)
    #expect(try counted(harness.engine) == 35_000)
  }
}
