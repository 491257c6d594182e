package import Messages
package import RPC
import Dispatch
import Events

/// Answers reports over the whole history.
package final class QueryService: QueryHandlers {
  /// How often the unsealed rows are looked at, ms.
  private static let mergeIntervalMilliseconds = 250
  /// Decoded days are given back after so many intervals without a query.
  private static let idleIntervals = 40

  private let engine: QueryEngine
  private let pool: QueryPool
  private let status: @Sendable () -> ProtoConsumerStatus
  private let bytesMax: Int
  private let mergeQueue = DispatchQueue(label: "footfall.merge")

  /// - Parameters:
  ///   - status: how far the log has been applied.
  package init(
    engine: QueryEngine, configuration: QueryConfiguration,
    status: @escaping @Sendable () -> ProtoConsumerStatus
  ) {
    self.engine = engine
    self.status = status
    bytesMax = configuration.queryBytesMax
    pool = QueryPool(
      threads: configuration.threads, waitingMax: configuration.waitingQueriesMax)
  }

  package func getTrend(
    _ request: ProtoGetTrendRequest, context: CallContext
  ) async throws -> ProtoGetTrendResponse {
    try await Self.mappingErrors {
      let query = try TrendQuery(request, appID: context.appID(requested: request.appID))
      // The message is built on the query's thread: a large one must not hold up the connection's event loop.
      return try await run(context) { [engine] control in
        ProtoGetTrendResponse(try engine.trend(query, control: control))
      }
    }
  }

  package func getFunnel(
    _ request: ProtoGetFunnelRequest, context: CallContext
  ) async throws -> ProtoGetFunnelResponse {
    try await Self.mappingErrors {
      let query = try FunnelQuery(request, appID: context.appID(requested: request.appID))
      return try await run(context) { [engine] control in
        ProtoGetFunnelResponse(try engine.funnel(query, control: control))
      }
    }
  }

  package func getStatus(
    _ request: ProtoGetQueryStatusRequest, context: CallContext
  ) async throws -> ProtoConsumerStatus { status() }

  private func run<Answer: Sendable>(
    _ context: CallContext, _ query: @escaping @Sendable (QueryControl) throws -> Answer
  ) async throws -> Answer {
    let control = QueryControl(deadline: context.deadline, bytesMax: bytesMax)
    return try await pool.run(control) { try query(control) }
  }

  /// Merges unsealed rows into days until the task is cancelled.
  ///
  /// - Throws: `StoreError` where the file cannot be written any more; the service must stop.
  package func run() async throws {
    var idle = 0
    var queries = engine.queryCount
    while true {
      try await Task.sleep(for: .milliseconds(Self.mergeIntervalMilliseconds))
      try await merge()
      idle = engine.queryCount == queries ? idle + 1 : 0
      queries = engine.queryCount
      if idle == Self.idleIntervals { engine.cache.removeAll() }
    }
  }

  private func merge() async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      mergeQueue.async { [engine] in
        continuation.resume(with: Result { _ = try engine.mergeIfDue() })
      }
    }
  }
}
