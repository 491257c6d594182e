package import Events
import Synchronization

/// Turns batches of the log into rows of their apps.
package final class RowAppender: Sendable {
  private let engine: QueryEngine

  package init(engine: QueryEngine) { self.engine = engine }

  /// Adds the events of one record to what the transaction will commit.
  ///
  /// - Parameters:
  ///   - batch: an encoded CollectRequest that ingest has checked.
  ///   - clock: of the record.
  /// - Throws: where the bytes are no CollectRequest, or the app is unknown: the log is damaged.
  package func append(_ batch: UnsafeRawBufferPointer, appID: String, clock: EventClock) throws {
    let reader = BatchReader()
    try reader.read(batch)
    guard reader.eventCount == reader.events.count else {
      throw FormatError("a batch of \(reader.eventCount) events")
    }
    try append(batch, decodedBy: reader, appID: appID, clock: clock)
  }

  /// The same for a batch that a reader has decoded.
  package func append(
    _ batch: UnsafeRawBufferPointer, decodedBy reader: BatchReader, appID: String, clock: EventClock
  ) throws {
    guard let app = engine.app(appID) else {
      throw FormatError("the log has events of app \"\(appID)\" before the app")
    }
    app.unpack(.users)
    app.tables.withLock { append(batch, reader, clock, &$0) }
  }

  private func append(
    _ message: UnsafeRawBufferPointer, _ reader: BatchReader, _ clock: EventClock,
    _ tables: inout AppTables
  ) {
    var shared: SharedPart?
    var day = LocalDay(tables.calendar)
    let exclusion = tables.exclusionInTransaction
    for event in reader.events {
      let known = event.hasOwnContext ? nil : shared
      let part = known ?? SharedPart(reader.context(of: event), message, self, exclusion, &tables)
      if !event.hasOwnContext { shared = part }
      let time = clock.time(event.timeMilliseconds)
      let row = UInt32(tables.pending.count)
      tables.pending.user.append(part.user)
      tables.pending.context.append(part.context)
      tables.pending.flags.append(
        RowFlags(isPassive: event.isPassive, traffic: part.traffic).rawValue)
      tables.pending.time.append(time)
      tables.pending.day.append(day.number(of: time))
      tables.pending.sequence.append(event.sequence)
      tables.pending.event.append(tables[.events].code(event.name.bytes(in: message)))
      tables.pending.page.append(tables[.pages].code(event.pagePath.bytes(in: message)))
      if event.fieldCount > 0 {
        appendFields(reader.fields(of: event), row, message, &tables)
      }
    }
  }

  /// What the events of a batch mostly have in common.
  private struct SharedPart {
    /// As `AppTables.addUser` says.
    let user: UInt32
    let context: UInt32
    let traffic: TrafficClass

    init(
      _ context: EventContext, _ message: UnsafeRawBufferPointer, _ appender: RowAppender,
      _ exclusion: SceneExclusion, _ tables: inout AppTables
    ) {
      user = tables.addUser(context.text(.openID).bytes(in: message))
      self.context = appender.number(context, message, &tables)
      traffic = TrafficClass(
        channel: (context.releaseChannel ?? .release).rawValue,
        isExcludedScene: exclusion.holds(UInt32(clamping: context.integer(.scene))))
    }
  }

  private func number(
    _ context: EventContext, _ message: UnsafeRawBufferPointer, _ tables: inout AppTables
  ) -> UInt32 {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: ContextColumns.count) { words in
      for (position, field) in ContextColumns.fields.enumerated() {
        switch field.kind {
        case .text:
          let text = context.text(field)
          words[position] = text.isEmpty ? 0 : tables[.values].code(text.bytes(in: message))
        case .integer:
          words[position] = UInt32(clamping: context.integer(field))
        }
      }
      return tables.pending.contexts.number(UnsafeBufferPointer(words))
    }
  }

  private func appendFields(
    _ fields: UnsafeBufferPointer<BatchField>, _ row: UInt32, _ message: UnsafeRawBufferPointer,
    _ tables: inout AppTables
  ) {
    let first = tables.pending.fieldRow.count
    for field in fields where field.kind != .missing {
      let code = fieldCode(field, message, &tables)
      let value = bits(field, message, &tables)
      // Of a field given twice the last one holds, as for any other repeated field of a message.
      if let known = tables.pending.fieldID[first...].firstIndex(of: code) {
        tables.pending.fieldValue[known] = value
        continue
      }
      tables.pending.fieldRow.append(row)
      tables.pending.fieldID.append(code)
      tables.pending.fieldValue.append(value)
    }
  }

  private func fieldCode(
    _ field: BatchField, _ message: UnsafeRawBufferPointer, _ tables: inout AppTables
  ) -> UInt32 {
    let name = field.name.bytes(in: message)
    return withUnsafeTemporaryAllocation(byteCount: name.count + 1, alignment: 1) { key in
      key[0] = field.kind.rawValue
      UnsafeMutableRawBufferPointer(rebasing: key[1...]).copyMemory(from: name)
      return tables[.fields].code(UnsafeRawBufferPointer(key))
    }
  }

  private func bits(
    _ field: BatchField, _ message: UnsafeRawBufferPointer, _ tables: inout AppTables
  ) -> UInt64 {
    switch field.value {
    case .missing: 0
    case .text(let text): UInt64(tables[.values].code(text.bytes(in: message)))
    case .integer(let value): UInt64(bitPattern: value)
    case .double(let value): value.bitPattern
    case .boolean(let value): value ? 1 : 0
    }
  }
}

/// The local day of one time after another: the last answer is tried first.
struct LocalDay {
  private let calendar: AppCalendar
  private var day = 0
  private var range: Range<Int64> = 0..<0

  init(_ calendar: AppCalendar) { self.calendar = calendar }

  /// The day whose range holds the time. Where a zone went back over midnight, that is the later one of the two days
  /// that the clock showed, as in `AppCalendar.range(ofDay:)`.
  mutating func number(of time: Int64) -> Int32 {
    if range.contains(time) { return Int32(day) }
    day = calendar.day(at: time)
    range = calendar.range(ofDay: day)
    while time >= range.upperBound { move(1) }
    while time < range.lowerBound { move(-1) }
    return Int32(day)
  }

  private mutating func move(_ step: Int) {
    day += step
    range = calendar.range(ofDay: day)
  }
}
