internal import Logging
internal import RPC
internal import RPCTransport

/// Keeps a server's TLS at what its files say.
struct TLSWatch: Sendable {
  /// How often the files are looked at.
  static let intervalMilliseconds = 2_000

  let tls: TLSContext
  let logger: Logger

  /// Looks until the task is cancelled.
  func run() async {
    // Ends by the cancellation's error alone.
    while (try? await Task.sleep(for: .milliseconds(Self.intervalMilliseconds))) != nil { look() }
  }

  private func look() {
    switch tls.reloadIfChanged() {
    case .unchanged: break
    case .reloaded: logger.notice("certificate read again", metadata: ["file": "\(tls.files.certificate)"])
    case .kept(let problem):
      logger.error("the new certificate is of no use, the old one stays", metadata: ["error": "\(problem)"])
    }
  }

  func register(in registry: MetricsRegistry) {
    registry.gauge(
      "footfall_tls_certificate_expiry_seconds", help: "When the server's certificate expires, s since 1970."
    ) { [tls] in tls.expiresSeconds.map(Double.init) ?? .nan }
    count("handshakes", "TLS handshakes.", tls.handshakesCompleted, tls.handshakesFailed, registry)
    count("reloads", "Times that changed TLS files were read.", tls.reloads, tls.reloadsFailed, registry)
  }

  private func count(
    _ name: String, _ help: String, _ good: AtomicCounter, _ bad: AtomicCounter, _ registry: MetricsRegistry
  ) {
    for (result, counter) in [("ok", good), ("failed", bad)] {
      registry.counter("footfall_tls_\(name)_total", help: help, labels: [("result", result)]) {
        Double(counter.value)
      }
    }
  }
}
