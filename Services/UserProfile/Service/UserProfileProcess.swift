import Messages
package import ServiceKit
import Store
import Subscription

/// User-profile as a process.
package enum UserProfileProcess {
  /// - Throws: where the store cannot be opened or holds something damaged.
  package static func parts(_ context: ServiceContext) throws -> ServiceParts {
    let source = try IngestSource(context)
    let core = try UserProfileCore(
      path: context.file("profile.sqlite"),
      configuration: UserProfileConfiguration(context.settings), transport: source,
      tokens: context.tokens, logger: context.logger,
      onPoison: { context.stop("profile.sqlite: \($0.message)") })
    register(core, context.metrics)
    return ServiceParts(
      handlers: [core.service], background: [.init("profile") { try await core.run() }],
      close: {
        await source.close()
        core.close()
      })
  }

  private static func register(_ core: UserProfileCore, _ metrics: MetricsRegistry) {
    metrics.gauge("footfall_consumer_next_offset", help: "The next offset of the log to apply.") {
      Double(core.follower.status.nextOffset)
    }
    metrics.gauge("footfall_consumer_lag_events", help: "Offsets that the log is ahead.") {
      let status = core.follower.status
      return Double(status.logHeadOffset) - Double(status.nextOffset)
    }
    metrics.gauge(
      "footfall_profile_erasures_waiting", help: "Erased users of whom something may still be here."
    ) {
      Double(core.erasuresWaiting)
    }
  }
}
