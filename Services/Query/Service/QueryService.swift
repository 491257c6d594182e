package import Messages
package import RPC
import Dispatch

/// Answers reports over the whole history.
package final class QueryService: QueryHandlers {
  /// How often the unsealed rows are looked at, ms.
  private static let mergeIntervalMilliseconds = 250
  /// Decoded days are given back after so many intervals without a query.
  private static let idleIntervals = 40

  private let runner: ReportRunner
  private let status: @Sendable () -> ProtoConsumerStatus
  private let sealRows: Int
  private let mergeQueue = DispatchQueue(label: "footfall.merge")

  /// - Parameters:
  ///   - sealRows: so many unsealed rows of an app are merged into its days.
  ///   - status: how far the log has been applied.
  package init(
    runner: ReportRunner, sealRows: Int? = nil,
    status: @escaping @Sendable () -> ProtoConsumerStatus
  ) {
    self.runner = runner
    self.sealRows = sealRows ?? Limits.sealRows
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

  /// Merges unsealed rows into days until the task is cancelled.
  ///
  /// - Throws: `StoreError` where the file cannot be written any more; the service must stop.
  package func run() async throws {
    var idle = 0
    var queries = runner.engine.queryCount
    while true {
      try await Task.sleep(for: .milliseconds(Self.mergeIntervalMilliseconds))
      try await merge()
      idle = runner.engine.queryCount == queries ? idle + 1 : 0
      queries = runner.engine.queryCount
      if idle == Self.idleIntervals { runner.giveBack() }
    }
  }

  private func merge() async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      mergeQueue.async { [runner, sealRows] in
        continuation.resume(with: Result { _ = try runner.engine.mergeIfDue(rows: sealRows) })
      }
    }
  }
}
