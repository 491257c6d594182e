import Ingest
import Messages
import RPC
import Testing

/// What CheckFields finds.
@Suite struct DefinitionTests {
  typealias Change = @Sendable (inout ProtoEventDefinition) -> Void

  struct Case: Sendable, CustomTestStringConvertible {
    let field: String
    let reason: String
    let mentions: String
    let change: Change
    var testDescription: String { "\(field): \(reason)" }

    init(_ field: String, _ reason: String, _ mentions: String, _ change: @escaping Change) {
      (self.field, self.reason, self.mentions, self.change) = (field, reason, mentions, change)
    }
  }

  private static func action(_ change: @escaping @Sendable (inout ProtoEventAction) -> Void)
    -> Change
  {
    { change(&$0.manual.actions[0]) }
  }

  static let refusals: [Case] = [
    Case("name", "required", "required") { $0.name = "" },
    Case("name", "too_long", "got 33") { $0.name = String(repeating: "a", count: 33) },
    Case("name", "bad_name", "\"Buy\"") { $0.name = "Buy" },
    Case("name", "bad_name", "\"1buy\"") { $0.name = "1buy" },
    Case("name", "bad_name", "\"$click\"") { $0.name = "$click" },
    Case("name", "bad_name", "\"购买\"") { $0.name = "购买" },
    Case("chinese_name", "required", "1-32") { $0.chineseName = "" },
    Case("chinese_name", "too_long", "got 33") {
      $0.chineseName = String(repeating: "买", count: 33)
    },
    Case("chinese_name", "bad_name", "space") { $0.chineseName = " 买" },
    Case("chinese_name", "bad_name", "control") { $0.chineseName = "买\u{7}" },
    Case("description", "too_long", "1024") {
      $0.description_p = String(repeating: "x", count: 1_025)
    },
    Case("method", "out_of_range", "9") { $0.method = .UNRECOGNIZED(9) },
    Case("manual", "not_allowed", "MANUAL") { $0.method = .api },
    Case("manual.template", "out_of_range", "9") { $0.manual.template = .UNRECOGNIZED(9) },
    Case("manual.report_type", "out_of_range", "9") { $0.manual.reportType = .UNRECOGNIZED(9) },
    Case("manual.actions", "required", "1-10") { $0.manual.actions = [] },
    Case("manual.actions", "too_many", "got 11") {
      $0.manual.actions = Array(repeating: $0.manual.actions[0], count: 11)
    },
    Case("manual.actions[0].trigger", "required", "BLANK", action { $0.trigger = .unspecified }),
    Case(
      "manual.actions[0].trigger", "out_of_range", "99", action { $0.trigger = .UNRECOGNIZED(99) }),
    Case("manual.actions[0].trigger", "not_allowed", "enterPage") {
      $0.manual.template = .enterPage
    },
    Case("manual.actions[0].page_path", "required", "required", action { $0.pagePath = "" }),
    Case(
      "manual.actions[0].page_path", "unknown_page", "pages/nowhere",
      action { $0.pagePath = "pages/nowhere" }),
    Case("manual.actions[0].element", "required", "click", action { $0.element = "" }),
    Case("manual.actions[0].element", "bad_name", "buy", action { $0.element = "buy" }),
    Case("manual.actions[0].element", "bad_name", "selector", action { $0.element = "#buy;" }),
    Case(
      "manual.actions[0].element", "too_long", "257",
      action { $0.element = "#" + String(repeating: "x", count: 256) }),
    Case("manual.actions[0].element", "not_allowed", "click", action { $0.trigger = .pageLoad }),
    Case("manual.actions[0].step", "not_allowed", "START", action { $0.step = .start }),
    Case("manual.actions[0].step", "required", "START") { $0.manual.reportType = .stepByStep },
    Case("manual.actions", "required", "REPORT") {
      $0.manual.reportType = .stepByStep
      $0.manual.actions[0].step = .start
    },
    Case("manual.actions", "required", "START") {
      $0.manual.reportType = .stepByStep
      $0.manual.actions[0].step = .report
    },
    Case(
      "manual.actions[0].data[0].field", "unknown_field", "nothing",
      action { $0.data[0].field = "nothing" }),
    Case(
      "manual.actions[0].data[0].field", "required", "required", action { $0.data[0].field = "" }),
    Case(
      "manual.actions[0].data[1].field", "duplicate", "total", action { $0.data.append($0.data[0]) }
    ),
    Case("manual.actions[0].data[0].path", "bad_name", "a..b", action { $0.data[0].path = "a..b" }),
    Case("manual.actions[0].data[0].path", "required", "cart", action { $0.data[0].path = "" }),
    Case("fields[0]", "unmapped", "total", action { $0.data = [] }),
    Case("fields[1].name", "duplicate", "total") { $0.fields.append($0.fields[0]) },
    Case("fields[0].name", "reserved", "a default field") { $0.fields[0].name = "province" },
    Case("fields[0].name", "reserved", "context") { $0.fields[0].name = "scene" },
    Case("fields[0].name", "bad_name", "Total") { $0.fields[0].name = "Total" },
    Case("fields[0].type", "required", "STRING") { $0.fields[0].type = .unspecified },
    Case("fields[0].type", "out_of_range", "7") { $0.fields[0].type = .UNRECOGNIZED(7) },
    Case("fields[0].description", "too_long", "257") {
      $0.fields[0].description_p = String(repeating: "x", count: 257)
    },
    Case("fields", "too_many", "got 65") { $0.fields = Array(repeating: $0.fields[0], count: 65) },
    Case("definition", "too_long", "65536") { definition in
      definition.fields = (0..<64).map { number in
        var field = definition.fields[0]
        field.name = "f\(number)"
        return field
      }
      definition.manual.actions[0].data = definition.fields.map { field in
        var mapping = ProtoDataMapping()
        mapping.field = field.name
        mapping.path = String(repeating: "x", count: 250)
        return mapping
      }
      definition.manual.actions = Array(repeating: definition.manual.actions[0], count: 10)
    },
    Case("default_fields[0]", "unknown_field", "colour") { $0.defaultFields = ["colour"] },
    Case("default_fields[1]", "duplicate", "city") { $0.defaultFields = ["city", "city"] },
  ]

  @Test(arguments: refusals)
  func `a definition that breaks a rule is told so by field, reason and value`(_ one: Case)
    async throws
  {
    let plan = try await PlanFixture.make()
    let answer = try await plan.check(PlanFixture.manual(change: one.change))
    #expect(!answer.passed)
    let found = answer.violations.filter { $0.field == one.field && $0.reason == one.reason }
    #expect(found.contains { $0.message.contains(one.mentions) }, "\(answer.violations)")
    #expect(found.allSatisfy { $0.message.hasPrefix(one.field) })
    // And it was not remembered as checked.
    let definition = PlanFixture.manual(change: one.change)
    let error = try await plan.refusal { _ = try await plan.save(definition, .publish) }
    #expect([.failedPrecondition, .invalidArgument].contains(error.code))
  }

  @Test func `everything that is wrong is answered at once, in order`() async throws {
    let plan = try await PlanFixture.make()
    let answer = try await plan.check(
      PlanFixture.manual {
        $0.name = "Bad"
        $0.chineseName = ""
        $0.manual.actions[0].pagePath = "nowhere"
        $0.fields[0].type = .unspecified
      })
    #expect(
      answer.violations.map(\.field) == [
        "name", "chinese_name", "manual.actions[0].page_path", "fields[0].type",
      ])
  }

  @Test func `a good definition has a table of the default fields and its own`() async throws {
    let plan = try await PlanFixture.make()
    let answer = try await plan.check(PlanFixture.manual())
    #expect(answer.passed && answer.violations.isEmpty)
    #expect(answer.fields.count == 17)
    #expect(answer.fields.prefix(16).allSatisfy { $0.source == .default })
    #expect(answer.fields.map(\.name).prefix(3) == ["open_id", "country", "province"])
    #expect(answer.fields[7].type == .integer)
    let own = try #require(answer.fields.last)
    #expect(own.name == "total" && own.type == .double && own.source == .custom && !own.typeDecided)
    let few = try await plan.check(PlanFixture.manual { $0.defaultFields = ["city", "province"] })
    #expect(few.fields.map(\.name) == ["province", "city", "total"])
  }

  @Test(arguments: [
    "#buy", ".goods", ".goods.big", "#list .goods", "#list > .goods", ".a-b_c",
  ])
  func `selectors of ids and classes are taken`(_ element: String) async throws {
    let plan = try await PlanFixture.make()
    #expect(
      try await plan.check(PlanFixture.manual { $0.manual.actions[0].element = element }).passed)
  }

  @Test(arguments: [ProtoTrigger.launch, .background, .foreground])
  func `an action of the mini program needs no page`(_ trigger: ProtoTrigger) async throws {
    let plan = try await PlanFixture.make()
    let answer = try await plan.check(
      PlanFixture.manual {
        $0.manual.actions[0].trigger = trigger
        $0.manual.actions[0].pagePath = ""
        $0.manual.actions[0].element = ""
      })
    #expect(answer.passed, "\(answer.violations)")
  }

  @Test(arguments: [
    (ProtoEventTemplate.enterPage, ProtoTrigger.enterPage), (.exitPage, .leavePage),
    (.share, .share),
  ])
  func `a template fills in its trigger`(_ template: ProtoEventTemplate, _ trigger: ProtoTrigger)
    async throws
  {
    let plan = try await PlanFixture.make()
    let definition = PlanFixture.manual {
      $0.manual.template = template
      $0.manual.actions[0].trigger = .unspecified
      $0.manual.actions[0].element = ""
    }
    let answer = try await plan.check(definition)
    #expect(answer.passed, "\(answer.violations)")
    let saved = try await plan.save(definition)
    #expect(saved.definition.manual.actions[0].trigger == trigger)
    #expect(saved.state == .checked)
  }

  @Test func `a step-by-step event starts and reports`() async throws {
    let plan = try await PlanFixture.make()
    let answer = try await plan.check(
      PlanFixture.manual {
        $0.manual.reportType = .stepByStep
        $0.manual.actions.append($0.manual.actions[0])
        $0.manual.actions[0].step = .start
        $0.manual.actions[1].step = .report
      })
    #expect(answer.passed, "\(answer.violations)")
  }

  @Test func `ten actions are taken`() async throws {
    let plan = try await PlanFixture.make()
    let answer = try await plan.check(
      PlanFixture.manual { $0.manual.actions = Array(repeating: $0.manual.actions[0], count: 10) })
    #expect(answer.passed, "\(answer.violations)")
  }

  @Test func `a type that an event has decided cannot be declared otherwise`() async throws {
    let plan = try await PlanFixture.make()
    _ = try await plan.fixture.send([Fixture.event(id: "1", fields: [("total", .integer(5))])])
    let answer = try await plan.check(PlanFixture.manual())
    let violation = try #require(answer.violations.first)
    #expect(violation.field == "fields[0].type" && violation.reason == "wrong_type")
    #expect(violation.message.contains("integer") && violation.message.contains("double"))
    #expect(answer.fields.last?.typeDecided == true)
  }

  @Test func `a published definition decides the types of its fields`() async throws {
    let plan = try await PlanFixture.make()
    try await plan.publish(PlanFixture.manual())
    let wrong = PlanFixture.api("other", fields: [("total", .string)])
    #expect(try await plan.check(wrong).violations.map(\.field) == ["fields[0].type"])
    try plan.fixture.reopen()
    #expect(try await plan.check(wrong).violations.map(\.field) == ["fields[0].type"])
  }
}
