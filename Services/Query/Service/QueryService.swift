package import Messages
package import RPC
import Dispatch

/// Answers reports over the whole history.
package final class QueryService: QueryHandlers {
  /// How often the unsealed rows are looked at, ms.
  private static let mergeIntervalMilliseconds = 250
  /// Decoded days are given back after so many intervals without a query.
  private static let idleIntervals = 240
  /// All rows are sealed, however few, after so many intervals without new ones.
  private static let quietIntervals = 40

  private let runner: ReportRunner
  private let status: @Sendable () -> ProtoConsumerStatus
  private let sealRows: Int
  private let compressAfterSeconds: Int
  private let retentionDays: Int
  private let mergeQueue = DispatchQueue(label: "footfall.merge")

  /// - Parameters:
  ///   - sealRows: so many unsealed rows of an app are merged into its days.
  ///   - compressAfterSeconds: a sealed day that was left alone for so long is compressed.
  ///   - retentionDays: so many days are kept; 0: all.
  ///   - status: how far the log has been applied.
  package init(
    runner: ReportRunner, sealRows: Int? = nil, compressAfterSeconds: Int? = nil,
    retentionDays: Int = 0,
    status: @escaping @Sendable () -> ProtoConsumerStatus
  ) {
    self.runner = runner
    self.sealRows = sealRows ?? Limits.sealRows
    self.compressAfterSeconds = compressAfterSeconds ?? Limits.compressAfterSecondsDefault
    self.retentionDays = retentionDays
    self.status = status
  }

  package func getTrend(
    _ request: ProtoGetTrendRequest, context: CallContext
  ) async throws -> ProtoGetTrendResponse {
    try await runner.answer(request, context)
  }

  package func getFunnel(
    _ request: ProtoGetFunnelRequest, context: CallContext
  ) async throws -> ProtoGetFunnelResponse {
    try await runner.answer(request, context)
  }

  package func getStatus(
    _ request: ProtoGetQueryStatusRequest, context: CallContext
  ) async throws -> ProtoConsumerStatus { status() }

  /// Merges unsealed rows into days, and compresses what has come to rest, until the task is cancelled. What compressing would take
  /// of the processor is left to the log while that is far ahead.
  ///
  /// - Throws: `StoreError` where the file cannot be written any more; the service must stop.
  package func run() async throws {
    let engine = runner.engine
    var idle = 0
    var quiet = 0
    var queries = engine.queryCount
    var position = engine.currentPosition
    // As in ingest: a wall clock that is set ahead while the process runs makes no day old.
    let (wall, start) = (WallClock.nowMilliseconds, MonotonicClock.now)
    var hasMore = false
    while true {
      if hasMore { try Task.checkCancellation() } else {
        try await Task.sleep(for: .milliseconds(Self.mergeIntervalMilliseconds))
      }
      quiet = engine.currentPosition == position ? quiet + 1 : 0
      position = engine.currentPosition
      // A setting below the default means it: nothing waits then.
      let leavesFew = quiet < Self.quietIntervals && sealRows >= Limits.sealRows
      let now = min(
        WallClock.nowMilliseconds, wall + (MonotonicClock.now - start) / 1_000_000)
      let isFarBehind = isFarBehind
      let choice: MergeChoice = leavesFew ? isFarBehind ? .past : .cheap : .all
      let rows = choice == .past ? max(sealRows, Limits.sealRowsOfPastDays) : sealRows
      let sealed = try await tend(
        rows: quiet < Self.quietIntervals ? rows : 1, choice, isFarBehind: isFarBehind, now: now)
      // Meanwhile as many may have come again.
      hasMore = isFarBehind && sealed > 0
      idle = engine.queryCount == queries ? idle + 1 : 0
      queries = engine.queryCount
      if idle == Self.idleIntervals { runner.giveBack() }
    }
  }

  /// - Returns: the rows sealed.
  private func tend(
    rows: Int, _ choice: MergeChoice, isFarBehind: Bool, now: Int64
  ) async throws -> Int {
    try await withCheckedThrowingContinuation { continuation in
      mergeQueue.async { [runner, compressAfterSeconds, retentionDays] in
        continuation.resume(
          with: Result {
            let sealed = try runner.engine.mergeIfDue(
              rows: rows, choice, retentionDays: retentionDays, nowMilliseconds: now)
            if !isFarBehind { try runner.engine.compressQuiet(seconds: compressAfterSeconds) }
            return sealed
          })
      }
    }
  }

  /// Whether the log has more events to apply than one merge takes.
  private var isFarBehind: Bool {
    let status = status()
    return status.logHeadOffset > status.nextOffset + UInt64(Limits.sealRows)
  }
}
