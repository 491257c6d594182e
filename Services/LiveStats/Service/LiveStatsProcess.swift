import Messages
package import ServiceKit
import Store
import Subscription

/// Live-stats as a process.
package enum LiveStatsProcess {
  /// - Throws: where the store cannot be opened or holds something damaged.
  package static func parts(_ context: ServiceContext) throws -> ServiceParts {
    let source = try IngestSource(context)
    let core = try LiveStatsCore(
      path: context.file("live.sqlite"), configuration: LiveStatsConfiguration(context.settings),
      transport: source, tokens: context.tokens, logger: context.logger,
      onPoison: { context.stop("live.sqlite: \($0.message)") })
    register(core, context.metrics)
    return ServiceParts(
      handlers: [core.service], background: [.init("live") { try await core.run() }],
      drain: { core.drain() },
      close: {
        await source.close()
        core.close()
      })
  }

  private static func register(_ core: LiveStatsCore, _ metrics: MetricsRegistry) {
    metrics.gauge("footfall_consumer_next_offset", help: "The next offset of the log to apply.") {
      Double(core.follower.status.nextOffset)
    }
    metrics.gauge("footfall_consumer_lag_events", help: "Offsets that the log is ahead.") {
      let status = core.follower.status
      return Double(status.logHeadOffset) - Double(status.nextOffset)
    }
    metrics.gauge(
      "footfall_live_erasures_waiting", help: "Erased users of whom something may still be here."
    ) {
      Double(core.erasuresWaiting)
    }
    metrics.gauge("footfall_live_watchers", help: "Calls of Watch that are running.") {
      Double(core.hub.watcherCount)
    }
  }
}
