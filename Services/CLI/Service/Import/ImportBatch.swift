package import Messages

/// Events of one user that travel together, and the lines that they come from.
package struct ImportBatch: Sendable {
  package var request: ProtoCollectRequest
  /// Line and row of each event, by index.
  package let origins: [(line: Int, row: [UInt8])]
  /// What is settled once this batch and those before it are acknowledged. nil: not the last of its chunk.
  package var closing: ChunkClosing?
  /// The batch repeats what the store should have.
  package var isCheck = false

  package init(request: ProtoCollectRequest, origins: [(line: Int, row: [UInt8])]) {
    self.request = request
    self.origins = origins
  }
}

/// The end of a chunk of rows: what its acknowledgement settles.
package struct ChunkClosing: Sendable {
  /// Rows of the file up to the chunk's end.
  package var rowsDone: Int
  /// Rows of the chunk.
  package var rows: Int
  /// Rows of it that never became an event.
  package var problems: [RowProblem]

  package init(rowsDone: Int, rows: Int, problems: [RowProblem]) {
    self.rowsDone = rowsDone
    self.rows = rows
    self.problems = problems
  }

  /// Adds the chunk behind this one.
  package mutating func append(_ next: ChunkClosing) {
    rowsDone = next.rowsDone
    rows += next.rows
    problems += next.problems
  }
}

/// A row that was refused, and why.
package struct RowProblem: Sendable {
  package let line: Int
  package let row: [UInt8]
  package let problem: LineProblem

  package init(line: Int, row: [UInt8], problem: LineProblem) {
    self.line = line
    self.row = row
    self.problem = problem
  }
}

/// Puts the events of a chunk of rows into batches: one user each, the order of each user's events kept.
///
/// Neighbouring events of a user that share their context share it in the batch. Where the context changes too often for that,
/// the batch carries the user only and each event what it says itself.
package enum BatchBuilder {
  /// Below this many events to a context the batches are not cut by context.
  private static let eventsPerContextMin = 4
  /// Bytes of rows in a batch, but for one row: field names may double them, and a message has at most 4 MiB.
  private static let rowBytesMax = 524_288

  package static func batches(
    of events: [MappedEvent], appID: String, eventsMax: Int
  ) -> [ImportBatch] {
    precondition((1...1_000).contains(eventsMax))
    var order: [String] = []
    var byUser: [String: [MappedEvent]] = [:]
    for event in events {
      let user = event.event.context.openID
      if byUser[user] == nil { order.append(user) }
      byUser[user, default: []].append(event)
    }
    var batches: [ImportBatch] = []
    for user in order {
      guard let own = byUser[user] else { continue }
      let runs = runs(of: own)
      if own.count >= runs.count * eventsPerContextMin || runs.count == 1 {
        for run in runs {
          for part in cut(run, eventsMax) {
            batches.append(shared(part, appID: appID))
          }
        }
      } else {
        for part in cut(own[...], eventsMax) {
          batches.append(apart(part, user: user, appID: appID))
        }
      }
    }
    return batches
  }

  /// Parts of at most `eventsMax` events and, but for single ones, `rowBytesMax` bytes.
  private static func cut(
    _ events: ArraySlice<MappedEvent>, _ eventsMax: Int
  ) -> [ArraySlice<MappedEvent>] {
    var parts: [ArraySlice<MappedEvent>] = []
    var begin = events.startIndex
    var bytes = 0
    for index in events.indices {
      let isFull = index - begin >= eventsMax || bytes + events[index].size > rowBytesMax
      if isFull && index > begin {
        parts.append(events[begin..<index])
        (begin, bytes) = (index, 0)
      }
      bytes += events[index].size
    }
    parts.append(events[begin...])
    return parts
  }

  private static func runs(of events: [MappedEvent]) -> [ArraySlice<MappedEvent>] {
    var runs: [ArraySlice<MappedEvent>] = []
    var begin = 0
    for index in events.indices.dropFirst()
    where events[index].event.context != events[begin].event.context {
      runs.append(events[begin..<index])
      begin = index
    }
    runs.append(events[begin...])
    return runs
  }

  private static func shared(_ events: ArraySlice<MappedEvent>, appID: String) -> ImportBatch {
    var request = request(appID)
    if let first = events.first { request.context = first.event.context }
    request.events = events.map { mapped in
      var event = mapped.event
      event.clearContext()
      return event
    }
    return ImportBatch(request: request, origins: events.map { ($0.line, $0.row) })
  }

  private static func apart(
    _ events: ArraySlice<MappedEvent>, user: String, appID: String
  ) -> ImportBatch {
    var request = request(appID)
    request.context.openID = user
    request.events = events.map { mapped in
      var event = mapped.event
      event.context.openID = ""
      return event
    }
    return ImportBatch(request: request, origins: events.map { ($0.line, $0.row) })
  }

  private static func request(_ appID: String) -> ProtoCollectRequest {
    var request = ProtoCollectRequest()
    request.appID = appID
    request.import = true
    return request
  }
}
