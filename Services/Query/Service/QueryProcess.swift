package import ServiceKit
import Store
import Messages
import RPC
import Subscription

/// Query as a process: the store, the log that it follows, and the service.
package enum QueryProcess {
  /// - Throws: where the store cannot be opened or holds something damaged.
  package static func parts(_ context: ServiceContext) throws -> ServiceParts {
    Allocator.tune()
    let configuration = QueryConfiguration(context.settings)
    let store = try Store(
      path: context.file("query.sqlite"), options: configuration.storeOptions,
      migrations: migrations,
      onPoison: { context.stop("query.sqlite: \($0.message)") })
    let directory = try Directory(store: store, tokens: context.tokens)
    let engine = try QueryEngine(store: store, cacheBytesMax: configuration.cacheBytesMax)
    let source = try IngestSource(context)
    let follower = try LogFollower(
      subscriber: "query", transport: source, store: store, directory: directory,
      consumer: QueryConsumer(engine: engine), logger: context.logger)
    let runner = ReportRunner(engine: engine, configuration: configuration)
    let service = QueryService(
      runner: runner, sealRows: configuration.sealRows,
      compressAfterSeconds: configuration.compressAfterSeconds,
      retentionDays: configuration.retentionDays, status: { follower.status })
    register(runner, follower, context.metrics)
    return ServiceParts(
      handlers: [
        service, EventAnalysisService(runner: runner), RetentionService(runner: runner),
        UsersService(runner: runner), PerformanceService(runner: runner),
        VisitsService(runner: runner), PagesService(runner: runner),
        TrafficService(runner: runner), PathsService(runner: runner),
        ReportsService(runner: runner), ReportStoreService(engine: engine),
      ],
      background: [
        .init("follow") { try await follower.run() }, .init("merge") { try await service.run() },
      ],
      close: {
        await source.close()
        store.close()
      })
  }

  /// Ours and the directory's took turns: a file keeps the numbers that it was made with.
  private static var migrations: [Migration] {
    var all = Directory.migrations + QueryEngine.migrations(from: Directory.firstFreeMigration)
    all += Directory.laterMigrations(from: all.count + 1)
    all += QueryEngine.laterMigrations(from: all.count + 1)
    return all
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
    metrics.gauge("footfall_query_uncompressed_days", help: "Sealed days not yet compressed.") {
      Double(engine.looseDays)
    }
    metrics.gauge("footfall_query_cache_bytes", help: "Decoded days kept between queries.") {
      Double(engine.cacheBytes)
    }
    metrics.gauge(
      "footfall_query_erasures_waiting", help: "Erased users of whom something may still be here."
    ) {
      Double(engine.waitingErasures)
    }
    metrics.counter("footfall_query_queries_total", help: "Queries begun.") {
      Double(engine.queryCount)
    }
    metrics.counter("footfall_query_answers_remembered_total", help: "Answers that were given again.") {
      Double(runner.answers.hits)
    }
  }
}
