internal import RPC
internal import RPCTransport

/// Writes figures in Prometheus' text format, version 0.0.4.
struct PrometheusText {
  private(set) var text = ""

  mutating func add(_ metrics: [MetricsRegistry.Metric]) {
    var last = ""
    for metric in metrics {
      if metric.name != last { head(metric.name, metric.kind.rawValue, metric.help) }
      last = metric.name
      switch metric.read() {
      case .value(let value): sample(metric.name, metric.labels, value)
      case .summary(let sum, let count):
        sample("\(metric.name)_sum", metric.labels, sum)
        sample("\(metric.name)_count", metric.labels, count)
      }
    }
  }

  mutating func add(_ statistics: ServerStatistics) {
    head("footfall_connections", "gauge", "Connections that are open.")
    sample("footfall_connections", [], Double(statistics.openConnections))
    head("footfall_connections_accepted_total", "counter", "Connections that were opened.")
    sample("footfall_connections_accepted_total", [], Double(statistics.acceptedConnections))
    head("footfall_connections_refused_total", "counter", "Connections over the bound.")
    sample("footfall_connections_refused_total", [], Double(statistics.refusedConnections))
    head("footfall_rpc_running", "gauge", "Calls whose handlers run.")
    for (method, figures) in statistics.methods {
      sample("footfall_rpc_running", labels(method), Double(figures.inFlight))
    }
    addRefusals(statistics)
    addCalls(statistics)
    addTraffic(statistics)
    addLatencies(statistics)
  }

  private mutating func addRefusals(_ statistics: ServerStatistics) {
    let connections = statistics.connections
    head("footfall_connections_ended_total", "counter", "Connections that the server ended, by cause.")
    for (cause, count) in connections.endsByCause {
      sample("footfall_connections_ended_total", [("cause", "\(cause)")], Double(count))
    }
    let totals = [
      ("streams_stalled", "Streams reset because their client did not read.", connections.stalledStreamsCount),
      ("calls_refused", "Calls refused because too many ran.", connections.refusedCallsCount),
      ("requests_without_te", "Requests without te: trailers.", connections.requestsWithoutTECount),
    ]
    for (name, help, count) in totals {
      head("footfall_\(name)_total", "counter", help)
      sample("footfall_\(name)_total", [], Double(count))
    }
    head("footfall_calls_running", "gauge", "Calls that hold a part of the bound of the whole service.")
    sample("footfall_calls_running", [], Double(statistics.runningCalls))
  }

  private mutating func addCalls(_ statistics: ServerStatistics) {
    head("footfall_rpc_calls_total", "counter", "Calls that ended, by status.")
    for (method, figures) in statistics.methods {
      for (status, count) in zip(StatusCode.allCases, figures.callsByStatus)
      where count > 0 || status == .ok {
        sample(
          "footfall_rpc_calls_total", labels(method) + [("status", "\(status)")], Double(count))
      }
    }
  }

  private mutating func addTraffic(_ statistics: ServerStatistics) {
    let totals: [(String, String, (MethodStatistics) -> Int)] = [
      ("request_bytes", "Bytes of request messages.", { $0.requestBytes }),
      ("response_bytes", "Bytes of response messages.", { $0.responseBytes }),
      ("request_messages", "Messages that came.", { $0.requestMessages }),
      ("response_messages", "Messages that were sent.", { $0.responseMessages }),
    ]
    for (name, help, value) in totals {
      head("footfall_rpc_\(name)_total", "counter", help)
      // A method that nobody calls would add four lines of zeros.
      for (method, figures) in statistics.methods where figures.calls > 0 {
        sample("footfall_rpc_\(name)_total", labels(method), Double(value(figures)))
      }
    }
  }

  private mutating func addLatencies(_ statistics: ServerStatistics) {
    let name = "footfall_rpc_latency_seconds"
    head(name, "histogram", "From a call's headers to its status.")
    for (method, figures) in statistics.methods {
      let counts = figures.callsByLatency
      let total = counts.reduce(0, +)
      // A method that nobody calls would add 30 lines of zeros.
      guard total > 0 else { continue }
      var sum = 0
      for (exponent, count) in counts.dropLast().enumerated() {
        sum += count
        let bound = Double(1 << exponent) / 1_000_000
        sample("\(name)_bucket", labels(method) + [("le", "\(bound)")], Double(sum))
      }
      sample("\(name)_bucket", labels(method) + [("le", "+Inf")], Double(total))
      sample("\(name)_sum", labels(method), Double(figures.latencySumMicroseconds) / 1_000_000)
      sample("\(name)_count", labels(method), Double(total))
    }
  }

  private func labels(_ method: MethodDescriptor) -> [(String, String)] {
    [("service", method.service), ("method", method.method)]
  }

  private mutating func head(_ name: String, _ type: String, _ help: String) {
    text += "# HELP \(name) \(escaped(help))\n# TYPE \(name) \(type)\n"
  }

  private mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
    text += name
    if !labels.isEmpty {
      let pairs = labels.map { "\($0.0)=\"\(escaped($0.1, quotes: true))\"" }
      text += "{\(pairs.joined(separator: ","))}"
    }
    text += " \(number(value))\n"
  }

  private func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    if let whole = Int64(exactly: value) { return "\(whole)" }
    return "\(value)"
  }

  private func escaped(_ text: String, quotes: Bool = false) -> String {
    let plain = text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
    return quotes ? plain.replacing("\"", with: "\\\"") : plain
  }
}
