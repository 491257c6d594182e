package import Messages
import RPC

/// Sends the chunks of a file over one stream, with a window of batches that are not acknowledged yet, and settles each chunk
/// when ingest has it on disk. After a broken connection it sends what was not acknowledged again.
package final class Importer {
  /// The store does not hold what an earlier run had sent to it.
  package struct StateMismatch: Error {}

  /// Events on the way at most; below half of it sending goes on.
  private static let windowEvents = 20_000
  private static let windowBatches = 512
  private static let retriesMax = 8

  private let client: IngestClient
  private let source: ChunkSource
  private let stateFile: ImportStateFile?
  private let rejects: RejectFile?
  private let onProgress: (ChunkSource) -> Void
  private var state: ImportState
  private var report: ImportReport
  private var unacknowledged: [ImportBatch] = []
  private var unacknowledgedEvents = 0
  /// Chunks without a batch, settled with the next one that has some.
  private var carried: ChunkClosing?
  private var lastBatch: UInt64 = 0
  private var failures = 0
  private var isSourceDone = false

  package init(
    client: IngestClient, source: ChunkSource, state: ImportState, stateFile: ImportStateFile?,
    rejects: RejectFile?, onProgress: @escaping (ChunkSource) -> Void
  ) {
    self.client = client
    self.source = source
    self.state = state
    self.stateFile = stateFile
    self.rejects = rejects
    self.onProgress = onProgress
    report = state.reportAtCheck
  }

  /// - Throws: `InputError`, `RPCError`, `StateMismatch`. What was acknowledged until then is in `settled`.
  package func run() async throws -> ImportReport {
    while true {
      do {
        try await transfer()
        if let carried { try settle(carried, isCheck: false) }
        return report
      } catch let error as RPCError where Self.isTransient(error.code) && failures < Self.retriesMax {
        failures += 1
        try await Task.sleep(for: .milliseconds(min(100 << failures, 5_000)))
      }
    }
  }

  /// What is certain so far.
  package var settled: ImportReport { report }

  private static func isTransient(_ code: StatusCode) -> Bool {
    switch code {
    case .unavailable, .resourceExhausted, .aborted: true
    default: false
    }
  }

  private func transfer() async throws {
    let call = try await client.collectStream()
    // The answers are read by a task of their own: a server that waits for its answers to be read would not read requests.
    let (answers, continuation) = AsyncThrowingStream<ProtoCollectResponse, any Error>.makeStream()
    let receiver = Task {
      do {
        for try await answer in call.responses { continuation.yield(answer) }
        continuation.finish()
      } catch {
        continuation.finish(throwing: error)
      }
    }
    defer {
      call.cancel()
      receiver.cancel()
    }
    var iterator = answers.makeAsyncIterator()
    for batch in unacknowledged { try await call.send(batch.request) }
    while let batch = try nextBatch() {
      unacknowledged.append(batch)
      unacknowledgedEvents += batch.request.events.count
      try await call.send(batch.request)
      guard isWindowFull(1) else { continue }
      while isWindowFull(2) { try acknowledge(try await iterator.next()) }
    }
    try await call.finishSending()
    while !unacknowledged.isEmpty { try acknowledge(try await iterator.next()) }
  }

  private func isWindowFull(_ divisor: Int) -> Bool {
    unacknowledgedEvents >= Self.windowEvents / divisor
      || unacknowledged.count >= Self.windowBatches / divisor
  }

  private var pending: ArraySlice<ImportBatch> = []

  private func nextBatch() throws(InputError) -> ImportBatch? {
    while pending.isEmpty {
      guard !isSourceDone, let chunk = try source.next() else {
        isSourceDone = true
        return nil
      }
      onProgress(source)
      var closing = chunk.closing
      if var before = carried {
        before.append(closing)
        closing = before
      }
      carried = closing
      guard !chunk.batches.isEmpty else { continue }
      carried = nil
      pending = chunk.batches[...]
      pending[pending.endIndex - 1].closing = closing
    }
    guard var batch = pending.popFirst() else { return nil }
    lastBatch += 1
    batch.request.batch = lastBatch
    return batch
  }

  private func acknowledge(_ answer: ProtoCollectResponse?) throws {
    guard let answer else {
      throw RPCError(.unavailable, "ingest ended the stream before it had answered every batch")
    }
    guard let batch = unacknowledged.first, batch.request.batch == answer.batch else {
      throw RPCError(.internal, "ingest answered batch \(answer.batch) out of order")
    }
    if answer.hasError {
      try refuse(batch, answer.error)
    } else {
      if batch.isCheck && answer.duplicates < answer.accepted { throw StateMismatch() }
      report.count(accepted: Int(answer.accepted), duplicates: Int(answer.duplicates))
      for rejected in answer.rejected {
        guard let origin = batch.origin(of: rejected) else { continue }
        try reject(RowProblem(rejected, origin), isCheck: batch.isCheck)
      }
      for quarantined in answer.quarantined {
        guard let origin = batch.origin(of: quarantined) else { continue }
        report.quarantine(RowProblem(quarantined, origin).problem, line: origin.line)
      }
    }
    unacknowledged.removeFirst()
    unacknowledgedEvents -= batch.request.events.count
    failures = 0
    if let closing = batch.closing { try settle(closing, isCheck: batch.isCheck) }
  }

  private func refuse(_ batch: ImportBatch, _ error: ProtoBatchError) throws {
    let code = StatusCode(rawValue: Int(error.code)) ?? .unknown
    // A batch that breaks a rule costs its own rows; anything else would befall every batch.
    guard code == .invalidArgument else { throw RPCError(code, error.message) }
    let problem = LineProblem("batch_refused", error.message)
    for origin in batch.origins {
      try reject(
        RowProblem(line: origin.line, row: origin.row, problem: problem), isCheck: batch.isCheck)
    }
  }

  private func reject(_ row: RowProblem, isCheck: Bool) throws {
    report.reject(row.problem, line: row.line)
    // An earlier run has written these.
    if !isCheck { try rejects?.write(row) }
  }

  private func settle(_ closing: ChunkClosing, isCheck: Bool) throws {
    report.count(rows: closing.rows)
    for row in closing.problems { try reject(row, isCheck: isCheck) }
    if closing.rowsDone >= state.rowsDone, !isCheck {
      state.advance(to: closing.rowsDone, report: report)
      // Without the state the next run begins at the front, which costs time only.
      try? stateFile?.save(state)
    }
  }
}

extension ImportBatch {
  fileprivate func origin(of event: ProtoRejectedEvent) -> (line: Int, row: [UInt8])? {
    origins.indices.contains(Int(event.index)) ? origins[Int(event.index)] : nil
  }
}

extension RowProblem {
  fileprivate init(_ event: ProtoRejectedEvent, _ origin: (line: Int, row: [UInt8])) {
    self.init(
      line: origin.line, row: origin.row,
      problem: LineProblem(event.reason, field: event.field, event.message))
  }
}
