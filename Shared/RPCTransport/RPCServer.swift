internal import HTTP2
package import Logging
internal import NIOCore
internal import NIOPosix
package import RPC
internal import Synchronization

/// Where and how a server listens.
package struct ServerConfiguration: Sendable {
  package var host: String
  /// 0: a free one, which `start` returns.
  package var port: Int
  /// Threads that serve connections.
  package var eventLoops: Int
  package var limits: ServerLimits
  /// nil: plain HTTP/2.
  package var tls: TLSContext?
  /// Which calls are logged beside those that failed by our fault.
  package var sampling = CallSampling()

  package init(
    host: String = "127.0.0.1", port: Int, eventLoops: Int = 1,
    limits: ServerLimits = ServerLimits(), tls: TLSContext? = nil
  ) {
    precondition(tls.map { $0.role == .server } ?? true, "a server with a client's TLS")
    self.host = host
    self.port = port
    self.eventLoops = eventLoops
    self.limits = limits
    self.tls = tls
  }
}

/// A gRPC server over TCP: HTTP/2 by prior knowledge, or over TLS.
package final class RPCServer: Sendable {
  private let configuration: ServerConfiguration
  /// For channelz.
  package let id = ChannelzID.next()
  let core: ServerCore
  private let logger: Logger
  private let group: MultiThreadedEventLoopGroup
  private let resources: [ObjectIdentifier: LoopResources]
  let registry = ConnectionRegistry()
  private let listener = Mutex<(any NIOCore.Channel)?>(nil)

  package init(
    configuration: ServerConfiguration, services: [any ServiceHandlers],
    authorizer: any Authorizer, logger: Logger
  ) {
    self.configuration = configuration
    self.logger = logger
    core = ServerCore(
      router: Router(services, loops: max(1, configuration.eventLoops)),
      limits: configuration.limits, authorizer: authorizer, observer: CallLog(logger: logger),
      sampling: configuration.sampling)
    group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, configuration.eventLoops))
    var resources: [ObjectIdentifier: LoopResources] = [:]
    for (index, loop) in group.makeIterator().enumerated() {
      resources[ObjectIdentifier(loop)] = LoopResources(loop, index: index, core: core)
    }
    self.resources = resources
    ProcessDirectory.shared.add(self)
  }

  deinit { ProcessDirectory.shared.removeServer(id) }

  /// Begins to listen.
  ///
  /// - Returns: the port.
  /// - Throws: the system's error where the address cannot be had.
  package func start() async throws -> Int {
    let (core, registry, resources) = (core, registry, resources)
    let (tls, logger) = (configuration.tls, logger)
    for one in resources.values { one.startTicking(everyMilliseconds: core.limits.sweepMilliseconds) }
    let channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 1_024)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptPause(logger))
        }
      }
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.tcpOption(Self.unsentBytes), value: 128 * 1024)
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelOption(
        .writeBufferWaterMark, value: .init(low: 64 * 1024, high: 512 * 1024)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let address = Self.countedAddress(channel.remoteAddress, core.limits)
          guard registry.reserve(core.limits, address: address) else {
            throw RPCError(.resourceExhausted, "too many connections")
          }
          channel.closeFuture.whenComplete { _ in registry.release(address: address) }
          guard let resources = resources[ObjectIdentifier(channel.eventLoop)] else {
            preconditionFailure("a channel of a foreign event loop")
          }
          if let tls {
            // TLS makes the buffers that our handler sees: those of the socket are NIO's own affair.
            try tls.addHandlers(
              to: channel, handshakeMilliseconds: core.limits.prefaceMilliseconds
            ) { problem in
              // Anybody can cause this as often as he likes: counted always, logged for who looks.
              logger.debug("a connection failed", metadata: ["cause": "\(problem)"])
            }
          } else {
            try channel.syncOptions?.setOption(
              .recvAllocator, value: SharedReadAllocator(resources.input))
          }
          try channel.pipeline.syncOperations.addHandler(
            ServerChannelHandler(core: core, resources: resources, registry: registry))
        }
      }
      .bind(host: configuration.host, port: configuration.port).get()
    listener.withLock { $0 = channel }
    return channel.localAddress?.port ?? configuration.port
  }

  /// TCP_NOTSENT_LOWAT: what the kernel keeps of a connection's output beyond what is on its way. Without it a client that does not
  /// read gets megabytes of memory here.
  #if os(Linux)
    private static let unsentBytes = NIOBSDSocket.Option(rawValue: 25)
  #else
    private static let unsentBytes = NIOBSDSocket.Option(rawValue: 0x201)
  #endif

  /// The address whose connections are counted together; nil: they are not.
  private static func countedAddress(_ address: SocketAddress?, _ limits: ServerLimits) -> String? {
    guard let ip = address?.ipAddress else { return nil }
    if limits.connectionsPerAddressHoldForLoopback { return ip }
    return ip == "::1" || ip.hasPrefix("127.") || ip.hasPrefix("::ffff:127.") ? nil : ip
  }

  /// Ends gracefully: no new connections, GOAWAY, calls finish; after the grace they are cut.
  package func shutdown(graceMilliseconds: Int) async {
    let channel = listener.withLock { listener in
      defer { listener = nil }
      return listener
    }
    try? await channel?.close()
    configuration.tls?.closeHandshaking()
    for (connection, driver) in registry.all { driver.execute { connection.beginDrain() } }
    let registry = registry
    let cut = Task {
      // Cancelled when all have ended: nothing to cut then.
      try await Task.sleep(for: .milliseconds(graceMilliseconds))
      for (_, driver) in registry.all { driver.execute { driver.close() } }
    }
    await registry.waitUntilEmpty()
    cut.cancel()
    for one in resources.values { one.stopTicking() }
    try? await group.shutdownGracefully()
  }

  /// Figures for metrics.
  package var statistics: ServerStatistics {
    ServerStatistics(
      openConnections: registry.open, acceptedConnections: registry.accepted,
      refusedConnections: registry.refused, connections: core.connections,
      runningCalls: core.admission.runningCalls,
      methods: core.router.methods.map { ($0.descriptor, $0.statistics) })
  }
}

/// What a server has done so far.
package struct ServerStatistics: Sendable {
  package let openConnections: Int
  package let acceptedConnections: Int
  /// Connections closed on arrival, over the bound.
  package let refusedConnections: Int
  /// Connections that the server ended, by cause, and calls and streams that it refused or cut.
  package let connections: ConnectionStatistics
  /// Calls whose handlers run now.
  package let runningCalls: Int
  package let methods: [(MethodDescriptor, MethodStatistics)]
}
