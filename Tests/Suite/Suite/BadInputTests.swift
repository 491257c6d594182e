import Messages
import RPC
import TestKit
import Testing

/// What a caller who is wrong is told: the status, and a message that names field, limit and value. The suite serves on.
@Suite(.serialized, .timeLimit(.minutes(3))) struct BadInputTests {
  @Test func whoever_is_wrong_is_told_so_and_the_suite_serves_on() async throws {
    let suite = try Suite()
    try await suite.start()
    let shop = try await SuiteCase(suite)
    _ = try await shop.collect(shop.batch(["$page_view"], user: "ann"))
    try await shop.waitForConsumers()
    try await tokens(shop)
    try await batches(shop)
    try await events(shop)
    try await questions(shop)
    _ = try await shop.collect(shop.batch(["$page_view"], user: "bob"))
    try await shop.waitForConsumers()
    #expect(try await shop.trend().visitPv == 2)
  }

  /// - Parameter parts: what the message must name.
  private func expect(
    _ code: StatusCode, _ parts: [String], sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
  ) async {
    do {
      try await body()
      Issue.record("no error", sourceLocation: sourceLocation)
    } catch let error as RPCError {
      #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
      for part in parts {
        #expect(error.message.contains(part), "\(error)", sourceLocation: sourceLocation)
      }
    } catch {
      Issue.record(error, sourceLocation: sourceLocation)
    }
  }

  private func tokens(_ shop: SuiteCase) async throws {
    let suite = shop.suite
    let batch = shop.batch(["$page_view"], user: "eve")
    let wrong = String(shop.token.dropLast(3)) + "xyz"
    await expect(.unauthenticated, ["authorization"]) {
      try await shop.call(suite.ingest, token: wrong) { _ = try await IngestClient($0).collect(batch) }
    }
    await expect(.unauthenticated, ["authorization"]) {
      try await shop.call(suite.query, token: wrong) {
        _ = try await QueryClient($0).getStatus(ProtoGetQueryStatusRequest())
      }
    }
    await expect(.permissionDenied, ["scope admin"]) {
      try await shop.call(suite.ingest) { _ = try await IngestClient($0).listApps(ProtoListAppsRequest()) }
    }
    await expect(.permissionDenied, ["scope events:read"]) {
      try await shop.call(suite.ingest) { channel in
        let stream = try await EventLogClient(channel).subscribe(ProtoSubscribeRequest())
        for try await _ in stream { break }
      }
    }
    var other = batch
    other.appID = "cafe"
    await expect(.permissionDenied, ["app_id", "cafe"]) {
      try await shop.call(suite.ingest) { _ = try await IngestClient($0).collect(other) }
    }
    let admin = try suite.adminToken()
    await expect(.notFound, ["app_id", "cafe"]) {
      try await shop.call(suite.ingest, token: admin) { _ = try await IngestClient($0).collect(other) }
    }
  }

  private func batches(_ shop: SuiteCase) async throws {
    func refused(_ code: StatusCode, _ parts: [String], _ change: (inout ProtoCollectRequest) -> Void)
      async
    {
      var batch = shop.batch(["$page_view"], user: "eve")
      change(&batch)
      await expect(code, parts) {
        try await shop.call(shop.suite.ingest) { _ = try await IngestClient($0).collect(batch) }
      }
    }
    await refused(.invalidArgument, ["events", "1000", "0"]) { $0.events = [] }
    await refused(.invalidArgument, ["events", "at most 1000", "1001"]) {
      $0.events = Array(repeating: $0.events[0], count: 1_001)
    }
    await refused(.invalidArgument, ["context.open_id", "required"]) { $0.context.openID = "" }
    await refused(.invalidArgument, ["context.city", "256", "300"]) {
      $0.context.city = String(repeating: "x", count: 300)
    }
    await refused(.resourceExhausted, ["4194304"]) {
      $0.context.city = String(repeating: "x", count: 5 << 20)
    }
  }

  private func events(_ shop: SuiteCase) async throws {
    var batch = shop.batch(["$page_view", "Bad Name", "$click", "buy"], user: "eve")
    batch.events[2].timeMs = 0
    var field = ProtoField()
    field.name = "price"
    field.value.doubleValue = .infinity
    batch.events[3].fields = [field]
    batch.events[0].pagePath = "pages/index?a=1"
    let answer = try await shop.collect(batch)
    #expect(answer.accepted == 0)
    #expect(answer.rejected.map(\.index) == [0, 1, 2, 3])
    #expect(answer.rejected.map(\.field) == ["page_path", "name", "time_ms", "fields.price"])
    #expect(answer.rejected.map(\.reason) == ["bad_name", "bad_name", "required", "not_finite"])
    #expect(answer.rejected.allSatisfy { $0.message.hasPrefix($0.field) })
  }

  private func questions(_ shop: SuiteCase) async throws {
    func ask(_ code: StatusCode, _ parts: [String], _ change: (inout ProtoGetTrendRequest) -> Void)
      async
    {
      var request = ProtoGetTrendRequest()
      request.range = shop.range
      change(&request)
      await expect(code, parts) {
        try await shop.call(shop.suite.query) { _ = try await QueryClient($0).getTrend(request) }
      }
    }
    await ask(.invalidArgument, ["end_date", "20240102", "20240101"]) {
      $0.range.beginDate = "20240102"
      $0.range.endDate = "20240101"
    }
    await ask(.invalidArgument, ["begin_date", "20240230"]) { $0.range.beginDate = "20240230" }
    await ask(.invalidArgument, ["end_date", "3660"]) { $0.range.beginDate = "19990101" }
    await ask(.invalidArgument, ["filter", "no_such_field"]) {
      $0.filter.condition.field = "no_such_field"
      $0.filter.condition.operator = .exists
    }
    await ask(.invalidArgument, ["breakdown", "no_such_field"]) { $0.breakdown = "no_such_field" }
    await expect(.notFound, ["nobody"]) { _ = try await shop.profile("nobody") }
  }
}
