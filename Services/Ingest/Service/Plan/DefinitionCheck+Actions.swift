import Events
import Messages

/// The method, and what is configured by hand.
extension DefinitionCheck {
  // MARK: Configuration

  mutating func checkMethod() {
    switch definition.method {
    case .api, .unspecified:
      if definition.hasManual {
        add("manual", .notAllowed, "only with the method MANUAL")
      }
    case .manual: checkManual()
    case .UNRECOGNIZED(let number):
      add("method", .outOfRange, "API or MANUAL; got \(number)")
    }
  }

  private mutating func checkManual() {
    let manual = definition.manual
    if case .UNRECOGNIZED(let number) = manual.template {
      add("manual.template", .outOfRange, "BLANK, ENTER_PAGE, EXIT_PAGE or SHARE; got \(number)")
    }
    if case .UNRECOGNIZED(let number) = manual.reportType {
      add("manual.report_type", .outOfRange, "ONE_TIME or STEP_BY_STEP; got \(number)")
    }
    let field = "manual.actions"
    if manual.actions.isEmpty {
      add(field, .required, "1-\(Limits.Plan.actionsMax) actions")
    }
    checkCount(field, manual.actions.count, max: Limits.Plan.actionsMax)
    for (index, action) in manual.actions.prefix(Limits.Plan.actionsMax).enumerated() {
      check(action, "\(field)[\(index)]")
    }
    checkSteps(manual)
    checkMapped(manual)
  }

  private mutating func checkSteps(_ manual: ProtoManualConfiguration) {
    guard manual.reportType == .stepByStep, !manual.actions.isEmpty else { return }
    let steps = manual.actions.map(\.step)
    if !steps.contains(.start) {
      add("manual.actions", .required, "a step-by-step event has an action of the step START")
    }
    if !steps.contains(.report) {
      add("manual.actions", .required, "a step-by-step event has an action of the step REPORT")
    }
  }

  /// A field that nothing fills would never be sent.
  private mutating func checkMapped(_ manual: ProtoManualConfiguration) {
    let mapped = Set(manual.actions.flatMap { $0.data.map(\.field) })
    for (index, field) in definition.fields.prefix(Limits.Plan.fieldsMax).enumerated()
    where !mapped.contains(field.name) {
      add(
        "fields[\(index)]", .unmapped,
        "no action fills \(Self.quoted(field.name)): map it to the page's data")
    }
  }

  // MARK: Actions

  private mutating func check(_ action: ProtoEventAction, _ path: String) {
    checkTrigger(action, path)
    checkPage(action, path)
    checkElement(action, path)
    checkStep(action, path)
    checkCount("\(path).data", action.data.count, max: Limits.Plan.fieldsMax)
    var mapped: Set<String> = []
    for (index, mapping) in action.data.prefix(Limits.Plan.fieldsMax).enumerated() {
      let isFirst = mapped.insert(mapping.field).inserted
      check(mapping, "\(path).data[\(index)]", isFirst: isFirst)
    }
  }

  private mutating func checkTrigger(_ action: ProtoEventAction, _ path: String) {
    let field = "\(path).trigger"
    switch action.trigger {
    case .unspecified: add(field, .required, "required with the template BLANK")
    case .UNRECOGNIZED(let number): add(field, .outOfRange, "there is no trigger \(number)")
    default:
      guard let wanted = definition.manual.template.trigger, wanted != action.trigger else {
        return
      }
      add(
        field, .notAllowed,
        "the template means \(wanted.word); got \(action.trigger.word): take the template BLANK")
    }
  }

  private mutating func checkPage(_ action: ProtoEventAction, _ path: String) {
    let field = "\(path).page_path"
    let page = action.pagePath
    if page.isEmpty {
      if !action.trigger.isOfApp { add(field, .required, "required with this trigger") }
      return
    }
    let max = EventLimits.pagePathBytesMax
    guard page.utf8.count <= max else { return checkLength(field, page, max: max) }
    guard surroundings.pages.contains(page) else {
      return add(field, .unknownPage, "\(Self.quoted(page)) is not in the app's page list")
    }
  }

  private mutating func checkElement(_ action: ProtoEventAction, _ path: String) {
    let field = "\(path).element"
    let element = action.element
    guard action.trigger == .click else {
      if !element.isEmpty { add(field, .notAllowed, "only with the trigger click") }
      return
    }
    if element.isEmpty { return add(field, .required, "required with the trigger click") }
    let max = Limits.Plan.elementBytesMax
    guard element.utf8.count <= max else { return checkLength(field, element, max: max) }
    guard Self.isSelector(element) else {
      return add(
        field, .badName,
        "a selector of ids and classes such as #buy or .goods .price; got \(Self.quoted(element))")
    }
  }

  /// Parts that begin with # or . and are joined, or parted by a space or by >.
  private static func isSelector(_ text: String) -> Bool {
    text.wholeMatch(
      of:
        /(?:[#.][A-Za-z_][A-Za-z0-9_\-]*)+(?:(?:\x20*>\x20*|\x20+)(?:[#.][A-Za-z_][A-Za-z0-9_\-]*)+)*/
    ) != nil
  }

  private mutating func checkStep(_ action: ProtoEventAction, _ path: String) {
    let field = "\(path).step"
    switch (definition.manual.reportType, action.step) {
    case (_, .UNRECOGNIZED(let number)): add(field, .outOfRange, "START or REPORT; got \(number)")
    case (.stepByStep, .unspecified):
      add(field, .required, "START or REPORT, for the event is step-by-step")
    case (.oneTime, .start): add(field, .notAllowed, "START only of a step-by-step event")
    default: break
    }
  }

  private mutating func check(_ mapping: ProtoDataMapping, _ path: String, isFirst: Bool) {
    let field = "\(path).field"
    if mapping.field.isEmpty {
      add(field, .required, "required")
    } else if !definition.fields.contains(where: { $0.name == mapping.field }) {
      add(field, .unknownField, "\(Self.quoted(mapping.field)) is no custom field of the event")
    } else if !isFirst {
      add(field, .duplicate, "\(Self.quoted(mapping.field)) is filled once by an action")
    }
    let max = Limits.Plan.dataPathBytesMax
    guard mapping.path.utf8.count <= max else {
      return checkLength("\(path).path", mapping.path, max: max)
    }
    guard Self.isDataPath(mapping.path) else {
      return add(
        "\(path).path", mapping.path.isEmpty ? .required : .badName,
        "a place in the page's data such as cart.items[0].price; got \(Self.quoted(mapping.path))")
    }
  }

  private static func isDataPath(_ text: String) -> Bool {
    text.wholeMatch(
      of: /[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*|\[[0-9]{1,6}\])*/) != nil
  }
}
