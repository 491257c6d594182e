import Events
import Messages
import Store
import SwiftProtobuf

/// Rows that a release before the second version of the table wrote: SQL cannot read their requests, so the columns that come from these
/// are filled in here, once.
enum QuarantineUpgrade {
  static func run(_ connection: StoreConnection) throws {
    let rows = try connection.query(
      "SELECT id, reason, request FROM quarantine WHERE name = '' AND state = 0"
    ) { row in
      (
        id: row.int64(0), reason: try QuarantineTable.reason(row.int64(1)),
        request: try ProtoCollectRequest(serializedBytes: row.bytes(2))
      )
    }
    for row in rows {
      guard let event = row.request.events.first else {
        throw StoreError(.corrupt, "table quarantine: row \(row.id) holds no event")
      }
      let text = text(row.reason, event)
      try connection.execute(
        "UPDATE quarantine SET name = ?, field = ?, message = ?, sdk_version = ? WHERE id = ?",
        [
          .text(event.name), .text(text.field), .text(text.message),
          .text(row.request.context.sdkVersion), .integer(row.id),
        ])
    }
  }

  private static func text(_ reason: EventReason, _ event: ProtoEvent) -> EventProblem.Text {
    switch reason {
    case .late: .late(EventClock.latenessMilliseconds)
    case .conflict: .conflict(isNumbered: event.sequence > 0)
    case .belowWindow: .belowWindow(event.sequence)
    case .unregistered:
      .init(field: "name", message: "name: no published definition has it; kept aside")
    // Which of the fields it was, the table did not say.
    default: .init(field: "fields", message: "fields: one is of another type in this app; kept aside")
    }
  }
}
