import Messages

/// An app's plan as the hot path and the SDKs need it. Never changes: each change of the plan makes the next one.
final class PlanSnapshot: Sendable {
  /// What is known of an event's name.
  enum Standing: UInt8, BitwiseCopyable, Sendable {
    /// No definition, or one that nobody collects.
    case unregistered
    /// Collected for everybody.
    case registered
    /// Collected for the definition's test users only.
    case test
  }

  struct Entry: Sendable {
    let standing: Standing
    let state: ProtoEventState
    /// Keyed hashes of their open ids. Not empty while in test, also where an older content is published.
    let testUsers: Set<UInt64>
    /// The content that a test user's events are held against.
    let definition: ProtoEventDefinition
    let tracked: ProtoTrackedEvent?
    let trackedInTest: ProtoTrackedEvent?
  }

  let isStrict: Bool
  /// Counts the changes of what SDKs carry out.
  let configVersion: UInt64
  /// Orders the snapshots of an app: a later one is never replaced by an earlier one.
  let number: UInt64
  /// Without archived events.
  let entries: [String: Entry]
  /// Every user who tests something; empty: nobody does.
  let testUsers: Set<UInt64>
  /// By name: what is sent to everybody.
  let config: [ProtoTrackedEvent]

  static let empty = PlanSnapshot(isStrict: false, configVersion: 0, number: 0, entries: [:])

  init(isStrict: Bool, configVersion: UInt64, number: UInt64, entries: [String: Entry]) {
    self.isStrict = isStrict
    self.configVersion = configVersion
    self.number = number
    self.entries = entries
    testUsers = entries.values.reduce(into: []) { $0.formUnion($1.testUsers) }
    config = entries.values.compactMap(\.tracked).sorted { $0.name < $1.name }
  }

  convenience init(
    _ plan: ProtoAppPlan, _ events: [ProtoPlannedEvent], number: UInt64, hash: KeyedHash
  ) {
    var entries: [String: Entry] = [:]
    for event in events where event.state != .archived {
      entries[event.definition.name] = Entry(event, hash: hash)
    }
    self.init(
      isStrict: plan.mode == .strict, configVersion: plan.configVersion, number: number,
      entries: entries)
  }

  /// The next snapshot, with some events changed.
  func with(
    _ plan: ProtoAppPlan, _ events: [ProtoPlannedEvent], hash: KeyedHash
  ) -> PlanSnapshot {
    var entries = entries
    for event in events {
      entries[event.definition.name] =
        event.state == .archived ? nil : Entry(event, hash: hash)
    }
    return PlanSnapshot(
      isStrict: plan.mode == .strict, configVersion: plan.configVersion, number: number + 1,
      entries: entries)
  }

  /// What an SDK is to carry out.
  func trackingConfig(known: UInt64, openID: String, hash: KeyedHash) -> ProtoTrackingConfig {
    var answer = ProtoTrackingConfig()
    answer.version = configVersion
    guard known != configVersion || configVersion == 0 else {
      answer.notModified = true
      return answer
    }
    answer.events = config
    guard !openID.isEmpty, !testUsers.isEmpty else { return answer }
    let user = hash.user(openID)
    guard testUsers.contains(user) else { return answer }
    for entry in entries.values where entry.testUsers.contains(user) {
      guard let tracked = entry.trackedInTest else { continue }
      answer.events.removeAll { $0.name == tracked.name }
      answer.events.append(tracked)
    }
    answer.events.sort { $0.name < $1.name }
    return answer
  }
}

extension PlanSnapshot.Entry {
  init(_ event: ProtoPlannedEvent, hash: KeyedHash) {
    let inTest = event.state == .test
    standing = event.hasPublished ? .registered : inTest ? .test : .unregistered
    state = event.state
    testUsers = inTest ? Set(event.testUsers.map { hash.user($0) }) : []
    definition = inTest || !event.hasPublished ? event.definition : event.published
    tracked =
      event.hasPublished ? event.published.tracked(version: event.version, inTest: false) : nil
    trackedInTest =
      inTest ? event.definition.tracked(version: event.version, inTest: true) : nil
  }

  /// Whether SDKs would do something else.
  func collectsOtherwise(than other: PlanSnapshot.Entry?) -> Bool {
    tracked != other?.tracked || trackedInTest != other?.trackedInTest
      || (trackedInTest != nil && testUsers != other?.testUsers)
  }
}
