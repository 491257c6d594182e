import Foundation
import Ingest
import Messages
import RPC
import Testing

/// Short ways to the plan of the app `shop`.
struct PlanFixture {
  let fixture: Fixture
  let app: String

  init(_ fixture: Fixture, app: String = "shop") {
    self.fixture = fixture
    self.app = app
  }

  static func make() async throws -> PlanFixture {
    let plan = PlanFixture(try await Fixture())
    _ = try await plan.plans.setPages(["pages/index", "pages/cart"], plan.caller)
    return plan
  }

  var plans: EventManagement { fixture.core.plans }
  var caller: PlanCaller { PlanCaller(appID: app, tokenID: "t1", now: Fixture.start) }

  /// An event that the mini program's code sends.
  static func api(
    _ name: String = "buy", chinese: String? = nil,
    fields: [(String, ProtoFieldType)] = [("price", .double), ("sku", .string)]
  ) -> ProtoEventDefinition {
    var definition = ProtoEventDefinition()
    definition.name = name
    definition.chineseName = chinese ?? "事件 \(name)"
    definition.method = .api
    definition.fields = fields.map { name, type in
      var field = ProtoFieldDefinition()
      field.name = name
      field.type = type
      return field
    }
    return definition
  }

  /// An event that the SDK sends on a tap.
  static func manual(
    _ name: String = "tap_buy", page: String = "pages/cart", chinese: String? = nil,
    change: (inout ProtoEventDefinition) -> Void = { _ in }
  ) -> ProtoEventDefinition {
    var definition = api(name, chinese: chinese, fields: [("total", .double)])
    definition.method = .manual
    var action = ProtoEventAction()
    action.trigger = .click
    action.pagePath = page
    action.element = "#buy"
    var mapping = ProtoDataMapping()
    mapping.field = "total"
    mapping.path = "cart.items[0].total"
    action.data = [mapping]
    definition.manual.actions = [action]
    change(&definition)
    return definition
  }

  func check(_ definition: ProtoEventDefinition) async throws -> ProtoCheckFieldsResponse {
    try await plans.checkFields(definition, caller)
  }

  func save(
    _ definition: ProtoEventDefinition, _ goal: EventManagement.Goal = .keep,
    expected: UInt32 = 0
  ) async throws -> ProtoPlannedEvent {
    try await plans.save(definition, goal, expectedRevision: expected, caller)
  }

  /// Checked first, as it must be.
  @discardableResult func publish(_ definition: ProtoEventDefinition) async throws
    -> ProtoPlannedEvent
  {
    let answer = try await check(definition)
    try #require(answer.passed, "\(answer.violations)")
    return try await save(definition, .publish)
  }

  @discardableResult func test(
    _ definition: ProtoEventDefinition, _ users: [String]
  ) async throws -> ProtoPlannedEvent {
    let answer = try await check(definition)
    try #require(answer.passed, "\(answer.violations)")
    return try await save(definition, .test(users))
  }

  func refusal(_ call: () async throws -> Void) async throws -> RPCError {
    try await #require(throws: RPCError.self) { try await call() }
  }

  func event(_ name: String, history: UInt32 = 100) async throws -> ProtoGetEventResponse {
    var request = ProtoGetEventRequest()
    request.name = name
    request.historySize = history
    return try await plans.event(request, app)
  }

  func config(known: UInt64 = 0, user: String = "") throws -> ProtoTrackingConfig {
    var request = ProtoGetTrackingConfigRequest()
    request.knownVersion = known
    request.openID = user
    return try plans.trackingConfig(request, app)
  }

  func apply(_ text: String, dryRun: Bool = false) async throws -> ProtoApplyPlanResponse {
    var request = ProtoApplyPlanRequest()
    request.text = text
    request.dryRun = dryRun
    return try await plans.apply(request, caller)
  }

  func export() async throws -> String { try await plans.export(app).text }
}
