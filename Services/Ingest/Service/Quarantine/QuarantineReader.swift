import Events
import Messages
import RPC
import Store
import SwiftProtobuf

/// What the calls read from the table `quarantine`. Blocking: on a reader of the store.
enum QuarantineReader {
  private static let columns =
    "id, reason, field, message, name, sdk_version, received_ms, bytes, state, note"

  /// A page, the newest first.
  ///
  /// - Returns: the events, and the id behind which the next page begins.
  static func list(
    _ query: QuarantineQuery, beyond id: Int64, max: Int, _ connection: StoreConnection
  ) throws -> (events: [ProtoQuarantinedEvent], next: Int64?) {
    var events = try connection.query(
      """
      SELECT \(columns) FROM quarantine WHERE \(QuarantineQuery.condition("<"))
      ORDER BY id DESC LIMIT \(max + 1)
      """, query.values(beyond: id), event)
    guard events.count > max else { return (events, nil) }
    events.removeLast()
    return (events, Int64(events[max - 1].id))
  }

  private static func event(_ row: StoreStatement) throws -> ProtoQuarantinedEvent {
    var event = ProtoQuarantinedEvent()
    event.id = UInt64(row.int64(0))
    event.reason = try QuarantineTable.reason(row.int64(1)).word
    event.field = row.string(2)
    event.message = row.string(3)
    event.eventName = row.string(4)
    event.sdkVersion = row.string(5)
    event.receivedMs = row.int64(6)
    event.bytes = UInt32(row.int(7))
    event.state =
      switch try QuarantineTable.state(row.int64(8)) {
      case .kept: .unspecified
      case .replayed: .replayed
      case .discarded: .discarded
      }
    event.note = row.string(9)
    return event
  }

  /// - Returns: nil where the app has none of this id.
  static func get(
    _ id: UInt64, app: Int64, _ connection: StoreConnection
  ) throws -> ProtoQuarantinedEvent? {
    guard let id = Int64(exactly: id) else { return nil }
    return try connection.first(
      "SELECT \(columns), request FROM quarantine WHERE id = ? AND app = ?",
      [.integer(id), .integer(app)]
    ) { row in
      var event = try event(row)
      guard event.state == .unspecified else { return event }
      event.request = try ProtoCollectRequest(serializedBytes: row.bytes(10))
      event.clockOffsetMs =
        EventClock(
          received: event.receivedMs, sent: event.request.sentMs, isImport: event.request.import
        ).offsetMilliseconds
      return event
    }
  }

  static func count(
    app: Int64, _ bounds: QuarantineBounds, _ connection: StoreConnection
  ) throws -> ProtoCountQuarantinedResponse {
    var counts: [EventReason: ProtoQuarantineCount] = [:]
    var response = ProtoCountQuarantinedResponse()
    _ = try connection.query(
      "SELECT reason, count(*), sum(bytes) FROM quarantine WHERE app = ? AND state = 0 GROUP BY reason",
      [.integer(app)]
    ) { row in
      let reason = try QuarantineTable.reason(row.int64(0))
      counts[reason, default: .init()].kept = UInt64(row.int(1))
      response.events += UInt64(row.int(1))
      response.bytes += UInt64(row.int(2))
    }
    _ = try connection.query(
      "SELECT leave, reason, count FROM quarantine_total WHERE app = ?", [.integer(app)]
    ) { row in
      let reason = try QuarantineTable.reason(row.int64(1))
      let count = UInt64(row.int(2))
      switch QuarantineTable.Leave(rawValue: row.int64(0)) {
      case .replayed: counts[reason, default: .init()].replayed = count
      case .discarded: counts[reason, default: .init()].discarded = count
      case .dropped: counts[reason, default: .init()].dropped = count
      case nil: throw StoreError(.corrupt, "table quarantine_total: there is no leave \(row.int64(0))")
      }
    }
    response.reasons = counts.sorted { $0.key.rawValue < $1.key.rawValue }.map { reason, count in
      var count = count
      count.reason = reason.word
      return count
    }
    response.eventsMax = UInt64(bounds.eventsMax)
    response.bytesMax = UInt64(bounds.bytesMax)
    return response
  }

  /// The ids of a selection, the oldest first.
  static func ids(
    _ query: QuarantineQuery, beyond id: Int64, max: Int, _ connection: StoreConnection
  ) throws -> [Int64] {
    try connection.query(
      "SELECT id FROM quarantine WHERE \(QuarantineQuery.condition(">")) ORDER BY id LIMIT \(max)",
      query.values(beyond: id)
    ) { $0.int64(0) }
  }
}
