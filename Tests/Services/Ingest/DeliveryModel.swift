import Events
import Foundation
import Ingest
import Messages
import SwiftProtobuf

/// What SEMANTICS 1 says of deliveries, as sets and lists without a bound on memory; and the three bounds that the docs add:
/// of a number 1,024 or more below the highest it cannot be told whether it was counted, of one 128 or more below the
/// content is not known, and an id belongs to the event that entered the log under it.
struct DeliveryModel {
  struct Identity: Hashable {
    let device: String
    let sequence: UInt64
    let id: String
  }

  /// One event with all that makes it itself.
  struct Content: Hashable {
    let user: String
    let bytes: Data
  }

  struct Key: Hashable {
    let identity: Identity
    let content: Content
  }

  enum Outcome: Equatable {
    case accepted
    case duplicate
    case rejected(String)
    case quarantined(String)
  }

  /// An event of the log.
  struct Logged: Equatable {
    let identity: Identity
    let content: Content
    let received: Int64
    let clockOffset: Int64
  }

  enum State { case kept, replayed, discarded }

  struct Row {
    let key: Key
    let event: ProtoEvent
    let received: Int64
    let sent: Int64
    let isImport: Bool
    var reason: String
    var state = State.kept
  }

  private(set) var log: [Logged] = []
  /// In the order in which they were kept aside.
  private(set) var rows: [Row] = []
  private var places: [Key: Int] = [:]
  private var types: [String: Int] = [:]
  private var counted: [Identity: Content] = [:]
  private var highest: [String: UInt64] = [:]
  /// How often events left, by the reason they had: replayed, discarded.
  private(set) var left: [String: [State: Int]] = [:]

  // MARK: Deliveries

  mutating func deliver(_ request: ProtoCollectRequest, received: Int64) -> [Outcome] {
    let before = judge(request.events, request, received, waivesLate: false)
    return zip(request.events, before).map { event, verdict in
      take(event, verdict, request, received)
    }
  }

  /// The steps that need to know nothing of other deliveries but the types of fields, one after another over the batch.
  private mutating func judge(
    _ events: [ProtoEvent], _ request: ProtoCollectRequest, _ received: Int64, waivesLate: Bool,
    isDry: Bool = false
  ) -> [Outcome] {
    var verdicts = events.map { event -> Outcome in
      if event.name == "Bad" { return .rejected("bad_name") }
      let isWrong = event.fields.contains { types[$0.name] ?? Self.kind($0) != Self.kind($0) }
      return isWrong ? .quarantined("wrong_type") : .accepted
    }
    for (index, event) in events.enumerated() where verdicts[index] == .accepted {
      if !waivesLate, isLate(event, request, received) { verdicts[index] = .quarantined("late") }
    }
    guard !isDry else { return verdicts }
    for (index, event) in events.enumerated() where verdicts[index] == .accepted {
      if event.fields.contains(where: { types[$0.name] ?? Self.kind($0) != Self.kind($0) }) {
        verdicts[index] = .quarantined("wrong_type")
      } else {
        for field in event.fields { types[field.name] = Self.kind(field) }
      }
    }
    return verdicts
  }

  private static func kind(_ field: ProtoField) -> Int {
    switch field.value.kind {
    case .stringValue: 1
    case .integerValue: 2
    case .doubleValue: 3
    case .booleanValue: 4
    default: 0
    }
  }

  private func isLate(_ event: ProtoEvent, _ request: ProtoCollectRequest, _ received: Int64) -> Bool {
    guard !request.import else { return false }
    let time = min(event.timeMs + Self.offset(request, received), received + 300_000)
    return time < received - 7 * 86_400_000
  }

  static func offset(_ request: ProtoCollectRequest, _ received: Int64) -> Int64 {
    let difference = received - request.sentMs
    return !request.import && request.sentMs > 0 && abs(difference) > 60_000 ? difference : 0
  }

  private mutating func take(
    _ event: ProtoEvent, _ verdict: Outcome, _ request: ProtoCollectRequest, _ received: Int64
  ) -> Outcome {
    let key = Self.key(event, request)
    if case .rejected = verdict {
      arrive(key.identity)
      return verdict
    }
    if let place = places[key] {
      // As the first time; counted since, it is counted.
      return rows[place].state == .replayed ? .duplicate : .quarantined(rows[place].reason)
    }
    var outcome = verdict
    switch standing(key) {
    case .duplicate: return .duplicate
    case .conflict: outcome = .quarantined("conflict")
    case .unknown: if verdict == .accepted { outcome = .quarantined("below_window") }
    case .new: if verdict != .accepted { arrive(key.identity) }
    }
    if case .quarantined(let reason) = outcome {
      places[key] = rows.count
      rows.append(
        Row(
          key: key, event: event, received: received, sent: request.sentMs, isImport: request.import,
          reason: reason))
    } else {
      count(key, received, Self.offset(request, received))
    }
    return outcome
  }

  static func key(_ event: ProtoEvent, _ request: ProtoCollectRequest) -> Key {
    let isNumbered = event.sequence > 0
    let identity = Identity(
      device: isNumbered ? request.deviceID : "", sequence: event.sequence,
      id: isNumbered ? "" : event.eventID)
    // Encoding what was built here cannot fail.
    let bytes: Data = (try? event.serializedBytes()) ?? Data()
    return Key(identity: identity, content: Content(user: request.context.openID, bytes: bytes))
  }

  private enum Standing { case new, duplicate, conflict, unknown }

  private func standing(_ key: Key) -> Standing {
    if hasReplayed(key.identity) { return .conflict }
    let distance = distance(key.identity)
    if let distance, distance >= 1_024 { return .unknown }
    guard let known = counted[key.identity] else { return .new }
    if known == key.content { return .duplicate }
    if let distance, distance >= 128 { return .duplicate }
    return .conflict
  }

  private func hasReplayed(_ identity: Identity) -> Bool {
    rows.contains { $0.state == .replayed && $0.key.identity == identity }
  }

  /// Below the device's highest; nil: not numbered, or above it.
  private func distance(_ identity: Identity) -> UInt64? {
    guard identity.sequence > 0, let top = highest[identity.device], identity.sequence <= top else {
      return nil
    }
    return top - identity.sequence
  }

  /// The event is not kept, but its number came: the device's window moves with it, unless it lies too far ahead.
  private mutating func arrive(_ identity: Identity) {
    guard identity.sequence > 0, let top = highest[identity.device], identity.sequence < top + 1_024
    else { return }
    highest[identity.device] = max(top, identity.sequence)
  }

  private mutating func count(_ key: Key, _ received: Int64, _ offset: Int64) {
    log.append(
      Logged(
        identity: key.identity, content: key.content, received: received, clockOffset: offset))
    counted[key.identity] = key.content
    if key.identity.sequence > 0 {
      highest[key.identity.device] = max(highest[key.identity.device] ?? 0, key.identity.sequence)
    }
  }

  // MARK: Quarantine

  struct Replayed: Equatable {
    var replayed = 0
    var duplicates = 0
    var settled = 0
    var reasons: [String] = []
  }

  mutating func replay(
    _ places: [Int], waivesLate: Bool, waivesBelowWindow: Bool, isDry: Bool
  ) -> Replayed {
    var result = Replayed()
    for place in places {
      guard rows[place].state == .kept else {
        result.settled += 1
        continue
      }
      let row = rows[place]
      switch replay(row, waivesLate, waivesBelowWindow, isDry) {
      case .accepted:
        result.replayed += 1
        guard !isDry else { continue }
        count(row.key, row.received, offset(row))
        leave(place, .replayed)
      case .quarantined(let reason), .rejected(let reason):
        result.reasons.append(reason)
        if !isDry { rows[place].reason = reason }
      case .duplicate:
        result.duplicates += 1
        if !isDry { leave(place, .replayed) }
      }
    }
    return result
  }

  private mutating func replay(
    _ row: Row, _ waivesLate: Bool, _ waivesBelowWindow: Bool, _ isDry: Bool
  ) -> Outcome {
    if row.reason == "conflict" { return .quarantined("conflict") }
    let verdict = judge(
      [row.event], request(row), row.received, waivesLate: waivesLate, isDry: isDry)[0]
    guard verdict == .accepted else { return verdict }
    switch standing(row.key) {
    case .new: return .accepted
    case .unknown: return waivesBelowWindow ? .accepted : .quarantined("below_window")
    // It lay here all the time: whatever has its number or id is another event.
    case .duplicate, .conflict: return .quarantined("conflict")
    }
  }

  private func request(_ row: Row) -> ProtoCollectRequest {
    .with {
      $0.sentMs = row.sent
      $0.import = row.isImport
    }
  }

  private func offset(_ row: Row) -> Int64 { Self.offset(request(row), row.received) }

  /// - Returns: how many were discarded, and how many had left before.
  mutating func discard(_ places: [Int]) -> (discarded: Int, settled: Int) {
    let kept = places.filter { rows[$0].state == .kept }
    for place in kept { leave(place, .discarded) }
    return (kept.count, places.count - kept.count)
  }

  private mutating func leave(_ place: Int, _ state: State) {
    rows[place].state = state
    left[rows[place].reason, default: [:]][state, default: 0] += 1
  }
}
