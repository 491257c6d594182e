package import Messages
import RPC
import SwiftProtobuf

/// What is really sent.
extension EventManagement {
  package func coverage(_ appID: String) async throws -> ProtoCoverage {
    let events = try await read(appID) { try $0.events().filter { $0.state != .archived } }
    let totals = SeenTotals(try app(appID).tracking.withCurrent { $0.seen })
    var answer = ProtoCoverage()
    answer.definitions = events.map { Self.coverage(of: $0, totals.byName[$0.definition.name]) }
    let byName = Dictionary(uniqueKeysWithValues: events.map { ($0.definition.name, $0) })
    answer.unregistered = totals.byName
      .filter {
        !$0.key.hasPrefix("$") && byName[$0.key]?.hasPublished != true && $0.value.lastSeen > 0
      }
      .map { Self.unregistered($0.key, $0.value, byName[$0.key]) }
      .sorted {
        Self.order($0) > Self.order($1) || (Self.order($0) == Self.order($1) && $0.name < $1.name)
      }
    answer.otherEvents = totals.other
    return answer
  }

  private static func order(_ event: ProtoUnregisteredEvent) -> UInt64 {
    event.events + event.quarantined
  }

  private static func coverage(
    of event: ProtoPlannedEvent, _ seen: SeenTotals.Total?
  ) -> ProtoDefinitionCoverage {
    var coverage = ProtoDefinitionCoverage()
    coverage.name = event.definition.name
    coverage.state = event.state
    let definition = event.hasPublished ? event.published : event.definition
    let declared = definition.fields.map(\.name)
    guard let seen else {
      coverage.neverSent = declared
      return coverage
    }
    coverage.events = seen.accepted
    coverage.firstSeenMs = seen.firstSeen
    coverage.lastSeenMs = seen.lastSeen
    coverage.otherEvents = seen.withoutFields
    coverage.neverSent = declared.filter { seen.fields[$0] == nil }
    let all = seen.seenFields
    coverage.fields = all.filter { declared.contains($0.name) }
    coverage.undeclared = all.filter { !declared.contains($0.name) }
    return coverage
  }

  private static func unregistered(
    _ name: String, _ seen: SeenTotals.Total, _ event: ProtoPlannedEvent?
  ) -> ProtoUnregisteredEvent {
    .with {
      $0.name = name
      $0.events = seen.accepted
      $0.quarantined = seen.quarantined
      $0.firstSeenMs = seen.firstSeen
      $0.lastSeenMs = seen.lastSeen
      $0.state = event?.state ?? .unspecified
      $0.fields = seen.seenFields
    }
  }
}

/// Counts of names and of their fields, added up from shapes.
struct SeenTotals {
  struct Total {
    var accepted: UInt64 = 0
    var quarantined: UInt64 = 0
    var firstSeen: Int64 = 0
    var lastSeen: Int64 = 0
    /// Accepted events whose fields were not looked at.
    var withoutFields: UInt64 = 0
    /// Accepted events that had the field; 0: only events that were kept aside had it.
    var fields: [String: UInt64] = [:]

    /// By name.
    var seenFields: [ProtoSeenField] {
      fields.sorted { $0.key < $1.key }.map { name, count in
        .with {
          $0.name = name
          $0.events = count
        }
      }
    }
  }

  private(set) var byName: [String: Total] = [:]
  /// Events of names that are not listed.
  private(set) var other: UInt64 = 0

  init(_ seen: SeenShapes) {
    for (number, shape) in seen.shapes.enumerated() where shape.lastSeen > 0 {
      if number == Int(SeenShapes.other) {
        other = shape.accepted + shape.quarantined
      } else {
        byName[seen.names[Int(shape.name)], default: Total()].add(shape)
      }
    }
  }
}

extension SeenTotals.Total {
  fileprivate mutating func add(_ shape: SeenShapes.Shape) {
    accepted += shape.accepted
    quarantined += shape.quarantined
    firstSeen = firstSeen == 0 ? shape.firstSeen : min(firstSeen, shape.firstSeen)
    lastSeen = max(lastSeen, shape.lastSeen)
    guard let names = shape.fields else {
      withoutFields += shape.accepted
      return
    }
    for name in names { fields[name, default: 0] += shape.accepted }
  }
}
