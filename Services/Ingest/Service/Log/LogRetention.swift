import Store

/// Removes the oldest records, a few in each transaction. Their pages are used again by what is appended: the file stays as
/// large as it has been, and grows no more. (SQLite could give pages back to the disk only by moving others, which writes
/// every byte once more.)
struct LogRetention: Sendable {
  let policy: LogPolicy

  /// What one step did.
  struct Step: Sendable, Equatable {
    /// The log's first offset now.
    var first: UInt64
    var rows = 0
    /// More may be removed at once.
    var isPartial = false
  }

  /// One step, in the writer's transaction.
  ///
  /// - Parameters:
  ///   - bound: what lies before it has been applied by all who hold retention.
  ///   - payloadBytes: that the log has ever taken.
  ///   - now: ms since 1970.
  func step(
    _ connection: StoreConnection, bound: UInt64, payloadBytes: Int64, now: Int64
  ) throws -> Step {
    let statement = try connection.statement(
      "SELECT first_offset, received_ms, bytes_before, length(payload) FROM log ORDER BY first_offset")
    var step = Step(first: 0)
    var bytes: Int64 = 0
    var isDone = false
    // A row ends where the next one begins, whatever it says itself: nothing here reads its checksum. The last row stays in every
    // case: the log's end is read from it.
    var before: (due: Bool, bytes: Int64)?
    while try !isDone && statement.step() {
      let first = UInt64(bitPattern: statement.int64(0))
      if let row = before {
        guard row.due, first <= bound else { break }
        step.first = first
        step.rows += 1
        bytes += row.bytes
        isDone = step.rows >= Limits.retentionRowsMax || bytes >= Limits.retentionBytes
      } else {
        step.first = first
      }
      let due = isDue(received: statement.int64(1), after: payloadBytes &- statement.int64(2), now)
      before = (due, statement.int64(3))
    }
    statement.reset()
    step.isPartial = isDone
    if step.rows > 0 {
      try connection.execute(
        "DELETE FROM log WHERE first_offset < ?", [.integer(Int64(bitPattern: step.first))])
    }
    return step
  }

  /// - Parameter bytes: of payload from the record on.
  private func isDue(received: Int64, after bytes: Int64, _ now: Int64) -> Bool {
    if policy.keepMilliseconds > 0, now &- received > policy.keepMilliseconds { return true }
    return policy.keepBytes > 0 && bytes > policy.keepBytes
  }
}
