import Messages
import RPC
import SwiftProtobuf

/// What it takes to make an app's plan what a document says.
struct PlanApplication {
  struct Step {
    var difference: ProtoPlanDifference
    /// The event afterwards, without its new revision. nil: mode or pages.
    var event: ProtoPlannedEvent?
  }

  let document: ProtoPlanDocument
  private(set) var steps: [Step] = []
  private(set) var violations: [ProtoPlanViolation] = []
  private let known: [String: ProtoPlannedEvent]
  private let plan: ProtoAppPlan

  /// - Parameters:
  ///   - document: normalized.
  ///   - decided: the types that the app has decided for fields of a definition.
  init(
    _ document: ProtoPlanDocument, plan: ProtoAppPlan, events: [ProtoPlannedEvent], now: Int64,
    decided: (ProtoEventDefinition) -> [String: ProtoFieldType]
  ) {
    self.document = document
    self.plan = plan
    known = Dictionary(uniqueKeysWithValues: events.map { ($0.definition.name, $0) })
    comparePlan()
    checkSize()
    guard violations.isEmpty else { return }
    var check = DocumentCheck(document, known)
    for (index, event) in document.events.enumerated() {
      violations += check.violations(of: event, at: index, decided: decided(event.definition))
    }
    violations = Array(violations.prefix(Limits.Plan.violationsMax))
    for event in document.events { compare(event, check, now: now) }
    archiveOthers(events)
  }

  private mutating func add(
    _ kind: String, _ name: String, _ details: [String], _ event: ProtoPlannedEvent?
  ) {
    let difference = ProtoPlanDifference.with {
      $0.kind = kind
      $0.name = name
      $0.details = details
    }
    steps.append(Step(difference: difference, event: event))
  }

  // MARK: Mode and pages

  private mutating func comparePlan() {
    if case .UNRECOGNIZED(let number) = document.mode {
      violations.append(ProtoPlanViolation("mode", .outOfRange, "OPEN or STRICT; got \(number)"))
    }
    violations += PageList.violations(of: document.pages)
    if plan.mode != document.mode {
      add("mode", "", ["mode: \(plan.mode.word) -> \(document.mode.word)"], nil)
    }
    guard plan.pages != document.pages else { return }
    let (old, new) = (Set(plan.pages), Set(document.pages))
    let lines =
      document.pages.filter { !old.contains($0) }.map { "pages: added \($0)" }
      + plan.pages.filter { !new.contains($0) }.map { "pages: removed \($0)" }
    add("pages", "", Array(lines.prefix(Limits.Plan.detailsMax)), nil)
  }

  private mutating func checkSize() {
    let names = Set(document.events.map(\.definition.name))
    let count = names.union(known.keys).count
    guard max(count, document.events.count) > Limits.Plan.eventsMax else { return }
    violations.append(
      ProtoPlanViolation(
        "events", .tooMany,
        "at most \(Limits.Plan.eventsMax), archived ones included; got \(count)"))
  }

  // MARK: Events

  private mutating func compare(
    _ target: ProtoPlanDocumentEvent, _ check: DocumentCheck, now: Int64
  ) {
    let name = target.definition.name
    let old = known[name]
    let before = old.flatMap(EffectiveEvent.init)
    let after = EffectiveEvent(target)
    guard before != after else { return }
    var event = old ?? ProtoPlannedEvent()
    event.definition = target.definition
    if target.published {
      event.publish(now: now)
    } else {
      event.clearPublished()
      event.testUsers = []
      event.state = check.passing.contains(name) ? .checked : .draft
    }
    add(
      Self.kind(before, after), name,
      DefinitionDiff.lines(from: before?.definition, to: target.definition), event)
  }

  private static func kind(_ before: EffectiveEvent?, _ after: EffectiveEvent) -> String {
    guard let before else { return "add" }
    switch (before.isPublished, after.isPublished) {
    case (false, true): return "publish"
    case (true, false): return "withdraw"
    default: return "change"
    }
  }

  private mutating func archiveOthers(_ events: [ProtoPlannedEvent]) {
    let wanted = Set(document.events.map(\.definition.name))
    for event in events where event.state != .archived && !wanted.contains(event.definition.name) {
      var archived = event
      archived.archive()
      add("archive", event.definition.name, [], archived)
    }
  }
}

/// Checks the events of a document against the rules, against the app, and against one another.
private struct DocumentCheck {
  private let pages: Set<String>
  private let known: [String: ProtoPlannedEvent]
  /// Who has a Chinese name: events of the app, then of the document.
  private var owners: [String: String]
  /// Types that published events of the document declare.
  private var declared: [String: (type: ProtoFieldType, by: String)] = [:]
  private var names: Set<String> = []
  /// Events that break no rule.
  private(set) var passing: Set<String> = []

  init(_ document: ProtoPlanDocument, _ known: [String: ProtoPlannedEvent]) {
    self.known = known
    pages = Set(document.pages)
    owners = known.values.reduce(into: [:]) {
      $0[$1.definition.chineseName] = $1.definition.name
    }
  }

  mutating func violations(
    of event: ProtoPlanDocumentEvent, at index: Int, decided: [String: ProtoFieldType]
  ) -> [ProtoPlanViolation] {
    let definition = event.definition
    let path = "events[\(index)]"
    var surroundings = DefinitionSurroundings()
    surroundings.pages = pages
    surroundings.decidedTypes = decided
    surroundings.savedChineseName = known[definition.name]?.definition.chineseName
    let owner = owners[definition.chineseName]
    surroundings.chineseNameOwner = owner == definition.name ? nil : owner
    var found = DefinitionCheck.violations(of: definition, in: surroundings)
    if found.isEmpty { passing.insert(definition.name) }
    // A draft may be incomplete, but for its names.
    if !event.published { found = found.filter(DefinitionCheck.forbidsSaving) }
    if !names.insert(definition.name).inserted {
      found.append(
        ProtoPlanViolation("name", .duplicate, "\"\(definition.name)\" is there twice"))
    }
    owners[definition.chineseName] = owners[definition.chineseName] ?? definition.name
    if event.published { found += conflicts(of: definition) }
    return found.map { $0.within("\(path).definition") }
  }

  /// With fields of events before it: a field has one type within an app.
  private mutating func conflicts(of definition: ProtoEventDefinition) -> [ProtoPlanViolation] {
    definition.fields.enumerated().compactMap { index, field in
      guard let other = declared[field.name] else {
        declared[field.name] = (field.type, definition.name)
        return nil
      }
      guard other.type != field.type else { return nil }
      return ProtoPlanViolation(
        "fields[\(index)].type", .wrongType,
        "\(field.name) is \(other.type.word) in the event \"\(other.by)\"; got \(field.type.word)")
    }
  }
}

extension ProtoPlanViolation {
  /// The same, where the definition is a part of something.
  fileprivate func within(_ path: String) -> ProtoPlanViolation {
    var violation = self
    // What is wrong with the definition as a whole is called `definition`.
    let isWhole = field == "definition"
    violation.field = isWhole ? path : "\(path).\(field)"
    violation.message = isWhole ? path + message.dropFirst(field.count) : "\(path).\(message)"
    return violation
  }
}

extension ProtoPlanMode {
  var word: String {
    switch self {
    case .open, .unspecified: "open"
    case .strict: "strict"
    case .UNRECOGNIZED(let number): "\(number)"
    }
  }
}
