import Events
import Messages
import Query
import RPC
import TestKit
import Testing

/// A number of a report is named by exactly the parts that it has: one part more is another number, and none of the report's.
@Suite struct CellTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let report: ProtoReport
    let metric: String
    /// Parts that the number has.
    let parts: Set<String>
    var testDescription: String { "\(metric) \(parts.sorted())" }

    init(_ metric: String, _ parts: Set<String>, _ make: (inout ProtoReport) -> Void) {
      var report = ProtoReport()
      make(&report)
      self.report = report
      self.metric = metric
      self.parts = parts
    }
  }

  private static var range: ProtoDateRange {
    var range = ProtoDateRange()
    range.beginDate = "1970-01-01"
    range.endDate = "1970-01-01"
    return range
  }

  private static var buy: ProtoEventMatch {
    var choice = ProtoEventMatch()
    choice.events = ["buy"]
    return choice
  }

  static let cases: [Case] = [
    Case("visit_uv", []) { $0.trend.range = range },
    Case("visit_uv", []) { $0.overview.date = "1970-01-01" },
    Case("A", []) { report in
      var series = ProtoEventSeries()
      series.events = ["buy"]
      report.events.range = range
      report.events.series = [series]
    },
    Case("size", ["ref_date"]) { $0.retention.range = range },
    Case("users", ["ref_date", "key"]) { $0.retention.range = range },
    Case("error_users", []) { $0.performance.range = range },
    Case("new", ["ref_date"]) { $0.userTiers.range = range },
    Case("new", ["ref_date"]) { $0.lifecycle.range = range },
    Case("dau", ["ref_date"]) { $0.stickiness.range = range },
    Case("users", ["key"]) { $0.stickiness.range = range },
    Case("buyers", []) { report in
      report.repurchase.range = range
      report.repurchase.order = buy
    },
    Case("users", ["key"]) { report in
      report.repurchase.range = range
      report.repurchase.order = buy
    },
    Case("page_visit_uv", []) { $0.pages.range = range },
    Case("visit_uv", ["group", "other"]) { $0.sources.range = range },
  ]

  private static let changes: [(part: String, change: @Sendable (inout ProtoUserCell) -> Void)] = [
    ("key", { $0.key = 1 }), ("index", { $0.index = "access_depth_info" }),
    ("dropped_off", { $0.droppedOff = true }), ("other", { $0.other = true }),
    ("group", { $0.group = [ProtoGroupValue()] }), ("nodes", { $0.nodes = ["pages/none", "pages/none"] }),
  ]

  @Test(arguments: cases) func `a part that a number does not have is refused by name`(
    _ one: Case
  ) async throws {
    var cell = ProtoUserCell()
    cell.metric = one.metric
    if one.parts.contains("ref_date") { cell.refDate = "19700101" }
    if one.parts.contains("key") { cell.key = 1 }
    #expect(try await refusal(one.report, cell) == nil)
    for (part, change) in Self.changes where !one.parts.contains(part) {
      var surplus = cell
      change(&surplus)
      let message = try await refusal(one.report, surplus) ?? "answered"
      // The rest is one of the groups.
      let names = part == "other" ? ["cell.other:", "cell.group:"] : ["cell.\(part):"]
      #expect(names.contains { message.hasPrefix($0) }, "\(part): \(message)")
    }
  }

  @Test func `a point of a trend has a key only where a clock can go back`() async throws {
    var report = ProtoReport()
    report.trend.range = Self.range
    var cell = ProtoUserCell()
    cell.metric = "visit_uv"
    cell.refDate = "19700101"
    #expect(try await refusal(report, cell) == nil)
    cell.key = 1
    #expect(try await refusal(report, cell)?.hasPrefix("cell.key:") == true)
    report.trend.granularity = .hour
    cell.refDate = "19700101T00"
    #expect(try await refusal(report, cell) == nil)
  }

  @Test func `a group and the rest are two numbers`() async throws {
    var report = ProtoReport()
    var series = ProtoEventSeries()
    series.events = ["buy"]
    report.events.range = Self.range
    report.events.series = [series]
    report.events.groupBy = ["platform"]
    report.events.groupLimit = 1
    var cell = ProtoUserCell()
    cell.metric = "A"
    cell.group = [ProtoGroupValue()]
    #expect(try await refusal(report, cell) == nil)
    cell.other = true
    #expect(try await refusal(report, cell)?.hasPrefix("cell.group:") == true)
  }

  /// nil: the users were listed.
  private func refusal(_ report: ProtoReport, _ cell: ProtoUserCell) async throws -> String? {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let orders = (0..<2).map { number in
      ReferenceEvent(user: "u", time: 1_000 * Int64(number), sequence: 0, offset: UInt64(number), name: "buy")
    }
    try harness.apply([orders], receivedMilliseconds: 5 * 86_400_000)
    let service = ReportsService(
      runner: ReportRunner(engine: harness.engine, configuration: QueryConfiguration()))
    var request = ProtoListUsersRequest()
    request.report = report
    request.cell = cell
    do {
      _ = try await service.listUsers(
        request,
        context: CallContext(
          method: ReportsMethods.listUsers,
          principal: Principal(tokenID: "t", appID: "shop", scopes: ["query:users"])))
      return nil
    } catch let error as RPCError {
      #expect(error.code == .invalidArgument)
      return error.message
    }
  }
}
