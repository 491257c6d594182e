import Messages
package import ServiceKit
import RPC

/// The log's figures for Prometheus.
package enum LogFigures {
  package static func register(_ core: IngestCore, in metrics: MetricsRegistry) {
    metrics.gauge("footfall_log_first_offset", help: "The first offset that retention has left.") {
      Double(core.firstOffset)
    }
    metrics.gauge(
      "footfall_log_damaged_records", help: "Damaged records that were found since the start."
    ) { Double(core.damagedRecords) }
    metrics.gauges(
      "footfall_log_subscriber_lag_events", help: "Offsets that a subscriber has not applied."
    ) {
      core.currentLags.map { ([("subscriber", $0.name)], Double($0.lagEvents)) }
    }
    metrics.gauges(
      "footfall_log_subscriber_lag_milliseconds",
      help: "Age of the first record that a subscriber has not applied, as of the last second."
    ) {
      core.currentLags.map { ([("subscriber", $0.name)], Double($0.lagMs)) }
    }
  }
}
