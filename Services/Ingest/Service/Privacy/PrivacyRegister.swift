import Events
import Messages
import RPC
import Store
import SwiftProtobuf
import Synchronization

/// Consent and privacy rules: their tables, what of them the hot path knows (`AppDoor`), and consent's records in the log.
///
/// What the hot path knows changes within the writer's turn: of the batches behind the change none is taken by the old state.
struct PrivacyRegister: Sendable {
  let writer: LogWriter
  let store: Store
  let apps: AppRegistry
  let hash: KeyedHash
  /// States of consent in the table.
  private let states: ConsentCount

  init(writer: LogWriter, store: Store, apps: AppRegistry, hash: KeyedHash) throws {
    (self.writer, self.store, self.apps, self.hash) = (writer, store, apps, hash)
    states = ConsentCount(
      try store.read { connection in
        try connection.first("SELECT sum(states) FROM consent_purpose") { $0.int(0) } ?? 0
      })
  }

  /// The purpose that decides at the door.
  static let doorPurpose = "analytics"
  /// Purposes that every app has.
  static let standardPurposes = [doorPurpose, "marketing", "personalization"]

  // MARK: Start

  /// Tells every app's door what the tables hold. After the apps are in the registry.
  func load() throws {
    try store.read { connection in
      _ = try connection.query(
        "SELECT app.app_id, privacy.body FROM privacy JOIN app ON app.number = privacy.app"
      ) { row in
        let rules = try ProtoPrivacyRules(serializedBytes: row.bytes(1))
        apps[row.string(0)]?.door.set(PrivacyRulesCheck.policy(rules))
      }
      _ = try connection.query(
        """
        SELECT app.app_id, consent.open_id, consent.state FROM consent JOIN app ON app.number = consent.app
        WHERE purpose = ?
        """, [.text(Self.doorPurpose)]
      ) { row in
        let user = row.withText(1) { hash.user($0) }
        apps[row.string(0)]?.door.set(user, granted: row.int(2) == ProtoConsentState.granted.rawValue)
      }
    }
  }

  // MARK: Rules

  func setRules(
    _ request: ProtoPrivacyRules, app: AppEntry, by tokenID: String, now: Int64
  ) async throws -> ProtoPrivacyRules {
    var rules = try PrivacyRulesCheck.normalized(request)
    rules.appID = app.appID
    rules.changedMs = now
    rules.tokenID = tokenID
    let body: [UInt8] = try rules.serializedBytes()
    let policy = PrivacyRulesCheck.policy(rules)
    try await writer.change { appender, connection in
      try connection.execute(
        "INSERT INTO privacy VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
        [.integer(app.number), .blob(body)])
      let old = app.door.policy
      appender.onRollBack { app.door.set(old) }
      app.door.set(policy)
    }
    return rules
  }

  func rules(of app: AppEntry) async throws -> ProtoPrivacyRules {
    let body = try await store.readDetached { connection in
      try connection.first("SELECT body FROM privacy WHERE app = ?", [.integer(app.number)]) {
        $0.bytes(0)
      }
    }
    if let body { return try ProtoPrivacyRules(serializedBytes: body) }
    var rules = try PrivacyRulesCheck.normalized(ProtoPrivacyRules())
    rules.appID = app.appID
    return rules
  }

  // MARK: Consent

  private enum Change: Sendable { case made(ProtoConsent), tooManyPurposes, tooManyStates }

  func setConsent(
    _ request: ProtoSetConsentRequest, app: AppEntry, by tokenID: String, now: Int64
  ) async throws -> ProtoConsent {
    try Self.check(request)
    var consent = ProtoConsent()
    consent.purpose = request.purpose
    consent.state = request.state
    consent.changedMs = now
    consent.tokenID = tokenID
    let row = ConsentRow(app: app.number, openID: request.openID, consent: consent)
    let user = hash.user(request.openID)
    let change = try await writer.change { appender, connection -> Change in
      if let known = try row.stored(connection), known.state == row.consent.state {
        return .made(known)
      }
      if let refusal = try refusal(of: row, connection) { return refusal }
      if try row.save(connection) {
        states.value.add(1, ordering: .relaxed)
        appender.onRollBack { states.value.subtract(1, ordering: .relaxed) }
      }
      var record = ProtoConsentRecord()
      record.appID = app.appID
      record.openID = row.openID
      record.purpose = row.consent.purpose
      record.state = row.consent.state
      record.changedMs = now
      try appender.append(
        .consent, app: app.appID, received: now, record.serializedBytes(), connection)
      if row.consent.purpose == Self.doorPurpose {
        let old = app.door.takes(user)
        appender.onRollBack { app.door.set(user, granted: old) }
        app.door.set(user, granted: row.consent.state == .granted)
      }
      return .made(row.consent)
    }
    switch change {
    case .made(let consent): return consent
    case .tooManyPurposes: throw IngestErrors.full("purposes", max: Limits.purposesMax)
    case .tooManyStates: throw IngestErrors.full("states of consent", max: Limits.consentStatesMax)
    }
  }

  private func refusal(
    of row: ConsentRow, _ connection: StoreConnection
  ) throws -> Change? {
    let purposes = try connection.query(
      "SELECT purpose FROM consent_purpose WHERE app = ?", [.integer(row.app)]
    ) { $0.string(0) }
    let known = Set(purposes).union(Self.standardPurposes)
    if !known.contains(row.consent.purpose), known.count >= Limits.purposesMax {
      return .tooManyPurposes
    }
    guard try row.stored(connection) == nil else { return nil }
    return states.value.load(ordering: .relaxed) >= Limits.consentStatesMax ? .tooManyStates : nil
  }

  private static func check(_ request: ProtoSetConsentRequest) throws(RPCError) {
    try checkOpenID(request.openID)
    try PrivacyRulesCheck.checkName("purpose", request.purpose)
    switch request.state {
    case .granted, .denied, .withdrawn: break
    case .unspecified, .UNRECOGNIZED:
      throw IngestErrors.invalid(
        "state", "must be GRANTED, DENIED or WITHDRAWN; got \(request.state.rawValue)")
    }
  }

  private static func checkOpenID(_ openID: String) throws(RPCError) {
    guard OpenID(openID) != nil else {
      throw IngestErrors.invalid(
        "open_id", "from 1 to \(EventLimits.openIDBytesMax) bytes; got \(openID.utf8.count) bytes")
    }
  }

  func consent(_ openID: String, app: AppEntry) async throws -> ProtoGetConsentResponse {
    try Self.checkOpenID(openID)
    let rules = try await rules(of: app)
    let (states, history) = try await store.readDetached { connection in
      (
        try ConsentRow.states(app: app.number, openID, connection),
        try ConsentRow.history(app: app.number, openID, connection)
      )
    }
    var response = ProtoGetConsentResponse()
    response.states = Self.completed(states, rules.consentDefault)
    response.history = history
    response.eventsAreTaken = response.states.contains {
      $0.purpose == Self.doorPurpose && $0.state == .granted
    }
    return response
  }

  /// With the purposes that every app has, by name.
  private static func completed(
    _ states: [ProtoConsent], _ standard: ProtoConsentDefault
  ) -> [ProtoConsent] {
    var states = states
    for purpose in standardPurposes where !states.contains(where: { $0.purpose == purpose }) {
      var consent = ProtoConsent()
      consent.purpose = purpose
      consent.state = standard == .requireGranted ? .denied : .granted
      states.append(consent)
    }
    return states.sorted { $0.purpose < $1.purpose }
  }
}

/// Changed within the writer's turn only.
private final class ConsentCount: Sendable {
  let value: Atomic<Int>
  init(_ value: Int) { self.value = Atomic(value) }
}

/// A user's consent to a purpose in the tables `consent` (what holds) and `consent_change` (how it came about).
struct ConsentRow: Sendable {
  /// The app's number.
  let app: Int64
  let openID: String
  let consent: ProtoConsent

  private var key: [StoreValue] { [.integer(app), .text(consent.purpose), .text(openID)] }

  /// What holds now; nil: nothing was set.
  func stored(_ connection: StoreConnection) throws -> ProtoConsent? {
    try connection.first(
      """
      SELECT purpose, state, changed_ms, token_id FROM consent
      WHERE app = ? AND purpose = ? AND open_id = ?
      """, key, Self.consent)
  }

  /// - Returns: whether the user's purpose had no state before.
  func save(_ connection: StoreConnection) throws -> Bool {
    let isNew = try stored(connection) == nil
    let values = [
      StoreValue.integer(Int64(consent.state.rawValue)), .integer(consent.changedMs),
      .text(consent.tokenID),
    ]
    try connection.execute(
      """
      INSERT INTO consent(app, purpose, open_id, state, changed_ms, token_id) VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET state = excluded.state, changed_ms = excluded.changed_ms, token_id = excluded.token_id
      """, key + values)
    if isNew {
      try connection.execute(
        """
        INSERT INTO consent_purpose(app, purpose, states) VALUES (?, ?, 1)
        ON CONFLICT DO UPDATE SET states = states + 1
        """, [.integer(app), .text(consent.purpose)])
    }
    try saveChange(values, connection)
    return isNew
  }

  private func saveChange(_ values: [StoreValue], _ connection: StoreConnection) throws {
    let owner: [StoreValue] = [.integer(app), .text(openID), .text(consent.purpose)]
    let last =
      try connection.first(
        "SELECT max(number) FROM consent_change WHERE app = ? AND open_id = ? AND purpose = ?", owner
      ) { $0.int64(0) } ?? 0
    try connection.execute(
      """
      INSERT INTO consent_change(app, open_id, purpose, number, state, changed_ms, token_id)
      VALUES (?, ?, ?, ?, ?, ?, ?)
      """, owner + [.integer(last + 1)] + values)
    try connection.execute(
      "DELETE FROM consent_change WHERE app = ? AND open_id = ? AND purpose = ? AND number <= ?",
      owner + [.integer(last + 1 - Int64(Limits.consentChangesMax))])
  }

  /// What a user's purposes are set to.
  static func states(
    app: Int64, _ openID: String, _ connection: StoreConnection
  ) throws -> [ProtoConsent] {
    try connection.query(
      """
      SELECT c.purpose, c.state, c.changed_ms, c.token_id FROM consent_purpose p
      JOIN consent c ON c.app = p.app AND c.purpose = p.purpose AND c.open_id = ?2
      WHERE p.app = ?1
      """, [.integer(app), .text(openID)], consent)
  }

  /// A user's changes, the newest first.
  static func history(
    app: Int64, _ openID: String, _ connection: StoreConnection
  ) throws -> [ProtoConsent] {
    try connection.query(
      """
      SELECT purpose, state, changed_ms, token_id FROM consent_change WHERE app = ? AND open_id = ?
      ORDER BY changed_ms DESC, number DESC, purpose
      """, [.integer(app), .text(openID)], consent)
  }

  private static func consent(_ row: StoreStatement) throws -> ProtoConsent {
    var consent = ProtoConsent()
    consent.purpose = row.string(0)
    guard let state = ProtoConsentState(rawValue: row.int(1)) else {
      throw StoreError(.corrupt, "table consent: there is no state \(row.int(1))")
    }
    consent.state = state
    consent.changedMs = row.int64(2)
    consent.tokenID = row.string(3)
    return consent
  }
}
