package import ServiceKit
import Store
import Messages
import RPC
import Subscription

/// Query as a process: the store, the log that it follows, and the service.
package enum QueryProcess {
  /// - Throws: where the store cannot be opened or holds something damaged.
  package static func parts(_ context: ServiceContext) throws -> ServiceParts {
    let configuration = QueryConfiguration(context.settings)
    let store = try Store(
      path: context.file("query.sqlite"), options: configuration.storeOptions,
      migrations: Directory.migrations + QueryEngine.migrations(from: Directory.firstFreeMigration)
        + Directory.laterMigrations(from: Directory.firstFreeMigration + QueryEngine.migrationCount),
      onPoison: { context.stop("query.sqlite: \($0.message)") })
    let directory = try Directory(store: store, tokens: context.tokens)
    let engine = try QueryEngine(store: store, cacheBytesMax: configuration.cacheBytesMax)
    let source = try IngestSource(context)
    let follower = try LogFollower(
      subscriber: "query", transport: source, store: store, directory: directory,
      consumer: QueryConsumer(engine: engine), logger: context.logger)
    let runner = ReportRunner(engine: engine, configuration: configuration)
    let service = QueryService(
      runner: runner, sealRows: configuration.sealRows, status: { follower.status })
    register(runner, follower, context.metrics)
    return ServiceParts(
      handlers: [
        service, EventAnalysisService(runner: runner), RetentionService(runner: runner),
        UsersService(runner: runner), PerformanceService(runner: runner),
      ],
      background: [
        .init("follow") { try await follower.run() }, .init("merge") { try await service.run() },
      ],
      close: {
        await source.close()
        store.close()
      })
  }

  private static func register(
    _ runner: ReportRunner, _ follower: LogFollower, _ metrics: MetricsRegistry
  ) {
    let engine = runner.engine
    metrics.gauge("footfall_consumer_next_offset", help: "The next offset of the log to apply.") {
      Double(engine.currentPosition.nextOffset)
    }
    metrics.gauge("footfall_consumer_lag_events", help: "Offsets that the log is ahead.") {
      let status = follower.status
      return Double(status.logHeadOffset) - Double(status.nextOffset)
    }
    metrics.gauge("footfall_query_unsealed_rows", help: "Events not yet merged into days.") {
      Double(engine.unsealedRows)
    }
    metrics.counter("footfall_query_queries_total", help: "Queries begun.") {
      Double(engine.queryCount)
    }
    metrics.counter("footfall_query_answers_remembered_total", help: "Answers that were given again.") {
      Double(runner.answers.hits)
    }
  }
}
