import Messages

/// Some rows of a file as batches.
package struct ImportChunk {
  package var batches: [ImportBatch]
  package var closing: ChunkClosing
  /// Its rows were acknowledged to an earlier run.
  package var isCheck: Bool
}

/// Reads a file in chunks of bounded size and makes batches of them.
package final class ChunkSource {
  /// Bounds of a chunk: events of one user are brought together within it.
  package struct Limits: Sendable {
    package var rows = 20_000
    package var bytes = 8_388_608
    package var eventsPerBatch = 500
    package init() {}
  }

  private let reader: any RowReader
  private var mapper: EventMapper
  private var identity = RowIdentity()
  private let appID: String
  private let limits: Limits
  private let keepsRows: Bool
  private let skipRows: Int
  private let checkRows: Int
  private var row = 0

  /// - Parameters:
  ///   - keepsRows: the rows are wanted for a file of rejects.
  ///   - state: where to go on. Rows before `checkFrom` are read, not sent.
  package init(
    reader: any RowReader, mapper: EventMapper, appID: String, state: ImportState,
    keepsRows: Bool, limits: Limits = Limits()
  ) {
    self.reader = reader
    self.mapper = mapper
    self.appID = appID
    self.limits = limits
    self.keepsRows = keepsRows
    skipRows = state.checkFrom
    checkRows = state.rowsDone
  }

  package var progress: Double? { reader.progress }
  package var rowsRead: Int { row }

  /// The next chunk, nil at the end of the file.
  package func next() throws(InputError) -> ImportChunk? {
    while row < skipRows {
      guard let skipped = try reader.next() else { return nil }
      row += 1
      _ = identity.eventID(of: skipped.bytes)
    }
    let isCheck = row < checkRows
    var closing = ChunkClosing(rowsDone: row, rows: 0, problems: [])
    var events: [MappedEvent] = []
    var bytes = 0
    while closing.rows < limits.rows, bytes < limits.bytes, !isCheck || row < checkRows {
      guard let next = try reader.next() else { break }
      row += 1
      closing.rows += 1
      bytes += next.bytes.count
      let kept = keepsRows ? next.bytes : []
      switch map(next) {
      case .success(let event):
        events.append(MappedEvent(line: next.line, row: kept, size: next.bytes.count, event: event))
      case .failure(let problem):
        closing.problems.append(RowProblem(line: next.line, row: kept, problem: problem))
      }
    }
    guard closing.rows > 0 else { return nil }
    closing.rowsDone = row
    var batches = BatchBuilder.batches(
      of: events, appID: appID, eventsMax: limits.eventsPerBatch)
    for index in batches.indices { batches[index].isCheck = isCheck }
    return ImportChunk(batches: batches, closing: closing, isCheck: isCheck)
  }

  private func map(_ row: SourceRow) -> Result<ProtoEvent, LineProblem> {
    let eventID = identity.eventID(of: row.bytes)
    do throws(LineProblem) {
      let cells = try row.content.get()
      return .success(
        try mapper.event(of: cells, columns: reader.columns, eventID: eventID))
    } catch {
      return .failure(error)
    }
  }
}
