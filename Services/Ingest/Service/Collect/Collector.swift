import Events
import Messages
import RPC
import Synchronization

/// The first half of the way of a batch, from `decode` to `lateness` (`Step`). Runs on the event loop, touches no disk and
/// allocates nothing per event.
final class Collector: Sendable {
  private let apps: AppRegistry
  private let hash: KeyedHash
  private let figures: PipelineFigures
  private let readers = Mutex<[ReaderBox]>([])

  init(apps: AppRegistry, hash: KeyedHash, figures: PipelineFigures) {
    self.apps = apps
    self.hash = hash
    self.figures = figures
  }

  /// - Parameter received: the server's clock, ms since 1970.
  /// - Throws: INVALID_ARGUMENT, PERMISSION_DENIED, NOT_FOUND: what refuses the batch as a whole.
  func prepare(
    _ message: UnsafeRawBufferPointer, principal: Principal, received: Int64
  ) throws(RPCError) -> PreparedBatch {
    let box = readers.withLock { $0.popLast() } ?? ReaderBox()
    defer { readers.withLock { $0.append(box) } }
    var steps = StepClock(figures, isTimed: box.isNextTimed())
    let reader = box.reader
    do throws(WireError) {
      try reader.read(message)
    } catch {
      throw refused(.decode, IngestErrors.malformed(error))
    }
    steps.lap(.decode)
    let rules = BatchRules(reader, message: message)
    let app = try authorise(reader, rules, message, principal)
    steps.lap(.authorise)
    if let violation = rules.violationOfBatch() {
      throw refused(.limits, IngestErrors.refused(violation))
    }
    steps.lap(.limits)
    return judge(reader, rules, message, app, received, &steps)
  }

  private func refused(_ step: Step, _ error: RPCError) -> RPCError {
    figures.refuse(step)
    return error
  }

  // MARK: The batch as a whole

  private func authorise(
    _ reader: BatchReader, _ rules: BatchRules, _ message: UnsafeRawBufferPointer,
    _ principal: Principal
  ) throws(RPCError) -> AppEntry {
    do throws(RPCError) {
      let app = try app(of: reader, in: message, principal)
      if reader.isImport, !principal.holds("ingest:import") { throw IngestErrors.importScope }
      return app
    } catch {
      // Whoever sends what can be no batch is told that first: "there is no app" helps nobody who misspelled its id.
      if let violation = rules.violationOfBatch() {
        throw refused(.limits, IngestErrors.refused(violation))
      }
      throw refused(.authorise, error)
    }
  }

  private func app(
    of reader: BatchReader, in message: UnsafeRawBufferPointer, _ principal: Principal
  ) throws(RPCError) -> AppEntry {
    let appID: String
    if let own = principal.appID {
      if !reader.appID.isEmpty, !reader.appID.bytes(in: message).elementsEqual(own.utf8) {
        throw IngestErrors.otherApp(reader.appID.text(in: message))
      }
      appID = own
    } else {
      guard !reader.appID.isEmpty else { throw IngestErrors.appRequired }
      appID = reader.appID.text(in: message)
    }
    guard let app = apps[appID] else { throw IngestErrors.unknownApp(appID) }
    return app
  }

  // MARK: Its events

  /// The steps that judge one event at a time, each over those that the ones before have left.
  private func judge(
    _ reader: BatchReader, _ rules: BatchRules, _ message: UnsafeRawBufferPointer, _ app: AppEntry,
    _ received: Int64, _ steps: inout StepClock
  ) -> PreparedBatch {
    var pass = BatchPass(reader.events)
    pass.check { event in
      guard let violation = rules.violation(of: event) else { return .keep }
      return .reject(EventReason(violation.reason), .init(violation))
    }
    steps.lap(.names)
    let hasNewFields = checkTypes(&pass, reader, message, app)
    steps.lap(.types)
    let clock = EventClock(
      received: received, sent: reader.sentMilliseconds, isImport: reader.isImport)
    steps.lap(.clock)
    pass.check { event in
      clock.isLate(event.timeMilliseconds) ? .quarantine(.late, .late) : .keep
    }
    steps.lap(.lateness)
    if hasNewFields {
      takeInTypes(&pass, reader, message, app)
      steps.lap(.types)
    }
    return batch(&pass, reader, message, app, clock, isTimed: steps.isTimed)
  }

  /// - Returns: whether an event has a field that the app did not have.
  private func checkTypes(
    _ pass: inout BatchPass, _ reader: BatchReader, _ message: UnsafeRawBufferPointer,
    _ app: AppEntry
  ) -> Bool {
    app.types.withLock { types in
      var hasNewFields = false
      pass.check { event in
        guard event.fieldCount > 0 else { return .keep }
        switch types.check(reader.fields(of: event), in: message) {
        case .known: return .keep
        case .new:
          hasNewFields = true
          return .keep
        case .wrong(let problem): return .quarantine(.wrongType, .init(problem))
        }
      }
      return hasNewFields
    }
  }

  /// The fields that events bring to the app, once no step of this half has refused the event: one that is kept aside
  /// decides nothing.
  private func takeInTypes(
    _ pass: inout BatchPass, _ reader: BatchReader, _ message: UnsafeRawBufferPointer,
    _ app: AppEntry
  ) {
    app.types.withLock { types in
      pass.check { event in
        switch types.admit(reader.fields(of: event), in: message) {
        case nil: .keep
        case .wrongType(let field, let known, let sent)?:
          .quarantine(.wrongType, .init(.wrongType(field, known, sent)))
        case .tooMany(let field)?: .reject(.tooManyFieldNames, .init(.tooMany(field)))
        }
      }
      if types.hasUnsaved { app.hasUnsavedTypes.store(true, ordering: .releasing) }
    }
  }

  private func batch(
    _ pass: inout BatchPass, _ reader: BatchReader, _ message: UnsafeRawBufferPointer,
    _ app: AppEntry, _ clock: EventClock, isTimed: Bool
  ) -> PreparedBatch {
    let user = hash.user(reader.context.text(.openID).bytes(in: message))
    pass.identify { event in
      let usesID = event.sequence == 0 && !event.eventID.isEmpty
      return (
        id: usesID ? hash.id(event.eventID.bytes(in: message)) : .zero,
        content: hash.content(event.encoded.bytes(in: message), of: user)
      )
    }
    pass.sortProblems()
    return PreparedBatch(
      app: app, message: Array(message), checksum: CRC32C.checksum(message), events: pass.events,
      problems: pass.problems,
      device: reader.deviceID.isEmpty ? .zero : hash.id(reader.deviceID.bytes(in: message)),
      sdkVersion: reader.context.text(.sdkVersion), clock: clock, number: reader.batch,
      isTimed: isTimed)
  }
}

/// A reader between two batches.
// Sendable because whoever took it out of the pool is alone with it.
private final class ReaderBox: @unchecked Sendable {
  let reader = BatchReader()
  private var batches: UInt64 = 0

  func isNextTimed() -> Bool {
    batches &+= 1
    return batches % PipelineFigures.timedBatchInterval == 1
  }
}
