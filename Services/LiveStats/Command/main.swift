import LiveStats
import ServiceKit

await ServiceMain(
  name: "live-stats",
  summary: "Counts visits, opens and users by the minute and tells of every change.",
  port: 7004, metricsPort: 7104, settings: LiveStatsSettings.all
) { context in
  try LiveStatsProcess.parts(context)
}.main()
