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

  /// Gauges of one name whose labels come and go.
  struct Family: Sendable {
    let name: String
    let help: String
    let read: @Sendable () -> [(labels: [(String, String)], value: Double)]
  }

  private let metrics = Mutex<[Metric]>([])
  private let families = Mutex<[Family]>([])

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

  /// Gauges of one name, one for each of a changing set of things: `footfall_log_subscriber_lag_events`.
  ///
  /// - Parameter read: as for `gauge`; each value with its labels.
  package func gauges(
    _ name: String, help: String,
    read: @escaping @Sendable () -> [(labels: [(String, String)], value: Double)]
  ) {
    Self.check(name)
    families.withLock { families in
      precondition(families.count < Self.metricsMax, "more than \(Self.metricsMax) families")
      families.append(Family(name: name, help: help, read: read))
    }
  }

  private static func check(_ name: String) {
    precondition(
      name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 },
      "metric \(name): a-z, 0-9 and _ only")
  }

  private func add(_ metric: Metric) {
    Self.check(metric.name)
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
  private var all: [Metric] {
    let changing = families.withLock { $0 }.flatMap { family in
      family.read().map { sample in
        Metric(
          name: family.name, kind: .gauge, help: family.help, labels: sample.labels,
          read: { .value(sample.value) })
      }
    }
    return (metrics.withLock { $0 } + changing).sorted { $0.name < $1.name }
  }
}
