/// The settings that every service has.
package struct StandardSettings: Sendable {
  package let host = Setting<String>.text(
    "host", default: "127.0.0.1", allowed: "address",
    help: "Address to listen on. Another one than loopback needs --listen-beyond-loopback.")
  package let port: Setting<Int>
  package let metricsPort: Setting<Int>
  package let metricsHost = Setting<String>.text(
    "metrics-host", default: "127.0.0.1", allowed: "address",
    help: "Address of the metrics. Another one than loopback needs --listen-beyond-loopback.")
  package let listenBeyondLoopback = Setting<Bool>.toggle(
    "listen-beyond-loopback",
    help: """
      Allows an address that other machines reach. Without --tls-certificate-file tokens and events then travel unencrypted.
      """)
  package let data = Setting<String>.path(
    "data", default: "footfall-data", help: "Folder of the service's files. Made where missing.")
  package let logLevel = Setting<String>.choice(
    "log-level", default: "info", of: ["trace", "debug", "info", "notice", "warning", "error"],
    help: "The least that is logged. The log goes to standard error.")
  package let eventLoops = Setting<Int>.integer(
    "event-loops", default: 0, in: 0...256, unit: "threads",
    help: "Threads that serve connections. 0: one per core.")
  package let accessLogSample = Setting<Double>.share(
    "access-log-sample", default: 0,
    help: """
      Share of calls of which the log gets a line. Calls that fail with INTERNAL, UNKNOWN or DATA_LOSS get one always, \
      10 a second at most.
      """)
  package let tls = TLSSettings()
  package let drainSeconds = Setting<Int>.integer(
    "drain-seconds", default: 10, in: 0...3_600, unit: "s",
    help: "How long running calls may go on after SIGTERM.")

  package init(port: Int, metricsPort: Int) {
    self.port = .integer(
      "port", default: port, in: 0...65_535, help: "Port of the service. 0: any free one.")
    self.metricsPort = .integer(
      "metrics-port", default: metricsPort, in: 0...65_535,
      help: "Port of Prometheus metrics over HTTP, path /metrics. 0: any free one.")
  }

  package var definitions: [SettingDefinition] {
    [
      SettingsReader.file.definition, host.definition, port.definition,
      metricsHost.definition, metricsPort.definition,
      listenBeyondLoopback.definition, data.definition, logLevel.definition,
      accessLogSample.definition, eventLoops.definition, drainSeconds.definition,
    ] + tls.definitions + LimitSettings.definitions
  }
}
