import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import Testing

/// From draft to publication and back.
@Suite struct EventManagementTests {
  @Test func `an event goes from draft over checked and test to published`() async throws {
    let plan = try await PlanFixture.make()
    let definition = PlanFixture.manual()
    var event = try await plan.save(definition)
    #expect(event.state == .draft && event.revision == 1 && event.version == 0)
    #expect(try await plan.check(definition).passed)
    event = try await plan.event("tap_buy").event
    #expect(event.state == .checked && event.revision == 2)
    event = try await plan.save(definition, .test(["u1", "u2", "u1"]))
    #expect(event.state == .test && event.testUsers == ["u1", "u2"] && !event.hasPublished)
    event = try await plan.save(definition, .publish)
    #expect(event.state == .published && event.version == 1 && event.testUsers.isEmpty)
    #expect(event.published == event.definition && event.publishedMs == Fixture.start)
    let history = try await plan.event("tap_buy").history
    #expect(history.map(\.action) == ["publish", "test", "check", "save"])
    #expect(history.map(\.event.revision) == [4, 3, 2, 1])
    #expect(history.allSatisfy { $0.event.changedBy.tokenID == "t1" })
  }

  @Test func `the history names the token by its label`() async throws {
    let plan = try await PlanFixture.make()
    var request = ProtoCreateTokenRequest()
    request.appID = "shop"
    request.scopes = ["plan:write", "plan:read"]
    request.label = "pipeline"
    let token = try await plan.fixture.core.createToken(request, now: Fixture.start).token
    let caller = PlanCaller(appID: "shop", tokenID: token.tokenID, now: Fixture.start + 5)
    let event = try await plan.plans.save(
      PlanFixture.api(), .keep, expectedRevision: 0, caller)
    #expect(event.changedBy.label == "pipeline" && event.changedBy.tokenID == token.tokenID)
    #expect(event.createdMs == Fixture.start + 5)
  }

  @Test(arguments: [EventManagement.Goal.publish, .test(["u1"])])
  func `nothing is tested or published that was not checked`(_ goal: EventManagement.Goal)
    async throws
  {
    let plan = try await PlanFixture.make()
    let error = try await plan.refusal { _ = try await plan.save(PlanFixture.api(), goal) }
    #expect(error.code == .failedPrecondition && error.message.contains("CheckFields"))
    // Another content than what was checked.
    _ = try await plan.check(PlanFixture.api())
    let other = PlanFixture.api(fields: [("price", .double)])
    #expect(
      try await plan.refusal { _ = try await plan.save(other, goal) }.code == .failedPrecondition)
    _ = try await plan.save(PlanFixture.api(), goal)
  }

  @Test func `what was checked is refused where it passes no longer`() async throws {
    let plan = try await PlanFixture.make()
    let definition = PlanFixture.manual()
    #expect(try await plan.check(definition).passed)
    _ = try await plan.plans.setPages(["pages/index"], plan.caller)
    let error = try await plan.refusal { _ = try await plan.save(definition, .publish) }
    #expect(error.code == .failedPrecondition && error.message.contains("pages/cart"))
  }

  @Test func `what was checked is known after a restart`() async throws {
    let plan = try await PlanFixture.make()
    #expect(try await plan.check(PlanFixture.api()).passed)
    try plan.fixture.reopen()
    #expect(try await plan.save(PlanFixture.api(), .publish).version == 1)
    try plan.fixture.reopen()
    #expect(try await plan.event("buy").event.state == .published)
  }

  @Test func `names never change and are never shared`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.save(PlanFixture.api("buy", chinese: "购买"))
    let renamed = try await plan.refusal {
      _ = try await plan.save(PlanFixture.api("buy", chinese: "下单"))
    }
    #expect(renamed.code == .invalidArgument && renamed.message.contains("never changes"))
    let taken = try await plan.refusal {
      _ = try await plan.save(PlanFixture.api("order", chinese: "购买"))
    }
    #expect(taken.code == .alreadyExists && taken.message.contains("\"buy\""))
    // The same letters in another form are the same name.
    _ = try await plan.save(PlanFixture.api("cafe", chinese: "caf\u{e9}"))
    let other = try await plan.refusal {
      _ = try await plan.save(PlanFixture.api("cafe2", chinese: "cafe\u{301}"))
    }
    #expect(other.code == .alreadyExists)
    // An archived event keeps its names.
    _ = try await plan.plans.archive("buy", plan.caller)
    #expect(
      try await plan.refusal { _ = try await plan.save(PlanFixture.api("order", chinese: "购买")) }
        .code == .alreadyExists)
  }

  @Test(arguments: [33, 64]) func `a draft too has names that obey the rules`(_ count: Int)
    async throws
  {
    let plan = try await PlanFixture.make()
    let long = try await plan.refusal {
      _ = try await plan.save(PlanFixture.api(String(repeating: "a", count: count)))
    }
    #expect(long.code == .invalidArgument && long.message.contains("got \(count)"))
    // But it may be incomplete.
    #expect(try await plan.save(PlanFixture.manual { $0.manual.actions = [] }).state == .draft)
  }

  @Test func `saving the same again changes nothing`() async throws {
    let plan = try await PlanFixture.make()
    let first = try await plan.publish(PlanFixture.api())
    let head = plan.fixture.core.head
    #expect(try await plan.save(PlanFixture.api(), .publish) == first)
    #expect(try await plan.save(PlanFixture.api()) == first)
    #expect(plan.fixture.core.head == head)
  }

  @Test func `a changed event is published again under the next version`() async throws {
    let plan = try await PlanFixture.make()
    let old = try await plan.publish(PlanFixture.api())
    let changed = PlanFixture.api(fields: [
      ("price", .double), ("sku", .string), ("count", .integer),
    ])
    let draft = try await plan.save(changed)
    #expect(draft.state == .draft && draft.published == old.published && draft.version == 1)
    let again = try await plan.publish(changed)
    #expect(again.version == 2 && again.published.fields.count == 3)
    let history = try await plan.event("buy").history
    #expect(history.first { $0.action == "save" }?.details == ["fields.count: added (integer)"])
    // Back to what is published: no new version.
    #expect(try await plan.save(changed).version == 2)
  }

  @Test func `who changes an old revision is told`() async throws {
    let plan = try await PlanFixture.make()
    let first = try await plan.save(PlanFixture.api())
    _ = try await plan.save(PlanFixture.api(fields: []), expected: first.revision)
    let error = try await plan.refusal {
      _ = try await plan.save(PlanFixture.api(fields: [("sku", .string)]), expected: first.revision)
    }
    #expect(error.code == .aborted && error.message.contains("revision 2"))
  }

  @Test(arguments: [[], (0...20).map { "u\($0)" }, [""], [String(repeating: "u", count: 129)]])
  func `test users are named, and few`(_ users: [String]) async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.check(PlanFixture.api())
    let error = try await plan.refusal { _ = try await plan.save(PlanFixture.api(), .test(users)) }
    #expect(error.code == .invalidArgument && error.message.hasPrefix("test_users"))
  }

  @Test func `an archived event can be saved again`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api())
    let archived = try await plan.plans.archive("buy", plan.caller)
    #expect(archived.state == .archived && !archived.hasPublished && archived.version == 1)
    #expect(try await plan.plans.archive("buy", plan.caller) == archived)
    #expect(try await plan.save(PlanFixture.api()).state == .checked)
    #expect(try await plan.save(PlanFixture.api(), .publish).version == 2)
    #expect(
      try await plan.refusal { _ = try await plan.plans.archive("nothing", plan.caller) }.code
        == .notFound)
  }

  @Test func `events are listed in pages, by filters`() async throws {
    let plan = try await PlanFixture.make()
    for number in 0..<7 { _ = try await plan.save(PlanFixture.api("e\(number)", fields: [])) }
    _ = try await plan.save(PlanFixture.manual("tap"))
    _ = try await plan.plans.archive("e3", plan.caller)
    var names: [String] = []
    var request = ProtoListEventsRequest()
    request.pageSize = 3
    repeat {
      let answer = try await plan.plans.list(request, "shop")
      #expect(answer.total == 7 && answer.events.count <= 3)
      names += answer.events.map(\.definition.name)
      request.pageToken = answer.nextPageToken
    } while !request.pageToken.isEmpty
    #expect(names == ["e0", "e1", "e2", "e4", "e5", "e6", "tap"])
    func listed(_ change: (inout ProtoListEventsRequest) -> Void) async throws -> [String] {
      var request = ProtoListEventsRequest()
      change(&request)
      return try await plan.plans.list(request, "shop").events.map(\.definition.name)
    }
    #expect(try await listed { $0.states = [.archived] } == ["e3"])
    #expect(try await listed { $0.method = .manual } == ["tap"])
    #expect(try await listed { $0.text = "事件 e5" } == ["e5"])
    for (field, change): (String, @Sendable (inout ProtoListEventsRequest) -> Void) in [
      ("page_size", { $0.pageSize = 201 }), ("page_token", { $0.pageToken = "E" }),
      ("text", { $0.text = String(repeating: "x", count: 129) }),
    ] {
      let error = try await plan.refusal { _ = try await listed(change) }
      #expect(error.code == .invalidArgument && error.message.hasPrefix(field))
    }
  }

  @Test func `the history is bounded and read in pages`() async throws {
    let plan = try await PlanFixture.make()
    for number in 0..<1_010 {
      _ = try await plan.save(PlanFixture.api(fields: number % 2 == 0 ? [] : [("sku", .string)]))
    }
    var seen: [UInt32] = []
    var request = ProtoGetEventRequest()
    request.name = "buy"
    request.historySize = 100
    while true {
      let history = try await plan.plans.event(request, "shop").history
      guard let last = history.last else { break }
      seen += history.map(\.event.revision)
      request.beforeRevision = last.event.revision
    }
    #expect(seen == (11...1_010).reversed())
    let error = try await plan.refusal { _ = try await plan.event("buy", history: 101) }
    #expect(error.message.hasPrefix("history_size"))
  }

  @Test func `every change is a record of the log`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.plans.setMode(.strict, plan.caller)
    try await plan.publish(PlanFixture.manual())
    let records = try await plan.fixture.records().compactMap { record -> ProtoPlanRecord? in
      guard case .plan(let bytes) = record.body else { return nil }
      #expect(record.appID == "shop" && record.count == 1)
      return try ProtoPlanRecord(serializedBytes: bytes)
    }
    #expect(records.count == 4)
    #expect(records[0].plan.pages == ["pages/cart", "pages/index"])
    #expect(records[1].plan.mode == .strict)
    #expect(records[2].event.published == records[2].event.definition)
    #expect(records[3].plan.configVersion == 1)
  }

  @Test func `an app never sees another's plan`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.api())
    var app = ProtoApp()
    app.appID = "other"
    _ = try await plan.fixture.core.createApp(app, now: Fixture.start)
    let other = PlanFixture(plan.fixture, app: "other")
    #expect(try await other.refusal { _ = try await other.event("buy") }.code == .notFound)
    #expect(try await other.plans.plan("other").events == 0)
    // The same names are free there.
    #expect(try await other.publish(PlanFixture.api()).version == 1)
    let nowhere = PlanFixture(plan.fixture, app: "nowhere")
    #expect(
      try await nowhere.refusal { _ = try await nowhere.save(PlanFixture.api()) }.code == .notFound)
  }

  @Test func `a page list obeys the rules of pages`() async throws {
    let plan = try await PlanFixture.make()
    for pages in [
      [""], ["pages/a?x=1"], [String(repeating: "p", count: 513)], ["a", "a"],
      (0...2_000).map { "p\($0)" },
    ] {
      let error = try await plan.refusal { _ = try await plan.plans.setPages(pages, plan.caller) }
      #expect(error.code == .invalidArgument && error.message.hasPrefix("pages"))
    }
    #expect(try await plan.plans.plan("shop").pages == ["pages/cart", "pages/index"])
    let mode = try await plan.refusal {
      _ = try await plan.plans.setMode(.UNRECOGNIZED(7), plan.caller)
    }
    #expect(mode.code == .invalidArgument && mode.message.contains("7"))
  }

  // MARK: What SDKs carry out

  @Test func `an SDK gets what is published, and nothing where it has the version`() async throws {
    let plan = try await PlanFixture.make()
    #expect(try plan.config().events.isEmpty)
    try await plan.publish(PlanFixture.manual())
    try await plan.publish(PlanFixture.api())
    let config = try plan.config()
    #expect(config.version == 1 && config.events.map(\.name) == ["tap_buy"])
    #expect(config.events[0].manual.actions[0].element == "#buy" && config.events[0].version == 1)
    let same = try plan.config(known: 1)
    #expect(same.notModified && same.events.isEmpty && same.version == 1)
    // An older one, or one of another life of the app.
    #expect(try plan.config(known: 7).events.count == 1)
    _ = try await plan.plans.archive("tap_buy", plan.caller)
    #expect(try plan.config(known: 1).version == 2)
    #expect(try plan.config().events.isEmpty)
    try plan.fixture.reopen()
    #expect(try plan.config().version == 2)
  }

  @Test func `a test user's SDK gets what is in test, in place of what is published`() async throws
  {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.manual())
    try await plan.test(PlanFixture.manual { $0.manual.actions[0].element = "#buy2" }, ["u1"])
    #expect(try plan.config(user: "u2").events.map(\.manual.actions[0].element) == ["#buy"])
    let config = try plan.config(known: 1, user: "u1")
    #expect(config.events.map(\.manual.actions[0].element) == ["#buy2"])
    #expect(config.events[0].inTest && config.version == 2)
  }
}
