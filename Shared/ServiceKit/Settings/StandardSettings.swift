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
      Allows an address that other machines reach. There is no encryption: put something that encrypts in front.
      """)
  package let data = Setting<String>.path(
    "data", default: "footfall-data", help: "Folder of the service's files. Made where missing.")
  package let logLevel = Setting<String>.choice(
    "log-level", default: "info", of: ["trace", "debug", "info", "notice", "warning", "error"],
    help: "The least that is logged. The log goes to standard error.")
  package let eventLoops = Setting<Int>.integer(
    "event-loops", default: 0, in: 0...256, unit: "threads",
    help: "Threads that serve connections. 0: one per core.")
  package let connectionsMax = Setting<Int>.integer(
    "connections-max", default: 1_024, in: 1...65_536, unit: "connections",
    help: "Connections at once; one more is closed on arrival.")
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
      eventLoops.definition, connectionsMax.definition, drainSeconds.definition,
    ]
  }
}
