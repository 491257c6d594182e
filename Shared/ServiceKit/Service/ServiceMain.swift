internal import Foundation
internal import Logging
internal import RPCTransport
internal import ServiceLifecycle
internal import UnixSignals

/// The life of a service's process: settings, build, serve, end in order. Every executable is one of these.
package struct ServiceMain: Sendable {
  private let name: String
  private let summary: String
  private let standard: StandardSettings
  private let definitions: [SettingDefinition]
  private let build: @Sendable (ServiceContext) async throws -> ServiceParts

  /// - Parameters:
  ///   - name: of the program: `ingest`.
  ///   - settings: beyond the standard ones.
  ///   - build: opens the store and makes the handlers; a thrown error ends the process with status 1.
  package init(
    name: String, summary: String, port: Int, metricsPort: Int, settings: [SettingDefinition],
    build: @escaping @Sendable (ServiceContext) async throws -> ServiceParts
  ) {
    self.name = name
    self.summary = summary
    self.standard = StandardSettings(port: port, metricsPort: metricsPort)
    self.definitions = standard.definitions + settings
    self.build = build
  }

  /// Runs with the process's arguments and variables, and exits.
  package func main() async -> Never {
    let process = ProcessInfo.processInfo
    exit(
      await run(
        arguments: Array(process.arguments.dropFirst()), environment: process.environment))
  }

  /// - Returns: the exit status: 0 after SIGTERM or SIGINT, 1 after a failure, 2 for wrong settings.
  package func run(arguments: [String], environment: [String: String]) async -> Int32 {
    if arguments.contains("--help") {
      return say(
        SettingsHelp.text(program: name, summary: summary, definitions: definitions))
    }
    if arguments.contains("--help-markdown") { return say(SettingsHelp.markdown(definitions)) }
    let settings: Settings
    do {
      settings = try SettingsReader(definitions: definitions)
        .read(arguments: arguments, environment: environment)
      try checkAddresses(settings)
      _ = try standard.tls.files(settings)
      _ = try LimitSettings.limits(settings)
    } catch {
      complain("\(error)")
      return 2
    }
    do {
      try await serve(settings)
      return 0
    } catch {
      complain("\(error)")
      return 1
    }
  }

  private func checkAddresses(_ settings: Settings) throws(SettingsError) {
    guard !settings[standard.listenBeyondLoopback] else { return }
    let problems = [standard.host, standard.metricsHost].compactMap { setting -> String? in
      let host = settings[setting]
      if Loopback.contains(host) { return nil }
      return """
        \(setting.definition.flag): \(host) can be reached from other machines; \
        that needs \(standard.listenBeyondLoopback.definition.flag)
        """
    }
    guard problems.isEmpty else { throw SettingsError(problems: problems) }
  }

  private func serve(_ settings: Settings) async throws {
    var logger = Logger(label: name, factory: { StreamLogHandler.standardError(label: $0) })
    logger.logLevel = Logger.Level(rawValue: settings[standard.logLevel]) ?? .info
    let tls = try standard.tls.files(settings).map { try TLSContext(.server, $0) }
    let stopper = Stopper()
    let context = ServiceContext(
      settings: settings, dataFolder: try dataFolder(settings), logger: logger,
      tokens: tokenTable(settings), health: HealthBoard(), metrics: MetricsRegistry(),
      stop: { stopper.stop(because: $0) })
    ProcessFigures.register(in: context.metrics)
    let parts = try await build(context)
    let server = try ServerService(
      name: name, standard: standard, context: context, parts: parts, tls: tls)
    do {
      try await group(server, stopper, parts, settings, logger).run()
    } catch {
      // The store is closed whatever went wrong; its own failure must not hide the first one.
      do { try await parts.close() } catch { logger.error("cannot close", metadata: ["error": "\(error)"]) }
      throw error
    }
    try await parts.close()
    logger.info("ended")
  }

  /// Shut down from the last to the first: the server drains before background work ends.
  private func group(
    _ server: ServerService, _ stopper: Stopper, _ parts: ServiceParts, _ settings: Settings,
    _ logger: Logger
  ) -> ServiceGroup {
    let services: [any Service] =
      parts.background.map { BackgroundService(work: $0) } + [stopper, server]
    var configuration = ServiceGroupConfiguration(
      services: services.map {
        .init(
          service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
          failureTerminationBehavior: .gracefullyShutdownGroup)
      },
      gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    // Beyond the server's own grace, background work gets as long again to end by itself.
    configuration.maximumGracefulShutdownDuration = .seconds(settings[standard.drainSeconds] * 2 + 10)
    return ServiceGroup(configuration: configuration)
  }

  /// Reflection shows what there is: on loopback to all, elsewhere to administrators.
  private func tokenTable(_ settings: Settings) -> TokenTable {
    Loopback.contains(settings[standard.host])
      ? TokenTable() : TokenTable(scopes: ServerService.reflectionScopes)
  }

  private func dataFolder(_ settings: Settings) throws -> String {
    let folder = settings[standard.data]
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    return folder
  }

  private func say(_ text: String) -> Int32 {
    print(text)
    return 0
  }

  private func complain(_ text: String) {
    let lines = text.split(separator: "\n").map { "\(name): \($0)\n" }
    // Where standard error is closed there is nobody to tell.
    try? FileHandle.standardError.write(contentsOf: Data(lines.joined().utf8))
  }
}

/// One piece of background work: ended by cancellation when the group shuts down.
private struct BackgroundService: Service, CustomStringConvertible {
  struct Ended: Error, CustomStringConvertible {
    let description: String
  }

  let work: ServiceParts.Background

  var description: String { work.name }

  func run() async throws {
    do {
      try await cancelWhenGracefulShutdown { try await work.run() }
    } catch is CancellationError {
      // The way in which it is meant to end.
    }
    guard Task.isShuttingDownGracefully || Task.isCancelled else {
      throw Ended(description: "\(work.name) ended by itself")
    }
  }
}

/// Turns a call of `stop` into the end of the process.
private struct Stopper: Service, CustomStringConvertible {
  struct Stopped: Error, CustomStringConvertible {
    let description: String
  }

  private let reasons = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingOldest(1))

  var description: String { "stop" }

  func stop(because reason: String) { reasons.continuation.yield(reason) }

  func run() async throws {
    for await reason in reasons.stream.cancelOnGracefulShutdown() {
      throw Stopped(description: reason)
    }
  }
}
