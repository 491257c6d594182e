import Messages
import RPC
import Store
import SwiftProtobuf
import Synchronization

/// Who changes which app's plan, and when.
package struct PlanCaller: Sendable {
  let appID: String
  let tokenID: String
  /// ms since 1970.
  let now: Int64

  package init(appID: String, tokenID: String, now: Int64) {
    self.appID = appID
    self.tokenID = tokenID
    self.now = now
  }
}

/// A change of one app's plan inside the writer's transaction. Refusals are thrown before the first write.
final class PlanTransaction {
  let app: AppEntry
  let rows: PlanRows
  let now: Int64
  private let actor: ProtoPlanActor
  private let appender: LogAppender
  private let connection: StoreConnection
  private(set) var plan: ProtoAppPlan
  private var planIsChanged = false
  private var changedEvents: [ProtoPlannedEvent] = []
  private(set) var hasWritten = false

  init(
    _ caller: PlanCaller, _ app: AppEntry, _ appender: LogAppender, _ connection: StoreConnection
  ) throws {
    self.app = app
    self.appender = appender
    self.connection = connection
    now = caller.now
    rows = PlanRows(connection, app: app.number)
    actor = try rows.actor(caller.tokenID)
    plan = try rows.plan()
  }

  // MARK: Writing

  /// The event becomes this: its row, its history, its record in the log.
  ///
  /// - Parameter event: with its new revision.
  func put(_ event: ProtoPlannedEvent, action: String, details: [String]) throws
    -> ProtoPlannedEvent
  {
    hasWritten = true
    var event = event
    event.revision += 1
    event.changedMs = now
    event.changedBy = actor
    if event.createdMs == 0 { event.createdMs = now }
    try rows.put(event)
    var change = ProtoEventChange()
    change.action = action
    change.event = event
    change.details = details
    try rows.put(change)
    try log(.with { $0.event = event })
    changedEvents.append(event)
    return event
  }

  /// Mode and pages become these.
  func put(mode: ProtoPlanMode, pages: [String]) {
    guard plan.mode != mode || plan.pages != pages else { return }
    (plan.mode, plan.pages) = (mode, pages)
    planIsChanged = true
  }

  func remember(checked definition: ProtoEventDefinition) throws {
    hasWritten = true
    try rows.putChecked(definition.name, try definition.fingerprint(), now: now)
  }

  /// Decides the types of fields for ever, where they are open still.
  ///
  /// - Throws: FAILED_PRECONDITION where an event that came meanwhile has decided otherwise, RESOURCE_EXHAUSTED where the app
  ///   has too many fields. Nothing is decided then.
  func decideTypes(_ definitions: [ProtoEventDefinition]) throws {
    let fields = definitions.flatMap(\.fields).compactMap { field in
      field.type.kind.map { (FieldName(field.name), $0) }
    }
    let refusal = app.types.withLock { types -> RPCError? in
      let open = Set(fields.map(\.0).filter { types.kind(of: $0) == nil })
      guard types.count + open.count <= Limits.fieldNamesMax else {
        return IngestErrors.full("field names of an app", max: Limits.fieldNamesMax)
      }
      for (name, kind) in fields {
        guard let known = types.kind(of: name), known != kind else { continue }
        return PlanErrors.passesNoLonger([
          ProtoPlanViolation(
            "fields.\(name.text)", .wrongType,
            "is \(ProtoFieldType(known).word) in this app, for ever; got \(ProtoFieldType(kind).word)"
          )
        ])
      }
      for (name, kind) in fields { types.decide(name, kind) }
      return nil
    }
    if let refusal { throw refusal }
    hasWritten = true
    try appender.saveTypes(app, connection)
  }

  /// Ends the change.
  ///
  /// - Returns: the plan as the hot path is to know it once the transaction is durable; nil: nothing changed.
  func finish() throws -> PlanSnapshot? {
    guard planIsChanged || !changedEvents.isEmpty else { return nil }
    let before = app.tracking.newestSnapshot
    let draft = before.with(plan, changedEvents, hash: app.tracking.hash)
    let collectsOtherwise = changedEvents.contains { event in
      let name = event.definition.name
      let (old, new) = (before.entries[name], draft.entries[name])
      return new?.collectsOtherwise(than: old) ?? old?.collectsOtherwise(than: nil) ?? false
    }
    if collectsOtherwise { plan.configVersion += 1 }
    if planIsChanged || collectsOtherwise {
      try rows.put(plan)
      let plan = plan
      try log(.with { $0.plan = plan })
    }
    let next = before.with(plan, changedEvents, hash: app.tracking.hash)
    let tracking = app.tracking
    tracking.newestSnapshot = next
    appender.onRollBack { tracking.newestSnapshot = before }
    return next
  }

  private func log(_ record: ProtoPlanRecord) throws {
    try appender.append(
      .plan, app: app.appID, received: now, try record.serializedBytes(), connection)
  }

  // MARK: Surroundings

  /// What the definition of a name is checked against, on the app's own page list.
  func surroundings(of definition: ProtoEventDefinition) throws -> DefinitionSurroundings {
    var surroundings = DefinitionSurroundings()
    surroundings.pages = Set(plan.pages)
    surroundings.decidedTypes = app.decidedTypes(of: definition)
    surroundings.savedChineseName = try rows.event(definition.name)?.definition.chineseName
    let owner = try rows.owner(ofChineseName: definition.chineseName)
    surroundings.chineseNameOwner = owner == definition.name ? nil : owner
    return surroundings
  }
}

extension AppEntry {
  /// The types that the app has decided for fields that the definition names.
  func decidedTypes(of definition: ProtoEventDefinition) -> [String: ProtoFieldType] {
    types.withLock { types in
      definition.fields.reduce(into: [:]) { found, field in
        guard DefinitionCheck.isCustomName(field.name) else { return }
        found[field.name] = types.kind(of: FieldName(field.name)).map(ProtoFieldType.init)
      }
    }
  }
}

extension FieldName {
  /// - Parameter text: obeys the rule of names.
  init(_ text: String) {
    var copy = text
    self = copy.withUTF8 { FieldName(UnsafeRawBufferPointer($0)) }
  }
}
