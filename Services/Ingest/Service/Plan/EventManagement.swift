import Events
package import Messages
import RPC
import Store

/// The plans of the apps: their events from draft to publication, their modes and pages.
package struct EventManagement: Sendable {
  let writer: LogWriter
  let store: Store
  let apps: AppRegistry

  private enum Outcome<Value: Sendable>: Sendable {
    case done(Value, PlanSnapshot?)
    case refused(RPCError)
  }

  /// Runs a change in the writer's next transaction, and lets it hold once that is on disk.
  ///
  /// - Parameter body: throws `RPCError` to refuse, before it writes anything.
  func change<Value: Sendable>(
    _ caller: PlanCaller, _ body: @escaping @Sendable (PlanTransaction) throws -> Value
  ) async throws -> Value {
    let app = try app(caller.appID)
    let outcome = try await writer.change { appender, connection -> Outcome<Value> in
      let transaction = try PlanTransaction(caller, app, appender, connection)
      do {
        let value = try body(transaction)
        return .done(value, try transaction.finish())
      } catch let refusal as RPCError {
        precondition(!transaction.hasWritten, "refused before the first write")
        return .refused(refusal)
      }
    }
    switch outcome {
    case .refused(let refusal): throw refusal
    case .done(let value, let snapshot):
      if let snapshot { app.tracking.install(snapshot) }
      return value
    }
  }

  func app(_ appID: String) throws(RPCError) -> AppEntry {
    guard let app = apps[appID] else { throw IngestErrors.unknownApp(appID) }
    return app
  }

  func read<Value: Sendable>(
    _ appID: String, _ body: @escaping @Sendable (PlanRows) throws -> Value
  ) async throws -> Value {
    let app = try app(appID)
    return try await store.readDetached { try body(PlanRows($0, app: app.number)) }
  }

  // MARK: Mode and pages

  package func plan(_ appID: String) async throws -> ProtoAppPlan {
    try await read(appID) { try Self.plan($0) }
  }

  /// With the numbers of events.
  private static func plan(_ rows: PlanRows) throws -> ProtoAppPlan {
    var plan = try rows.plan()
    let events = try rows.events().filter { $0.state != .archived }
    plan.events = UInt32(events.count)
    plan.publishedEvents = UInt32(events.count { $0.hasPublished })
    return plan
  }

  package func setMode(_ mode: ProtoPlanMode, _ caller: PlanCaller) async throws -> ProtoAppPlan {
    let mode = try Self.checked(mode)
    return try await change(caller) { transaction in
      transaction.put(mode: mode, pages: transaction.plan.pages)
      return try Self.answer(transaction)
    }
  }

  static func checked(_ mode: ProtoPlanMode) throws(RPCError) -> ProtoPlanMode {
    switch mode {
    case .unspecified, .open: return .open
    case .strict: return .strict
    case .UNRECOGNIZED(let number):
      throw IngestErrors.invalid("mode", "OPEN or STRICT; got \(number)")
    }
  }

  package func setPages(_ pages: [String], _ caller: PlanCaller) async throws -> ProtoAppPlan {
    let violations = PageList.violations(of: pages)
    guard violations.isEmpty else { throw PlanErrors.refused(violations) }
    let sorted = pages.sorted()
    return try await change(caller) { transaction in
      transaction.put(mode: transaction.plan.mode, pages: sorted)
      return try Self.answer(transaction)
    }
  }

  private static func answer(_ transaction: PlanTransaction) throws -> ProtoAppPlan {
    var answer = try plan(transaction.rows)
    answer.mode = transaction.plan.mode
    answer.pages = transaction.plan.pages
    return answer
  }

  /// What an SDK is to carry out. Reads memory only.
  package func trackingConfig(
    _ request: ProtoGetTrackingConfigRequest, _ appID: String
  ) throws -> ProtoTrackingConfig {
    let tracking = try app(appID).tracking
    return tracking.snapshot.trackingConfig(
      known: request.knownVersion, openID: request.openID, hash: tracking.hash)
  }

  // MARK: Checking

  package func checkFields(
    _ definition: ProtoEventDefinition, _ caller: PlanCaller
  ) async throws -> ProtoCheckFieldsResponse {
    let definition = definition.normalized()
    return try await change(caller) { transaction in
      let surroundings = try transaction.surroundings(of: definition)
      var answer = ProtoCheckFieldsResponse()
      answer.violations = DefinitionCheck.violations(of: definition, in: surroundings)
      answer.passed = answer.violations.isEmpty
      answer.fields = FieldTable.rows(of: definition, decided: surroundings.decidedTypes)
      guard answer.passed else { return answer }
      try transaction.remember(checked: definition)
      if var event = try transaction.rows.event(definition.name), event.state == .draft,
        event.definition == definition
      {
        event.state = .checked
        _ = try transaction.put(event, action: "check", details: [])
      }
      return answer
    }
  }

  // MARK: Saving

  /// What is to become of an event that is saved.
  package enum Goal: Sendable {
    case keep
    case test([String])
    case publish

    var action: String {
      switch self {
      case .keep: "save"
      case .test: "test"
      case .publish: "publish"
      }
    }

    var collects: Bool {
      if case .keep = self { return false }
      return true
    }
  }

  package func save(
    _ definition: ProtoEventDefinition, _ goal: Goal, expectedRevision: UInt32,
    _ caller: PlanCaller
  ) async throws -> ProtoPlannedEvent {
    let definition = definition.normalized()
    if case .test(let users) = goal { try Self.checkTestUsers(users) }
    return try await change(caller) { transaction in
      try Self.save(definition, goal, expectedRevision, transaction)
    }
  }

  private static func checkTestUsers(_ users: [String]) throws(RPCError) {
    guard (1...Limits.Plan.testUsersMax).contains(users.count) else {
      throw IngestErrors.invalid(
        "test_users", "1-\(Limits.Plan.testUsersMax) open ids; got \(users.count)")
    }
    for (index, user) in users.enumerated() where OpenID(user) == nil {
      throw IngestErrors.invalid(
        "test_users[\(index)]",
        "1-\(EventLimits.openIDBytesMax) bytes; got \(user.utf8.count) bytes")
    }
  }

  private static func save(
    _ definition: ProtoEventDefinition, _ goal: Goal, _ expectedRevision: UInt32,
    _ transaction: PlanTransaction
  ) throws -> ProtoPlannedEvent {
    let old = try transaction.rows.event(definition.name)
    let violations = DefinitionCheck.violations(
      of: definition, in: try transaction.surroundings(of: definition))
    try refuseSaving(violations)
    if old == nil, try transaction.rows.eventCount() >= Limits.Plan.eventsMax {
      throw IngestErrors.full("events of an app's plan", max: Limits.Plan.eventsMax)
    }
    let isChecked = try transaction.rows.checked(definition.name) == definition.fingerprint()
    if goal.collects {
      guard isChecked else { throw PlanErrors.notChecked(definition.name) }
      guard violations.isEmpty else { throw PlanErrors.passesNoLonger(violations) }
    }
    let isGood = isChecked && violations.isEmpty
    let new = next(old, definition, goal, isChecked: isGood, now: transaction.now)
    // Sent again, or nothing to do.
    if let old, old == new { return old }
    let revision = old?.revision ?? 0
    guard expectedRevision == 0 || expectedRevision == revision else {
      throw PlanErrors.newer(expected: expectedRevision, actual: revision)
    }
    if goal.collects { try transaction.decideTypes([definition]) }
    return try transaction.put(
      new, action: goal.action,
      details: DefinitionDiff.lines(from: old?.definition, to: definition))
  }

  private static func refuseSaving(_ violations: [ProtoPlanViolation]) throws(RPCError) {
    let serious = violations.filter(DefinitionCheck.forbidsSaving)
    guard let first = serious.first else { return }
    if serious.count == 1, first.isTaken { throw PlanErrors.taken(first) }
    throw PlanErrors.refused(serious)
  }

  /// The event after it is saved, before it has its new revision.
  private static func next(
    _ old: ProtoPlannedEvent?, _ definition: ProtoEventDefinition, _ goal: Goal, isChecked: Bool,
    now: Int64
  ) -> ProtoPlannedEvent {
    var event = old ?? ProtoPlannedEvent()
    event.definition = definition
    event.testUsers = []
    switch goal {
    case .keep:
      let isPublished = event.hasPublished && event.published == definition
      event.state = isPublished ? .published : isChecked ? .checked : .draft
    case .test(let users):
      event.state = .test
      event.testUsers = users.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    case .publish: event.publish(now: now)
    }
    return event
  }

  package func archive(_ name: String, _ caller: PlanCaller) async throws -> ProtoPlannedEvent {
    try await change(caller) { transaction in
      guard var event = try transaction.rows.event(name) else {
        throw PlanErrors.unknownEvent(name)
      }
      guard event.state != .archived else { return event }
      event.archive()
      return try transaction.put(event, action: "archive", details: [])
    }
  }
}
