import Messages
import RPC
import TestKit
import Testing

/// The real executables over TCP. One after another: each test runs four processes.
@Suite(.serialized, .timeLimit(.minutes(3))) struct WholePathTests {
  @Test func an_event_comes_out_of_every_service_though_they_were_started_before_ingest() async throws {
    let suite = try Suite()
    for consumer in suite.consumers { try await consumer.start() }
    try await suite.ingest.start()
    let shop = try await SuiteCase(suite)
    let names = ["$launch", "$page_view", "$click", "$page_view", "$share"]
    let answer = try await shop.collect(shop.batch(names, user: "ann"))
    #expect(answer.accepted == 5)
    #expect(answer.rejected.isEmpty)
    try await shop.waitForConsumers()
    try await expectCounts(shop, users: 1, opens: 1, visits: 2, shares: 1, events: 5)
    let ann = try await shop.profile("ann")
    #expect(ann.visitPv == 2)
    #expect(ann.sessionCnt == 1)
    #expect(ann.attributes.first { $0.name == "province" }?.value.stringValue == "广东省")
  }

  @Test func killed_services_count_every_event_once() async throws {
    let suite = try Suite()
    try await suite.start()
    let shop = try await SuiteCase(suite)
    let names = ["$page_view", "$click"]
    var sent = 0
    for round in 0..<4 {
      for user in 0..<5 {
        let batch = shop.batch(names, user: "user-\(user)", firstSequence: UInt64(round * 2 + 1))
        _ = try await shop.collect(batch)
        // As a device does that did not hear the answer.
        let again = try await shop.collect(batch)
        #expect(again.accepted == 2)
        #expect(again.duplicates == 2)
        sent += 2
      }
      let victim = ([suite.ingest] + suite.consumers)[round]
      victim.kill()
      #expect(!victim.isRunning)
      try await victim.start()
    }
    try await shop.waitForConsumers()
    #expect(sent == 40)
    try await expectCounts(shop, users: 5, opens: 5, visits: 20, shares: 0, events: 40)
    for user in 0..<5 { #expect(try await shop.profile("user-\(user)").eventCnt == 8) }
  }

  @Test func consumers_answer_while_ingest_is_down_and_catch_up() async throws {
    let suite = try Suite()
    try await suite.start()
    let shop = try await SuiteCase(suite)
    _ = try await shop.collect(shop.batch(["$page_view"], user: "ann"))
    try await shop.waitForConsumers()
    suite.ingest.kill()
    try await expectCounts(shop, users: 1, opens: 1, visits: 1, shares: 0, events: 1)
    for consumer in suite.consumers {
      consumer.kill()
      try await consumer.start()
    }
    // Also what was started without ingest answers from its own store, tokens included.
    try await expectCounts(shop, users: 1, opens: 1, visits: 1, shares: 0, events: 1)
    for consumer in suite.consumers {
      #expect(try await suite.status(consumer, token: shop.token).connected == false)
    }
    try await suite.ingest.start()
    _ = try await shop.collect(shop.batch(["$page_view"], user: "bob"))
    try await shop.waitForConsumers()
    try await expectCounts(shop, users: 2, opens: 2, visits: 2, shares: 0, events: 2)
  }

  @Test func a_history_delivered_twice_and_out_of_turn_gives_the_same_figures_everywhere() async throws {
    let suite = try Suite()
    try await suite.start()
    let shop = try await SuiteCase(suite)
    let midnight: Int64 = 1_709_222_400_000
    var traffic = Traffic(
      .init(seed: 42, users: 30, days: 12, beginMilliseconds: midnight))
    let requests = traffic.requests()
    for request in traffic.delivered(requests) {
      let answer = try await shop.collect(request)
      #expect(answer.accepted == UInt32(request.events.count))
    }
    try await shop.waitForConsumers()
    var range = ProtoDateRange()
    range.beginDate = "20240228"
    range.endDate = "20240331"
    let counted = requests.filter { $0.context.releaseChannel == .release && $0.context.scene != 1129 }
    let visits = counted.flatMap(\.events).filter { $0.name == "$page_view" }
    let users = Set(counted.map(\.context.openID))
    let trend = try await shop.trend(range)
    #expect(visits.count > 500)
    #expect(trend.visitPv == UInt64(visits.count))
    #expect(trend.eventCnt == UInt64(counted.reduce(0) { $0 + $1.events.count }))
    #expect(trend.visitUv == UInt64(users.count))
    #expect(trend.sharePv == UInt64(counted.flatMap(\.events).filter { $0.name == "$share" }.count))
    var profiles: UInt64 = 0
    for user in Set(requests.map(\.context.openID)) { profiles += try await shop.profile(user).visitPv }
    #expect(profiles == trend.visitPv)
  }

  @Test func sigterm_ends_every_service_with_0() async throws {
    let suite = try Suite()
    try await suite.start()
    for process in suite.consumers + [suite.ingest] {
      #expect(try await process.terminate() == 0, "\(process.service)\n\(process.output.suffix(500))")
    }
  }

  private func expectCounts(
    _ shop: SuiteCase, users: UInt64, opens: UInt64, visits: UInt64, shares: UInt64, events: UInt64
  ) async throws {
    let trend = try await shop.trend()
    #expect(trend.visitUv == users)
    #expect(trend.sessionCnt == opens)
    #expect(trend.visitPv == visits)
    #expect(trend.sharePv == shares)
    #expect(trend.eventCnt == events)
    let live = try await shop.live()
    #expect(live.visits == visits)
    #expect(live.opens == opens)
    #expect(live.events == events)
  }
}
