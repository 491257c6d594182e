import Events

/// What a report over opens works on: one snapshot of one app, and what of it counts.
struct ReportScope {
  let snapshot: AppSnapshot
  let source: DaySource
  let filter: FilterProgram?
  let traffic: TrafficChoice
  let control: QueryControl

  /// - Parameters:
  ///   - fields: fields of events that the report reads beside the filter's.
  ///   - snapshot: another report's, where several are one answer.
  ///   - columns, contexts: what it reads of rows and contexts where there is no filter; with one, everything.
  init(
    _ appID: String, _ engine: QueryEngine, filter: FilterTree?, traffic: TrafficChoice,
    control: QueryControl, snapshot: AppSnapshot? = nil, columns: RowColumns = .all,
    contexts: Set<Int>? = [],
    fields: (AppSnapshot) throws -> Set<UInt32> = { _ in [] }
  ) throws {
    let snapshot = try snapshot ?? engine.snapshot(appID)
    self.snapshot = snapshot
    self.traffic = traffic
    self.control = control
    let program = try filter.map { try FilterProgram($0, in: snapshot) }
    self.filter = program
    let needed = try fields(snapshot).union(program?.fieldCodes ?? [])
    source = try DaySource(
      snapshot, engine: engine, fields: needed.union([FieldKey.stayCode]),
      columns: program == nil ? columns : .all, contexts: program == nil ? contexts : nil,
      control: control)
  }

  var maskBytesPerRow: Int { filter == nil ? 0 : 1 }

  /// Whether a moment has passed, as of the log's latest receipt time.
  func isOver(_ milliseconds: Int64) -> Bool {
    milliseconds <= snapshot.position.receivedMilliseconds
  }

  /// - Parameter ranges: the days that were asked for.
  func info(_ tally: EventTally, _ ranges: ClosedRange<Int>?...) -> AnswerInfo {
    let isComplete = ranges.allSatisfy { days in
      days.map { isOver(snapshot.calendar.start(ofDay: $0.upperBound + 1)) } ?? true
    }
    return AnswerInfo(snapshot, tally, isComplete: isComplete)
  }
}
