import Events
import Store

/// Where a search of quarantine is.
struct QuarantineKey: Sendable {
  var reason = ""
  var identity: [UInt8] = []
  var content: Int64 = .min
}

extension LogEraser {
  struct QuarantineFound: Sendable {
    var rows: [QuarantineKey] = []
    var last: QuarantineKey
  }

  /// The user's rows among the next ones of the app; nil: there are no more.
  func searchQuarantine(_ order: Order, _ after: QuarantineKey) async throws -> QuarantineFound? {
    try await store.readDetached { connection in
      let reader = BatchReader()
      var found = QuarantineFound(last: after)
      var rows = 0
      _ = try connection.query(
        """
        SELECT reason, identity, content, request FROM quarantine
        WHERE app = (SELECT number FROM app WHERE app_id = ?) AND (reason, identity, content) > (?, ?, ?)
        ORDER BY reason, identity, content LIMIT \(Limits.erasureQuarantineRowsMax)
        """,
        [.text(order.appID), .text(after.reason), .blob(after.identity), .integer(after.content)]
      ) { row in
        rows += 1
        found.last = QuarantineKey(
          reason: row.string(0), identity: row.bytes(1), content: row.int64(2))
        let request = row.blob(3)
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
  func removeQuarantined(_ rows: [QuarantineKey], _ order: Order) async throws -> Int {
    guard !rows.isEmpty else { return 0 }
    return try await writer.change { appender, connection in
      var removed = 0
      for key in rows {
        try connection.execute(
          """
          DELETE FROM quarantine WHERE app = (SELECT number FROM app WHERE app_id = ?)
          AND reason = ? AND identity = ? AND content = ?
          """,
          [.text(order.appID), .text(key.reason), .blob(key.identity), .integer(key.content)])
        removed += connection.changes
      }
      appender.removedFromQuarantine(removed)
      try connection.execute(
        "UPDATE erasure SET quarantined = quarantined + ? WHERE first_offset = ?",
        [.integer(removed), .integer(Int64(bitPattern: order.offset))])
      return removed
    }
  }
}
