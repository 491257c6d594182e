import Foundation
import Ingest
import Messages
import RPC
import RPCTransport
import Testing

/// What the plan does to events that arrive, and what is counted of them.
@Suite struct PlanModeTests {
  private func send(
    _ plan: PlanFixture, _ names: [String], user: String = "u1", prefix: String,
    fields: [(String, ProtoFieldValue)] = []
  ) async throws -> ProtoCollectResponse {
    let events = names.enumerated().map { index, name in
      Fixture.event(name, id: "\(prefix)\(index)", fields: fields)
    }
    return try await plan.fixture.send(Fixture.request(events, user: user))
  }

  // MARK: Modes

  @Test func `an open plan takes what it does not name`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api(fields: []))
    let answer = try await send(plan, ["buy", "mystery", "$launch"], prefix: "a")
    #expect(answer.accepted == 3 && answer.quarantined.isEmpty)
    let coverage = try await plan.plans.coverage("shop")
    #expect(coverage.unregistered.map(\.name) == ["mystery"])
    #expect(coverage.definitions.map(\.events) == [1])
  }

  @Test func `a strict plan keeps aside what it does not name`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api(fields: []))
    _ = try await plan.save(PlanFixture.api("idea", fields: []))
    _ = try await plan.plans.setMode(.strict, plan.caller)
    let answer = try await send(plan, ["buy", "mystery", "$launch", "idea"], prefix: "a")
    #expect(answer.accepted == 2)
    #expect(answer.quarantined.map(\.index) == [1, 3])
    #expect(answer.quarantined.allSatisfy { $0.reason == "unregistered" && $0.field == "name" })
    #expect(answer.quarantined[0].message.contains("\"mystery\""))
    #expect(try await plan.fixture.status().quarantinedEvents == 2)
    #expect(try await plan.fixture.batches().map { $0.events.map(\.name) } == [["buy", "$launch"]])
    // Archived: no longer named.
    _ = try await plan.plans.archive("buy", plan.caller)
    #expect(try await send(plan, ["buy"], prefix: "b").quarantined.count == 1)
    _ = try await plan.plans.setMode(.open, plan.caller)
    #expect(try await send(plan, ["buy"], prefix: "c").accepted == 1)
  }

  @Test func `an event that is kept aside decides no type`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.plans.setMode(.strict, plan.caller)
    _ = try await send(plan, ["mystery"], prefix: "a", fields: [("price", .integer(1))])
    #expect(try await plan.check(PlanFixture.api(fields: [("price", .double)])).passed)
  }

  @Test func `a retry answers as the first, whatever the plan is now`() async throws {
    let plan = try await PlanFixture.make()
    #expect(try await send(plan, ["mystery"], prefix: "a").accepted == 1)
    _ = try await plan.plans.setMode(.strict, plan.caller)
    let again = try await send(plan, ["mystery"], prefix: "a")
    #expect(again.accepted == 1 && again.duplicates == 1 && again.quarantined.isEmpty)
  }

  @Test func `an event in test is collected of its own test users only`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.plans.setMode(.strict, plan.caller)
    try await plan.test(PlanFixture.api("one", fields: []), ["u1"])
    try await plan.test(PlanFixture.api("two", fields: []), ["u2"])
    func accepted(_ user: String) async throws -> [UInt32] {
      let answer = try await send(plan, ["one", "two"], user: user, prefix: user)
      return [0, 1].filter { index in !answer.quarantined.contains { $0.index == index } }
    }
    #expect(try await accepted("u1") == [0])
    #expect(try await accepted("u2") == [1])
    #expect(try await accepted("u3") == [])
  }

  @Test func `the mode holds after a restart`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.plans.setMode(.strict, plan.caller)
    try await plan.publish(PlanFixture.api(fields: []))
    try plan.fixture.reopen()
    let answer = try await send(plan, ["buy", "mystery"], prefix: "a")
    #expect(answer.accepted == 1 && answer.quarantined.count == 1)
  }

  // MARK: Coverage

  @Test func `names and fields are counted once for each event`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api())
    for number in 0..<6 {
      let fields: [(String, ProtoFieldValue)] =
        number % 2 == 0
        ? [("price", .double(1)), ("extra", .boolean(true))]
        : [("extra", .boolean(true)), ("price", .double(2))]
      for _ in 0..<2 { _ = try await send(plan, ["buy"], prefix: "a\(number)", fields: fields) }
    }
    let coverage = try await plan.plans.coverage("shop")
    let buy = try #require(coverage.definitions.first)
    #expect(buy.events == 6 && buy.neverSent == ["sku"])
    #expect(buy.fields.map(\.name) == ["price"] && buy.fields[0].events == 6)
    #expect(buy.undeclared.map(\.name) == ["extra"] && buy.undeclared[0].events == 6)
    #expect(buy.firstSeenMs == Fixture.start && buy.lastSeenMs == Fixture.start)
  }

  @Test func `what is kept aside again is counted once`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.plans.setMode(.strict, plan.caller)
    for _ in 0..<3 { _ = try await send(plan, ["mystery"], prefix: "a") }
    let unregistered = try await plan.plans.coverage("shop").unregistered
    #expect(unregistered.map(\.quarantined) == [1] && unregistered.map(\.events) == [0])
  }

  @Test func `counts are exact after a restart and after a copy of a running file`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api(fields: [("n", .integer)]))
    for number in 0..<40 {
      _ = try await send(
        plan, ["buy", "other"], prefix: "a\(number)-",
        fields: number % 4 == 0 ? [("n", .integer(1))] : [])
    }
    let before = try await plan.plans.coverage("shop")
    #expect(before.definitions[0].events == 40 && before.definitions[0].fields[0].events == 10)
    // Closing writes no counts: they come from the log.
    try plan.fixture.reopen()
    #expect(try await plan.plans.coverage("shop") == before)
    try plan.fixture.reopen()
    #expect(try await plan.plans.coverage("shop") == before)
  }

  @Test func `more names than can be listed are counted as other`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api("zz_late", fields: []))
    for batch in 0..<5 {
      _ = try await send(plan, (0..<1_000).map { "n\(batch * 1_000 + $0)" }, prefix: "a\(batch)-")
    }
    var coverage = try await plan.plans.coverage("shop")
    let listed = coverage.unregistered.count
    #expect(listed == 4_000)
    #expect(coverage.unregistered.allSatisfy { $0.events == 1 })
    #expect(coverage.otherEvents == UInt64(5_000 - listed))
    // The plan's own names are counted all the same, and a new one too.
    try await plan.publish(PlanFixture.api("zz_later", fields: []))
    _ = try await send(plan, ["zz_late", "zz_later"], prefix: "z")
    coverage = try await plan.plans.coverage("shop")
    #expect(coverage.definitions.map(\.events) == [1, 1])
    try plan.fixture.reopen()
    #expect(try await plan.plans.coverage("shop").otherEvents == coverage.otherEvents)
  }

  @Test func `more combinations of fields than can be kept are counted by name`() async throws {
    let plan = try await PlanFixture.make()
    let values = (0..<13).map { ("f\($0)", ProtoFieldValue.boolean(true)) }
    for batch in 0..<5 {
      let events = (0..<1_000).map { number in
        let bits = batch * 1_000 + number
        return Fixture.event(
          "busy", id: "\(bits)",
          fields: values.enumerated().filter { bits >> $0.offset & 1 == 1 }.map(\.element))
      }
      _ = try await plan.fixture.send(events)
    }
    try await plan.publish(PlanFixture.api("busy", fields: []))
    let busy = try #require(try await plan.plans.coverage("shop").definitions.first)
    #expect(busy.events == 5_000)
    #expect((900...1_100).contains(busy.otherEvents))
  }

  // MARK: Test users

  @Test func `what test users send is shown with what became of it`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.test(PlanFixture.api("tried"), ["u1"])
    let service = IngestService(core: plan.fixture.core, now: { Fixture.start })
    let server = RPCServer(
      configuration: ServerConfiguration(
        host: "127.0.0.1", port: 0, eventLoops: 1, limits: ServerLimits()),
      services: service.services, authorizer: OpenAuthorizer(), logger: plan.fixture.logger)
    let channel = Channel(host: "127.0.0.1", port: try await server.start(), token: nil)
    var request = ProtoWatchTestRequest()
    request.appID = "shop"
    let watching = try await EventManagementClient(channel).watchTest(request)
    var answers = watching.makeAsyncIterator()
    #expect(try await answers.next()?.observations.isEmpty == true)
    let good: [(String, ProtoFieldValue)] = [("price", .double(1)), ("sku", .text("s"))]
    _ = try await send(plan, ["tried"], user: "u2", prefix: "a", fields: good)
    _ = try await send(plan, ["tried"], user: "u1", prefix: "b", fields: good)
    _ = try await send(plan, ["tried"], user: "u1", prefix: "b", fields: good)
    _ = try await send(plan, ["tried"], user: "u1", prefix: "c", fields: [("sku", .integer(1))])
    _ = try await send(plan, ["tried"], user: "u1", prefix: "d", fields: [("colour", .text("red"))])
    var seen: [ProtoTestObservation] = []
    while seen.count < 4 { seen += try #require(try await answers.next()).observations }
    #expect(seen.map(\.number) == [1, 2, 3, 4])
    #expect(seen.allSatisfy { $0.openID == "u1" && $0.inTest })
    #expect(seen.map(\.outcome) == ["accepted", "duplicate", "quarantined", "accepted"])
    #expect(seen.map(\.matched) == [true, true, false, false])
    #expect(seen[2].reason == "wrong_type" && seen[2].message.contains("sku"))
    #expect(seen[3].problems.map(\.reason) == ["missing", "missing", "unknown_field"])
    watching.cancel()
    await channel.close()
    await server.shutdown(graceMilliseconds: 1_000)
  }
}
