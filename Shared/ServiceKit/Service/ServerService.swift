internal import Foundation
internal import Logging
internal import Messages
internal import NIOCore
internal import RPC
internal import RPCTransport
internal import ServiceLifecycle

/// The RPC server and the metrics within the life of a process.
struct ServerService: Service, CustomStringConvertible {
  /// What reflection needs where other machines reach the server.
  static let reflectionScopes = Dictionary(
    uniqueKeysWithValues: (Grpc_Reflection_V1_ServerReflectionMethods.all
      + Grpc_Reflection_V1alpha_ServerReflectionMethods.all).map { ($0.path, Scope.admin) })

  /// Without a call for this long, a service counts as idle.
  private static let idleSeconds = 5

  private let name: String
  private let standard: StandardSettings
  private let context: ServiceContext
  private let parts: ServiceParts
  private let server: RPCServer
  private let metrics: MetricsServer
  private let watch: TLSWatch?

  var description: String { "server" }

  init(
    name: String, standard: StandardSettings, context: ServiceContext, parts: ServiceParts,
    tls: TLSContext?
  ) throws {
    self.name = name
    self.standard = standard
    self.context = context
    self.parts = parts
    let settings = context.settings
    let loops = settings[standard.eventLoops]
    var configuration = ServerConfiguration(
      host: settings[standard.host], port: settings[standard.port],
      eventLoops: loops == 0 ? min(System.coreCount, ThreadTurns.processors) : loops, limits: try LimitSettings.limits(settings),
      tls: tls)
    configuration.sampling = CallSampling(share: settings[standard.accessLogSample])
    let server = RPCServer(
      configuration: configuration,
      services: parts.handlers + Self.standardHandlers(parts, context.health),
      authorizer: context.tokens, logger: context.logger)
    self.server = server
    watch = tls.map { TLSWatch(tls: $0, logger: context.logger) }
    watch?.register(in: context.metrics)
    let registry = context.metrics
    metrics = MetricsServer { registry.text(server.statistics) }
  }

  private static func standardHandlers(
    _ parts: ServiceParts, _ health: HealthBoard
  ) -> [any ServiceHandlers] {
    let names =
      parts.handlers.map { type(of: $0).serviceName } + [
        HealthService.serviceName, ReflectionService.serviceName,
        ReflectionServiceV1Alpha.serviceName, ChannelzService.serviceName,
      ]
    let reflection = ReflectionService(services: names)
    return [
      HealthService(board: health), reflection, ReflectionServiceV1Alpha(reflection),
      ChannelzService(),
    ]
  }

  func run() async throws {
    let settings = context.settings
    for handlers in parts.handlers {
      context.health.setIfNew(type(of: handlers).serviceName, serving: true)
    }
    let port = try await server.start()
    let metricsPort = try await metrics.start(
      host: settings[standard.metricsHost], port: settings[standard.metricsPort])
    context.logger.info(
      "metrics", metadata: ["address": "\(settings[standard.metricsHost]):\(metricsPort)"])
    announce("ready: \(name) on \(settings[standard.host]):\(port)")
    await withTaskGroup(of: Void.self) { group in
      if let watch { group.addTask { await watch.run() } }
      // Ends by throwing, when the process is told to end or the task is cancelled: what follows is the same.
      try? await cancelWhenGracefulShutdown { try await self.giveBackCodeWhenIdle() }
      group.cancelAll()
    }
    context.logger.info("draining")
    context.health.drain()
    parts.drain()
    await server.shutdown(graceMilliseconds: settings[standard.drainSeconds] * 1_000)
    await metrics.stop()
  }

  /// Gives back code that is not in use, once after the start and once after each time of calls.
  private func giveBackCodeWhenIdle() async throws {
    var seen = -1
    var isGivenBack = false
    while true {
      try await Task.sleep(for: .seconds(Self.idleSeconds))
      let calls = server.statistics.methods.reduce(0) { $0 + $1.1.callsByStatus.reduce(0, +) }
      if calls == seen, !isGivenBack { CodePages.giveBack() }
      isGivenBack = calls == seen
      seen = calls
    }
  }

  /// For whoever started the process: scripts wait for this line.
  private func announce(_ line: String) {
    // A process whose standard output is closed serves all the same.
    try? FileHandle.standardOutput.write(contentsOf: Data("\(line)\n".utf8))
  }
}
