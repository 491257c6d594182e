import Ingest
import RPC
import ServiceKit

await ServiceMain(
  name: "ingest",
  summary: "Takes events into the durable log, keeps apps and tokens, and sends the log to the services.",
  port: 7001, metricsPort: 7101, settings: IngestSettings.all
) { context in
  let settings = context.settings
  let core = try IngestCore(
    path: context.file("ingest.sqlite"), logger: context.logger,
    dedup: IngestSettings.dedup(settings),
    fileBytesMax: settings[IngestSettings.logMebibytesMax] << 20,
    ledgerDays: settings[IngestSettings.ledgerDays],
    quarantineEventsMax: settings[IngestSettings.quarantineEventsMax],
    quarantineBytesMax: settings[IngestSettings.quarantineMebibytesMax] << 20,
    policy: IngestSettings.policy(settings),
    onDamage: { context.health.setApart(EventLogService.healthName, serving: !$0) },
    onToken: { context.tokens.apply($0) })
  try await core.makeFirstTokens(
    in: context.dataFolder, now: WallClock.nowMilliseconds, logger: context.logger)
  context.metrics.gauge("footfall_log_head_offset", help: "The offset of the next event.") {
    Double(core.head)
  }
  context.metrics.counter(
    "footfall_log_transactions_total", help: "Transactions of the log, each synced once."
  ) { Double(core.figures.groups) }
  context.metrics.counter(
    "footfall_log_batches_total", help: "Batches and changes in those transactions."
  ) { Double(core.figures.batches) }
  core.register(in: context.metrics)
  LogFigures.register(core, in: context.metrics)
  context.metrics.gauge(
    "footfall_log_disk_full", help: "1: the last transaction found no space; batches are refused."
  ) { core.isDiskFull ? 1 : 0 }
  let service = IngestService(core: core)
  return ServiceParts(
    handlers: service.services, background: [.init("log") { try await service.run() }],
    drain: { service.drain() }, close: { service.close() })
}.main()
