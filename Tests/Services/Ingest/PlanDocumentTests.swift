import Foundation
import Ingest
import Messages
import RPC
import Testing

/// Plan as code.
@Suite struct PlanDocumentTests {
  private func filled() async throws -> PlanFixture {
    let plan = try await PlanFixture.make()
    _ = try await plan.plans.setMode(.strict, plan.caller)
    try await plan.publish(PlanFixture.manual())
    try await plan.publish(PlanFixture.api("buy", chinese: "购买 \"引号\""))
    _ = try await plan.save(PlanFixture.api("idea", fields: [("note", .string)]))
    try await plan.test(PlanFixture.api("tried", fields: []), ["u1"])
    return plan
  }

  private func other(_ plan: PlanFixture, _ name: String = "other") async throws -> PlanFixture {
    var app = ProtoApp()
    app.appID = name
    _ = try await plan.fixture.core.createApp(app, now: Fixture.start)
    return PlanFixture(plan.fixture, app: name)
  }

  @Test func `a plan that is applied to another app is equal there`() async throws {
    let plan = try await filled()
    let text = try await plan.export()
    #expect(text.hasSuffix("}\n") && text.contains("\n  \"mode\": \"PLAN_MODE_STRICT\",\n"))
    #expect(text.contains("购买 \\\"引号\\\""))
    let other = try await other(plan)
    let answer = try await other.apply(text)
    #expect(answer.applied)
    #expect(answer.differences.map(\.kind) == ["mode", "pages", "add", "add", "add", "add"])
    #expect(try await other.export() == text)
    #expect(try await other.event("buy").event.version == 1)
    #expect(try await other.event("idea").event.state == .checked)
    #expect(try other.config().events.map(\.name) == ["tap_buy"])
  }

  @Test func `applying the same again changes nothing`() async throws {
    let plan = try await filled()
    let text = try await plan.export()
    let head = plan.fixture.core.head
    let answer = try await plan.apply(text)
    #expect(answer.applied && answer.differences.isEmpty)
    #expect(plan.fixture.core.head == head)
  }

  @Test func `a dry run tells the changes and makes none`() async throws {
    let plan = try await filled()
    let other = try await other(plan)
    let empty = try await other.export()
    let head = plan.fixture.core.head
    let answer = try await other.apply(try await plan.export(), dryRun: true)
    #expect(!answer.applied && answer.differences.count == 6 && answer.violations.isEmpty)
    #expect(try await other.export() == empty)
    #expect(plan.fixture.core.head == head)
  }

  @Test func `every kind of difference is told and made`() async throws {
    let plan = try await filled()
    let text = try await plan.export()
    let other = try await other(plan)
    _ = try await other.apply(text)
    // Withdrawn, changed, archived, published.
    _ = try await plan.plans.setMode(.open, plan.caller)
    _ = try await plan.plans.archive("tap_buy", plan.caller)
    _ = try await plan.save(PlanFixture.manual { $0.manual.actions[0].element = "#buy3" })
    _ = try await plan.plans.archive("tried", plan.caller)
    try await plan.publish(
      PlanFixture.api("buy", chinese: "购买 \"引号\"", fields: [("price", .double)]))
    try await plan.publish(PlanFixture.api("idea", fields: [("note", .string)]))
    let answer = try await other.apply(try await plan.export())
    #expect(
      answer.differences.map { "\($0.kind) \($0.name)" } == [
        "mode ", "change buy", "publish idea", "withdraw tap_buy", "archive tried",
      ])
    #expect(answer.differences[1].details == ["fields.sku: removed"])
    #expect(try await other.export() == (try await plan.export()))
    #expect(try await other.event("buy").event.version == 2)
    #expect(try other.config().events.isEmpty)
  }

  @Test func `a plan with violations is refused as a whole`() async throws {
    let plan = try await filled()
    let before = try await plan.export()
    let bad = before.replacingOccurrences(
      of: "pages/cart\",\n        ", with: "pages/gone\",\n        "
    )
    .replacingOccurrences(of: "\"#buy\"", with: "\"buy\"")
    try #require(bad != before)
    let dry = try await plan.apply(bad, dryRun: true)
    #expect(
      dry.violations.contains { $0.field == "events[2].definition.manual.actions[0].element" })
    let error = try await plan.refusal { _ = try await plan.apply(bad) }
    #expect(error.code == .invalidArgument && error.message.contains("events[2].definition.manual"))
    #expect(try await plan.export() == before)
  }

  @Test(arguments: [
    ("", "PlanDocument"), ("[]", "PlanDocument"), ("{\"colour\": 1}", "colour"),
    ("{\"pages\": [\"a?b\"]}", "pages[0]"),
    ("{\"events\": [{\"definition\": {\"name\": \"A\"}}]}", "events[0].definition.name"),
  ])
  func `a text that is no plan is refused`(_ text: String, _ mentions: String) async throws {
    let plan = try await PlanFixture.make()
    let error = try await plan.refusal { _ = try await plan.apply(text) }
    #expect(error.code == .invalidArgument && error.message.contains(mentions), "\(error)")
  }

  @Test func `events of one plan do not contradict one another`() async throws {
    let plan = try await PlanFixture.make()
    func event(_ name: String, _ chinese: String, _ type: String) -> String {
      """
      {"definition": {"name": "\(name)", "chinese_name": "\(chinese)",
        "fields": [{"name": "x", "type": "FIELD_TYPE_\(type)"}]}, "published": true}
      """
    }
    func violations(_ events: [String]) async throws -> [String] {
      let text = "{\"events\": [\(events.joined(separator: ","))]}"
      return try await plan.apply(text, dryRun: true).violations.map { "\($0.field) \($0.reason)" }
    }
    #expect(
      try await violations([event("a", "一", "STRING"), event("b", "二", "DOUBLE")])
        == ["events[1].definition.fields[0].type wrong_type"])
    #expect(
      try await violations([event("a", "一", "STRING"), event("b", "一", "STRING")])
        == ["events[1].definition.chinese_name taken"])
    #expect(
      try await violations([event("a", "一", "STRING"), event("a", "一", "STRING")])
        == ["events[1].definition.name duplicate"])
    #expect(try await violations([event("a", "一", "STRING"), event("b", "二", "STRING")]) == [])
  }

  @Test func `a name that is renamed in the file is refused`() async throws {
    let plan = try await filled()
    let text = try await plan.export()
    let renamed = text.replacingOccurrences(of: "事件 idea", with: "主意")
    let error = try await plan.refusal { _ = try await plan.apply(renamed) }
    #expect(error.code == .invalidArgument && error.message.contains("never changes"))
    // Under another English name the Chinese one is still taken.
    let moved = text.replacingOccurrences(of: "\"idea\"", with: "\"notion\"")
    let taken = try await plan.refusal { _ = try await plan.apply(moved) }
    #expect(taken.message.contains("taken by the event \"idea\""))
  }
}
