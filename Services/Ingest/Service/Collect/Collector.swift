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
    let user = hash.user(reader.context.text(.openID).bytes(in: message))
    var source = Source(reader: reader, message: message, app: app, user: user)
    source.shapes = box.shapes
    guard let scanner = source.policy.scanner else { return judge(source, received, &steps) }
    let removals = scanner.removals(reader, message)
    steps.lap(.privacy)
    if removals.isEmpty { return judge(source, received, &steps) }
    return try judge(source, without: removals, received, &steps)
  }

  /// The same for an event that was kept aside, by the rules of now. Whose it is and what holds for its batch was decided
  /// when it came.
  ///
  /// - Parameters:
  ///   - content: of the event as it came, whatever was taken out of it since.
  ///   - received: when it came.
  ///   - takesInTypes: false leaves the app's fields as they are.
  func prepareAgain(
    _ message: UnsafeRawBufferPointer, app: AppEntry, content: UInt64, received: Int64,
    waivesLate: Bool, takesInTypes: Bool
  ) throws(RPCError) -> PreparedBatch {
    let reader = BatchReader()
    do throws(WireError) {
      try reader.read(message)
    } catch {
      throw RPCError(.dataLoss, "an event in quarantine is damaged", cause: error)
    }
    var source = Source(
      reader: reader, message: message, app: app,
      user: hash.user(reader.context.text(.openID).bytes(in: message)))
    source.contents = [content]
    source.waivesLate = waivesLate
    source.takesInTypes = takesInTypes
    var steps = StepClock(figures, isTimed: false)
    let removals = source.policy.scanner?.removals(reader, message) ?? []
    if removals.isEmpty { return judge(source, received, &steps) }
    return try judge(source, without: removals, received, &steps)
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

  /// A batch and what it is judged by.
  private struct Source {
    let reader: BatchReader
    var message: UnsafeRawBufferPointer
    let app: AppEntry
    let user: UInt64
    let policy: DoorPolicy
    /// What was taken out of the message, and the hashes of the events as they came before: so that a retry is known whatever
    /// the rules are then. Empty where nothing was.
    var removals: [Removal] = []
    var contents: [UInt64] = []
    /// Of a replay: an operator takes what is late,
    var waivesLate = false
    /// or only asks what would become of it.
    var takesInTypes = true
    /// nil: of a replay.
    var shapes: KnownShapes?

    init(reader: BatchReader, message: UnsafeRawBufferPointer, app: AppEntry, user: UInt64) {
      (self.reader, self.message, self.app, self.user) = (reader, message, app, user)
      policy = app.door.policy
    }
  }

  /// Writes the message anew without what the app's rules forbid, and judges that.
  private func judge(
    _ source: Source, without removals: [Removal], _ received: Int64, _ steps: inout StepClock
  ) throws(RPCError) -> PreparedBatch {
    var source = source
    source.removals = removals
    if source.contents.isEmpty {
      source.contents = source.reader.events.map { event in
        hash.content(event.encoded.bytes(in: source.message), of: source.user)
      }
    }
    do {
      let rewritten = try RequestRewriter.rewrite(
        source.message, removing: removals.map(\.removal))
      return try rewritten.withUnsafeBytes { message in
        try source.reader.read(message)
        steps.lap(.privacy)
        source.message = message
        return judge(source, received, &steps)
      }
    } catch {
      throw RPCError(.internal, "a message without some of its fields cannot be read", cause: error)
    }
  }

  /// The steps that judge one event at a time, each over those that the ones before have left.
  private func judge(
    _ source: Source, _ received: Int64, _ steps: inout StepClock
  ) -> PreparedBatch {
    let (reader, message, app) = (source.reader, source.message, source.app)
    let rules = BatchRules(reader, message: message)
    let fields = reader.allFields
    var pass = BatchPass(reader.events)
    if let shapes = source.shapes {
      pass.recognise { shapes.shape(of: $0, fields.of($0), in: message, app: app.number) }
    }
    pass.checkByShape { event, hasKnownShape in
      guard let violation = rules.violation(of: event, namesAreGood: hasKnownShape) else { return .keep }
      return .reject(EventReason(violation.reason), .init(violation))
    }
    steps.lap(.names)
    if !app.door.takes(source.user) { pass.check { _ in .reject(.noConsent, .noConsent) } }
    steps.lap(.consent)
    let isOfTestUser = PlanStep.run(&pass, reader, message, app.tracking)
    steps.lap(.plan)
    let hasNewFields = checkTypes(&pass, reader, message, app)
    steps.lap(.types)
    let clock = EventClock(
      received: received, sent: reader.sentMilliseconds, isImport: reader.isImport)
    steps.lap(.clock)
    if !source.waivesLate {
      let lateness = source.policy.latenessMilliseconds
      pass.check { event in
        clock.isLate(event.timeMilliseconds, bound: lateness)
          ? .quarantine(.late, .late(lateness)) : .keep
      }
    }
    steps.lap(.lateness)
    if hasNewFields, source.takesInTypes {
      takeInTypes(&pass, reader, message, app)
      steps.lap(.types)
    }
    if let shapes = source.shapes { learn(pass, reader, message, app, shapes) }
    return batch(
      &pass, source, clock, isOfTestUser: isOfTestUser, isTimed: steps.isTimed)
  }

  /// - Returns: whether an event has a field that the app did not have.
  private func checkTypes(
    _ pass: inout BatchPass, _ reader: BatchReader, _ message: UnsafeRawBufferPointer,
    _ app: AppEntry
  ) -> Bool {
    let fields = reader.allFields
    return app.types.withLock { types in
      var hasNewFields = false
      pass.checkByShape { event, hasKnownShape in
        guard event.fieldCount > 0, !hasKnownShape else { return .keep }
        switch types.check(fields.of(event), in: message) {
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

  /// What came through, so that others like it are known.
  private func learn(
    _ pass: BatchPass, _ reader: BatchReader, _ message: UnsafeRawBufferPointer, _ app: AppEntry,
    _ shapes: KnownShapes
  ) {
    let fields = reader.allFields
    pass.forNewShapes { event, shape in
      // The shape of names that are not listed is another once the name is.
      guard shape != SeenShapes.other else { return }
      let fields = fields.of(event)
      guard case .known = app.types.withLock({ $0.check(fields, in: message) }) else { return }
      shapes.remember(event, fields, in: message, app: app.number, shape: shape)
    }
  }

  private func batch(
    _ pass: inout BatchPass, _ source: Source, _ clock: EventClock, isOfTestUser: Bool, isTimed: Bool
  ) -> PreparedBatch {
    let (reader, message) = (source.reader, source.message)
    pass.identify { index, event in
      let usesID = event.sequence == 0 && !event.eventID.isEmpty
      return (
        id: usesID ? hash.id(event.eventID.bytes(in: message)) : .zero,
        content: source.contents.isEmpty
          ? hash.content(event.encoded.bytes(in: message), of: source.user) : source.contents[index]
      )
    }
    pass.sortProblems()
    return PreparedBatch(
      app: source.app, message: Array(message), checksum: CRC32C.checksum(message),
      events: pass.events, problems: pass.problems,
      device: reader.deviceID.isEmpty ? .zero : hash.id(reader.deviceID.bytes(in: message)),
      user: source.user, sdkVersion: reader.context.text(.sdkVersion),
      ownVersions: Self.ownVersions(reader, message), removals: source.removals,
      qrMarks: QRMark.marks(reader), clock: clock, number: reader.batch, isOfTestUser: isOfTestUser,
      isTimed: isTimed)
  }

  private static func ownVersions(
    _ reader: BatchReader, _ message: UnsafeRawBufferPointer
  ) -> [OwnVersion] {
    var versions: [OwnVersion] = []
    for (index, event) in reader.events.enumerated() where event.hasOwnContext {
      let version = reader.context(of: event).own?.text(.sdkVersion) ?? .empty
      // An event that is rejected for its context is counted too: under its own version only where that is one.
      guard !version.isEmpty, version.length <= EventLimits.contextTextBytesMax,
        UTF8Validation.isValid(version.bytes(in: message))
      else { continue }
      versions.append(OwnVersion(index: index, version: version))
    }
    return versions
  }
}

/// A reader between two batches.
// Sendable because whoever took it out of the pool is alone with it.
private final class ReaderBox: @unchecked Sendable {
  let reader = BatchReader()
  let shapes = KnownShapes()
  private var batches: UInt64 = 0

  func isNextTimed() -> Bool {
    batches &+= 1
    return batches % PipelineFigures.timedBatchInterval == 1
  }
}
