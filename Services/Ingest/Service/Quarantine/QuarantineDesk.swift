import Events
import Messages
import RPC
import Store

/// Sends events of quarantine the way of a batch again, or gives them up. Each step is one transaction of the writer and
/// looks at a bounded number of events, so that batches come between.
struct QuarantineDesk: Sendable {
  let writer: LogWriter
  let store: Store
  let collector: Collector
  let hash: KeyedHash

  // MARK: Which

  private struct Selected {
    let ids: [Int64]
    /// Whether a filter may find more.
    let hasMore: Bool
  }

  private func select(
    _ selection: QuarantineSelection, app: AppEntry, beyond id: Int64
  ) async throws -> Selected {
    switch selection {
    case .ids(let ids):
      let missing = try await store.readDetached { connection in
        try ids.first { id in
          if case .none = try QuarantinedRow.find(id, app: app.number, connection) { true } else { false }
        }
      }
      if let missing { throw IngestErrors.unknownQuarantined(UInt64(missing)) }
      return Selected(ids: ids, hasMore: false)
    case .matching(let query, let limit):
      let ids = try await store.readDetached {
        try QuarantineReader.ids(query, beyond: id, max: limit + 1, $0)
      }
      return Selected(ids: Array(ids.prefix(limit)), hasMore: ids.count > limit)
    }
  }

  /// Runs `body` over the events that are still there, so many in a transaction.
  private func visit<Result: Sendable>(
    _ ids: [Int64], app: AppEntry, _ first: Result,
    _ body: @escaping @Sendable (QuarantinedRow.Found, inout Result, LogAppender, StoreConnection) throws -> Void
  ) async throws -> Result {
    var result = first
    for start in stride(from: 0, to: ids.count, by: Limits.quarantineTransactionEventsMax) {
      try Task.checkCancellation()
      let chunk = ids[start..<min(start + Limits.quarantineTransactionEventsMax, ids.count)]
      result = try await writer.change { [result] appender, connection in
        var result = result
        for id in chunk {
          let row = try QuarantinedRow.find(id, app: app.number, connection)
          try body(row, &result, appender, connection)
        }
        return result
      }
    }
    return result
  }

  // MARK: Replay

  func replay(
    _ request: ProtoReplayQuarantinedRequest, app: AppEntry
  ) async throws -> ProtoReplayQuarantinedResponse {
    let selection = try QuarantineSelection(
      ids: request.ids, filter: request.hasFilter ? request.filter : nil, limit: request.limit,
      app: app)
    var begin: Int64 = 0
    if case .matching(let query, _) = selection {
      begin = try query.id(of: request.cursor, hash) ?? 0
    } else if !request.cursor.isEmpty {
      throw IngestErrors.invalid("cursor", "only with a filter")
    }
    let waivers = ReplayWaivers(
      late: request.waiveLate, belowWindow: request.waiveBelowWindow)
    let selected = try await select(selection, app: app, beyond: begin)
    var response = try await visit(selected.ids, app: app, ProtoReplayQuarantinedResponse()) {
      found, response, appender, connection in
      // One that made room for others since it was selected is counted with those that had left.
      guard case .kept(let row) = found else { return response.settled += 1 }
      let outcome = try replay(
        row, app, waivers, isDry: request.dryRun, appender, connection)
      Self.count(outcome, row, &response)
    }
    if case .matching(let query, _) = selection, selected.hasMore, let last = selected.ids.last {
      response.nextCursor = query.cursor(beyond: last, hash)
    }
    return response
  }

  private static func count(
    _ outcome: EventProblem?, _ row: QuarantinedRow, _ response: inout ProtoReplayQuarantinedResponse
  ) {
    guard let outcome else { return response.replayed += 1 }
    guard let reason = outcome.fate.reason else { return response.duplicates += 1 }
    response.remaining += 1
    guard response.problems.count < Limits.quarantineProblemsMax else { return }
    var problem = ProtoReplayProblem()
    problem.id = UInt64(row.id)
    problem.reason = reason.word
    problem.field = outcome.text.field
    problem.message = outcome.text.message
    response.problems.append(problem)
  }

  /// - Returns: what the event still is, nil: it is in the log.
  private func replay(
    _ row: QuarantinedRow, _ app: AppEntry, _ waivers: ReplayWaivers, isDry: Bool,
    _ appender: LogAppender, _ connection: StoreConnection
  ) throws -> EventProblem? {
    // What it was in conflict with may be known by its number only by now: nothing could tell the two apart.
    if row.reason == .conflict {
      return EventProblem(index: 0, fate: .conflict, text: row.text)
    }
    let batch = try row.request.withUnsafeBytes { bytes in
      try collector.prepareAgain(
        bytes, app: app, content: row.content, received: row.receivedMilliseconds,
        waivesLate: waivers.late, takesInTypes: !isDry)
    }
    let problem = try appender.replay(
      batch, from: .quarantined(row.reason), waivesBelowWindow: waivers.belowWindow, isDry: isDry,
      connection)
    guard !isDry else { return problem }
    if let problem, let reason = problem.fate.reason {
      try appender.quarantine.update(row, reason, problem.text, connection)
    } else {
      try appender.quarantine.settle(row, as: .replayed, connection)
    }
    return problem
  }

  // MARK: Discard

  func discard(
    _ request: ProtoDiscardQuarantinedRequest, app: AppEntry
  ) async throws -> ProtoDiscardQuarantinedResponse {
    guard (1...Limits.quarantineNoteBytesMax).contains(request.note.utf8.count) else {
      throw IngestErrors.invalid(
        "note", "1-\(Limits.quarantineNoteBytesMax) bytes; got \(request.note.utf8.count) bytes")
    }
    let selection = try QuarantineSelection(
      ids: request.ids, filter: request.hasFilter ? request.filter : nil, limit: request.limit,
      app: app)
    let selected = try await select(selection, app: app, beyond: 0)
    var response = try await visit(selected.ids, app: app, ProtoDiscardQuarantinedResponse()) {
      found, response, appender, connection in
      guard case .kept(let row) = found else { return response.settled += 1 }
      try appender.quarantine.settle(row, as: .discarded, note: request.note, connection)
      response.discarded += 1
    }
    response.hasMore_p = selected.hasMore
    return response
  }
}

/// Rules that an operator sets aside for a replay.
struct ReplayWaivers: Sendable {
  let late: Bool
  let belowWindow: Bool
}
