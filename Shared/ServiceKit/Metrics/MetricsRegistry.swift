package import RPCTransport
internal import Synchronization

/// The figures of a process beyond those of its RPC server: read when somebody asks.
package final class MetricsRegistry: Sendable {
  package enum Kind: String, Sendable { case counter, gauge, summary }

  /// Metrics of one process at most.
  package static let metricsMax = 1_000

  struct Metric: Sendable {
    let name: String
    let kind: Kind
    let help: String
    let labels: [(String, String)]
    let read: @Sendable () -> Reading
  }

  /// What a metric says at one scrape.
  enum Reading: Sendable {
    case value(Double)
    case summary(sum: Double, count: Double)
  }

  private let metrics = Mutex<[Metric]>([])

  package init() {}

  /// A value that goes up and down: `footfall_log_head_offset`.
  ///
  /// - Parameter read: called on the metrics' own thread at each scrape; must not block for long.
  package func gauge(
    _ name: String, help: String, labels: [(String, String)] = [],
    read: @escaping @Sendable () -> Double
  ) {
    add(Metric(name: name, kind: .gauge, help: help, labels: labels) { .value(read()) })
  }

  /// A value that only goes up: `footfall_events_accepted_total`.
  package func counter(
    _ name: String, help: String, labels: [(String, String)] = [],
    read: @escaping @Sendable () -> Double
  ) {
    add(Metric(name: name, kind: .counter, help: help, labels: labels) { .value(read()) })
  }

  /// How often something was observed, and the sum of what was observed: `footfall_ingest_step_seconds`, of which `_sum` and
  /// `_count` are written.
  package func summary(
    _ name: String, help: String, labels: [(String, String)] = [],
    read: @escaping @Sendable () -> (sum: Double, count: Double)
  ) {
    add(
      Metric(name: name, kind: .summary, help: help, labels: labels) {
        let (sum, count) = read()
        return .summary(sum: sum, count: count)
      })
  }

  private func add(_ metric: Metric) {
    precondition(
      metric.name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 },
      "metric \(metric.name): a-z, 0-9 and _ only")
    metrics.withLock { metrics in
      precondition(metrics.count < Self.metricsMax, "more than \(Self.metricsMax) metrics")
      metrics.append(metric)
    }
  }

  /// Everything in Prometheus' text format, with a server's figures where they are given.
  package func text(_ statistics: ServerStatistics? = nil) -> String {
    var text = PrometheusText()
    if let statistics { text.add(statistics) }
    text.add(all)
    return text.text
  }

  /// All, those of one name behind one another.
  private var all: [Metric] { metrics.withLock { $0 }.sorted { $0.name < $1.name } }
}
