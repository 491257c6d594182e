import Dispatch
import Foundation
import Logging
import RPC
import RPCTransport
import Store
import Synchronization

/// The one thread that writes the log, with group commit: everything that was queued while the last transaction was synced
/// goes into the next one. A batch is answered after its transaction is on disk.
final class LogWriter: Sendable {
  /// What waits for the writer.
  private enum Job: Sendable {
    case batch(PreparedBatch, BatchReply)
    /// A change of apps or tokens. Its second half runs once the transaction is on disk, or has failed.
    case change(
      @Sendable (LogAppender, StoreConnection) throws -> Void, @Sendable ((any Error)?) -> Void)

    var byteCount: Int {
      switch self {
      case .batch(let batch, _): batch.byteCount
      case .change: 0
      }
    }

    /// The app whose share it takes.
    var app: AppEntry? {
      switch self {
      case .batch(let batch, _): batch.app
      case .change: nil
      }
    }
  }

  private struct State {
    var queue: [Job] = []
    /// Jobs and bytes that wait, or are in the current transaction.
    var jobs = 0
    var bytes = 0
    var bound = QueueBound()
    var isAsleep = false
    var isClosed = false
    var hasStarted = false
    var failure: (any Error)?
    /// On a full disk: when a batch is tried again, on the monotonic clock in ns. 0: the disk is not full.
    var fullUntil: Int64 = 0
  }

  private let store: Store
  private let logger: Logger
  private let figures: PipelineFigures
  private let appender: Confined<LogAppender>
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)
  private let finished = DispatchSemaphore(value: 0)
  private let status: Mutex<Status>
  /// Whether the queue is so full that a batch may be refused before it is decoded.
  private let crowded = Atomic<Bool>(false)
  private let eventIDs: Atomic<Int>
  private let eventIDsMax: Int
  let head: LogHead

  /// Figures as of the last transaction.
  struct Status: Sendable {
    var payloadBytes: Int64
    var quarantined: Int
    /// Events that made room for newer ones, since the start.
    var quarantineDropped = 0
    var groups = 0
    var batches = 0
    var eventIDs = 0
  }

  init(
    store: Store, logger: Logger, figures: PipelineFigures, dedup: DedupOptions = DedupOptions(),
    ledgerDays: Int = Limits.ledgerDays, quarantine: QuarantineBounds = QuarantineBounds()
  ) throws {
    Limits.check()
    self.store = store
    self.logger = logger
    self.figures = figures
    let appender = try store.write {
      try LogAppender(
        $0, dedup: dedup, ledgerDays: ledgerDays, quarantine: quarantine, figures: figures)
    }
    self.appender = Confined(appender)
    head = LogHead(appender.rows.head)
    status = Mutex(
      Status(
        payloadBytes: appender.rows.payloadBytes, quarantined: appender.quarantine.keptCount,
        eventIDs: appender.eventIDCount))
    eventIDs = Atomic(appender.eventIDCount)
    eventIDsMax = dedup.eventIDsMax
  }

  private var isCrowded: Bool { crowded.load(ordering: .relaxed) }

  var currentStatus: Status { status.withLock { $0 } }

  /// Why nothing is written any more, if so.
  var failure: (any Error)? { state.withLock { $0.failure } }

  /// Whether the last transaction found no space.
  var isDiskFull: Bool { state.withLock { $0.fullUntil != 0 } }

  // MARK: Queueing

  /// Queues a batch; its reply is answered later, in every case.
  ///
  /// - Throws: RESOURCE_EXHAUSTED where the queue or the disk is full, UNAVAILABLE after a failure or `close`. The reply is not used
  ///   then.
  func submit(_ batch: PreparedBatch, _ reply: BatchReply) throws(RPCError) {
    do throws(RPCError) {
      if eventIDs.load(ordering: .relaxed) >= eventIDsMax, batch.events.contains(where: \.hasID) {
        throw IngestErrors.tooManyIDs(max: eventIDsMax)
      }
      try enqueue(.batch(batch, reply))
    } catch {
      figures.refuse(.append)
      throw error
    }
  }

  /// Whether a batch of so many bytes can be queued now, as far as can be told before it is decoded.
  func gate(bytes: Int, app: @autoclosure () -> AppEntry?) -> GateState {
    guard isCrowded else { return .open }
    let app = app()
    return state.withLock { state in
      guard Self.admits(bytes, of: app, state) else {
        return .shut(Self.queueFull(&state))
      }
      let held = app?.queuedBytes.load(ordering: .relaxed) ?? 0
      return state.bound.slows(bytes, ofApp: held) ? .crowded : .open
    }
  }

  /// What would refuse a batch of so many bytes now; nil: nothing, as far as can be told before it is decoded.
  ///
  /// - Parameter app: nil: not known yet.
  func refusal(bytes: Int, app: @autoclosure () -> AppEntry?) -> RPCError? {
    guard isCrowded else { return nil }
    let app = app()
    return state.withLock { state in
      if Self.admits(bytes, of: app, state) { return nil }
      return Self.queueFull(&state)
    }
  }

  private static func admits(_ bytes: Int, of app: AppEntry?, _ state: borrowing State) -> Bool {
    state.jobs < Limits.queuedBatchesMax
      && state.bound.admits(
        bytes, queued: state.bytes, ofApp: app?.queuedBytes.load(ordering: .relaxed) ?? 0)
  }

  private static func queueFull(_ state: inout State) -> RPCError {
    state.bound.refused()
    return IngestErrors.queueFull(pushback: state.bound.pushback(queued: state.bytes))
  }

  /// Runs a change in the next transaction and returns once it is on disk. An error that the closure throws is a failure
  /// of the log: domain errors are part of what it returns.
  func change<T: Sendable>(
    _ body: @escaping @Sendable (LogAppender, StoreConnection) throws -> T
  ) async throws -> T {
    return try await withCheckedThrowingContinuation { continuation in
      let box = ResultBox<T>()
      let job = Job.change(
        { appender, connection in box.set(try body(appender, connection)) },
        { error in continuation.resume(with: box.result(error)) })
      do throws(RPCError) {
        try enqueue(job)
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  private func enqueue(_ job: Job) throws(RPCError) {
    let result = state.withLock { state -> Result<Bool, RPCError> in
      if let failure = state.failure { return .failure(IngestErrors.failed(failure)) }
      if state.isClosed { return .failure(IngestErrors.shuttingDown) }
      // A change is tried: retention may be what makes room.
      if state.fullUntil != 0, job.byteCount > 0, MonotonicClock.now < state.fullUntil {
        return .failure(IngestErrors.diskFull())
      }
      let (bytes, app) = (job.byteCount, job.app)
      guard Self.admits(bytes, of: app, state) else {
        return .failure(Self.queueFull(&state))
      }
      state.jobs += 1
      state.bytes += bytes
      app?.queuedBytes.add(bytes, ordering: .relaxed)
      if state.bound.isCrowded(state.bytes) { crowded.store(true, ordering: .relaxed) }
      state.queue.append(job)
      defer { state.isAsleep = false }
      return .success(state.isAsleep)
    }
    // Not under the lock: the thread wants that first of all.
    if try result.get() { wake.signal() }
  }

  // MARK: The thread

  /// Before `start`: apps with counts of events that are to be written down.
  func adopt(seen apps: [AppEntry]) {
    precondition(!state.withLock { $0.hasStarted }, "the appender is the thread's once that runs")
    appender.value.adopt(seen: apps)
  }

  /// Starts the thread; once.
  func start() {
    let isFirst = state.withLock { state in
      defer { state.hasStarted = true }
      return !state.hasStarted
    }
    precondition(isFirst, "the writer is started once")
    let thread = Thread { [self] in
      ThreadTurns.beWriter()
      runLoop()
      finished.signal()
    }
    thread.start()
  }

  /// Writes what is queued, then ends the thread. Later batches are refused with UNAVAILABLE.
  func close() {
    let (mustWake, mustWait) = state.withLock { state in
      guard !state.isClosed else { return (false, false) }
      state.isClosed = true
      defer { state.isAsleep = false }
      return (state.isAsleep, state.hasStarted)
    }
    if mustWake { wake.signal() }
    if mustWait { finished.wait() }
  }

  private func runLoop() {
    while let jobs = nextJobs() {
      var rest = jobs[...]
      while !rest.isEmpty {
        let group = Self.takeGroup(&rest)
        commit(group)
      }
    }
    guard failure == nil else { return }
    do {
      try store.write { try appender.value.close($0) }
    } catch let error as StoreError where error.code == .diskFull {
      // What it would have written is in the journal: the next start applies it.
      logger.notice("no room to write the windows of devices; their journal stays")
    } catch {
      fail(error)
    }
  }

  private func nextJobs() -> [Job]? {
    while true {
      let jobs = state.withLock { state -> [Job]? in
        if state.queue.isEmpty {
          if state.isClosed { return nil }
          state.isAsleep = true
          return []
        }
        defer { state.queue = [] }
        return state.queue
      }
      guard let jobs else { return nil }
      if !jobs.isEmpty { return jobs }
      wake.wait()
    }
  }

  private static func takeGroup(_ rest: inout ArraySlice<Job>) -> ArraySlice<Job> {
    var bytes = 0
    var end = rest.startIndex
    while end < rest.endIndex, end - rest.startIndex < Limits.groupBatchesMax {
      bytes += rest[end].byteCount
      if bytes > Limits.groupBytesMax, end > rest.startIndex { break }
      end += 1
    }
    defer { rest = rest[end...] }
    return rest[..<end]
  }

  private func commit(_ group: ArraySlice<Job>) {
    let begun = MonotonicClock.now
    // What fails says nothing of the writer's speed.
    var written = 0
    // With the checkpoint: that is the writer's time, too.
    defer {
      state.withLock { state in
        state.bound.committed(
          bytes: written, nanoseconds: MonotonicClock.now - begun, queued: state.bytes)
      }
    }
    if let failure { return refuse(group, IngestErrors.failed(failure)) }
    let appender = appender.value
    var answers: [[UInt8]] = []
    answers.reserveCapacity(group.count)
    var steps = StepClock(figures, isTimed: true)
    appender.begin()
    do {
      try store.write(checkpoint: false) { connection in
        for job in group {
          switch job {
          case .batch(let batch, _): answers.append(try appender.append(batch, connection))
          case .change(let body, _):
            try body(appender, connection)
            answers.append([])
          }
        }
        try appender.finish(connection)
        steps.restart()
      }
      steps.lap(.sync)
    } catch let error as StoreError where error.code == .diskFull {
      appender.rollBack()
      diskIsFull(error)
      return refuse(group, IngestErrors.diskFull())
    } catch {
      fail(error)
      return refuse(group, IngestErrors.failed(error))
    }
    written = group.reduce(0) { $0 + $1.byteCount }
    diskHasSpace()
    status.withLock { status in
      status.payloadBytes = appender.rows.payloadBytes
      status.quarantined = appender.quarantine.keptCount
      status.quarantineDropped = appender.quarantine.droppedCount
      status.groups += 1
      status.eventIDs = appender.eventIDCount
      status.batches += group.count
    }
    eventIDs.store(appender.eventIDCount, ordering: .relaxed)
    // First the head, then the answers: who has an answer reads its own events.
    head.advance(to: appender.rows.head)
    figures.add(appender.takeTally())
    let observed = appender.didCommit()
    answer(group, answers)
    steps.lap(.answer)
    for (batch, fates, problems) in observed { TestObserver.show(batch, fates, problems) }
    // After the answers: nobody waits for a checkpoint.
    store.checkpointIfDue()
  }

  private func answer(_ group: ArraySlice<Job>, _ answers: [[UInt8]]) {
    release(group)
    var calls: [(ParkedCall, Result<[UInt8], RPCError>)] = []
    calls.reserveCapacity(group.count)
    for (job, answer) in zip(group, answers) {
      switch job {
      case .batch(_, .call(let call)): calls.append((call, .success(answer)))
      case .batch(_, .ticket(let ticket)): ticket.complete(.success(answer))
      case .change(_, let completion): completion(nil)
      }
    }
    if !calls.isEmpty { ParkedCall.complete(calls) }
  }

  private func refuse(_ group: ArraySlice<Job>, _ error: RPCError) {
    release(group)
    var calls: [(ParkedCall, Result<[UInt8], RPCError>)] = []
    for job in group {
      switch job {
      case .batch(_, .call(let call)): calls.append((call, .failure(error)))
      case .batch(_, .ticket(let ticket)): ticket.complete(.failure(error))
      case .change(_, let completion): completion(error)
      }
    }
    if !calls.isEmpty { ParkedCall.complete(calls) }
  }

  /// Before the answers: who has one sends the next batch, which finds the room of the one before.
  private func release(_ group: ArraySlice<Job>) {
    var bytes = 0
    for job in group {
      let one = job.byteCount
      bytes += one
      job.app?.queuedBytes.subtract(one, ordering: .relaxed)
    }
    state.withLock { state in
      state.jobs -= group.count
      state.bytes -= bytes
      if !state.bound.isCrowded(state.bytes) { crowded.store(false, ordering: .relaxed) }
    }
  }

  /// Refuses at the door for a while, so that a full disk is not tried with every batch.
  private func diskIsFull(_ error: StoreError) {
    let isNew = state.withLock { state in
      defer {
        state.fullUntil = MonotonicClock.now + Int64(Limits.diskFullRetryMilliseconds) * 1_000_000
      }
      return state.fullUntil == 0
    }
    guard isNew else { return }
    logger.error("the disk is full: no events are taken", metadata: ["error": "\(error)"])
    // Where the file still has room for what is in the write-ahead log, that begins anew.
    store.checkpoint(truncate: false)
  }

  private func diskHasSpace() {
    let wasFull = state.withLock { state in
      defer { state.fullUntil = 0 }
      return state.fullUntil != 0
    }
    if wasFull { logger.notice("the disk has space again: events are taken") }
  }

  /// Nothing is acknowledged from here on: it is not known what is on disk.
  private func fail(_ error: any Error) {
    state.withLock { $0.failure = error }
    logger.critical("the log cannot be written", metadata: ["error": "\(error)"])
  }
}

/// A value that one thread uses at a time, by the rules of the code around it.
// Sendable because the writer's thread alone touches it once that is started.
private final class Confined<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// Carries what a change returned from its transaction to its completion.
private final class ResultBox<T: Sendable>: Sendable {
  private let value = Mutex<T?>(nil)

  func set(_ value: T) { self.value.withLock { $0 = value } }

  func result(_ error: (any Error)?) -> Result<T, any Error> {
    if let error { return .failure(error) }
    guard let value = value.withLock({ $0 }) else {
      return .failure(RPCError(.internal, "a change was not run"))
    }
    return .success(value)
  }
}
