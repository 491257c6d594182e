import Events
import Store

extension LogEraser {
  struct QuarantineFound: Sendable {
    var rows: [Int64] = []
    /// The last row that was looked at.
    var last: Int64
  }

  /// The user's rows among the next ones of the app; nil: there are no more. Of an event that has left quarantine there is
  /// nothing but hashes there.
  func searchQuarantine(_ order: Order, _ after: Int64) async throws -> QuarantineFound? {
    try await store.readDetached { connection in
      let reader = BatchReader()
      var found = QuarantineFound(last: after)
      var rows = 0
      _ = try connection.query(
        """
        SELECT id, request FROM quarantine
        WHERE app = (SELECT number FROM app WHERE app_id = ?) AND state = 0 AND id > ?
        ORDER BY id LIMIT \(Limits.erasureQuarantineRowsMax)
        """, [.text(order.appID), .integer(after)]
      ) { row in
        rows += 1
        found.last = row.int64(0)
        let request = row.blob(1)
        // One that cannot be read was never answered as kept aside; it is removed with the rest.
        let isReadable = (try? reader.read(request)) != nil
        if !isReadable || order.user.matches(reader.context.text(.openID).bytes(in: request)) {
          found.rows.append(found.last)
        }
      }
      return rows == 0 ? nil : found
    }
  }

  /// - Returns: the events that were removed.
  func removeQuarantined(_ rows: [Int64], _ order: Order) async throws -> Int {
    guard !rows.isEmpty else { return 0 }
    return try await writer.change { appender, connection in
      var removed = 0
      for id in rows where try appender.quarantine.erase(id, connection) { removed += 1 }
      try connection.execute(
        "UPDATE erasure SET quarantined = quarantined + ? WHERE first_offset = ?",
        [.integer(Int64(removed)), .integer(Int64(bitPattern: order.offset))])
      return removed
    }
  }
}
