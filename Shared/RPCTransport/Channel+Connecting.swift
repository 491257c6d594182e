internal import HTTP2
internal import NIOCore
internal import NIOPosix
internal import RPC
internal import Synchronization

/// Does what the balancer decides.
extension Channel {
  /// Tells the balancer what happened, does what it answers, and tells those who wait.
  func happened(_ event: (inout Core) -> [Core.Action]) {
    perform(change(event))
    settle()
  }

  /// Tells the balancer what happened, and watchers what came of it, in the order of the changes.
  func change<Answer: Sendable>(_ event: (inout Core) -> Answer) -> Answer {
    let (answer, finished) = state.withLock { state in
      let answer = event(&state.balancer)
      return (answer, Self.tellWatchers(&state))
    }
    for watcher in finished { watcher.finish() }
    return answer
  }

  /// Returns those that have heard the last. Their `finish` takes them out of the list at once, and so waits for the lock.
  private static func tellWatchers(
    _ state: inout State
  ) -> [AsyncStream<ConnectivityState>.Continuation] {
    let now = state.balancer.state
    guard now != state.toldState else { return [] }
    state.toldState = now
    for watcher in state.watchers.values { watcher.yield(now) }
    return now == .shutdown ? Array(state.watchers.values) : []
  }

  func perform(_ actions: [Core.Action]) {
    for action in actions {
      switch action {
      case .resolve: resolve()
      case .connect(let id, let address, let timeout): connect(id, address, timeout)
      case .close(let connection): Self.retire(connection)
      case .wake(let moment): wake(at: moment)
      }
    }
  }

  /// One timer is enough, that of the earliest wish; without this each failed connection would leave one more behind.
  private func wake(at moment: Int64) {
    let isEarlier = state.withLock { state in
      guard moment < state.wakeAt else { return false }
      state.wakeAt = moment
      return true
    }
    guard isEarlier else { return }
    let wait = TimeAmount.nanoseconds(max(0, moment - MonotonicClock.now))
    resources.loop.scheduleTask(in: wait) { [weak self] in self?.timerFired() }
  }

  private func timerFired() {
    let now = MonotonicClock.now
    let isDue = state.withLock { state in
      guard now >= state.wakeAt else { return false }
      state.wakeAt = .max
      return true
    }
    if isDue { happened { $0.wake(now: now) } }
  }

  private func resolve() {
    let (servers, resolver) = (servers, configuration.resolver)
    if resolver is SystemResolver, servers.allSatisfy({ SystemResolver.isNumeric($0.host) }) {
      // Nobody to ask, and so no thread to wait for.
      return happened { $0.resolved(servers, now: MonotonicClock.now) }
    }
    let task = Task { [weak self] in
      do {
        var addresses: [ServerAddress] = []
        for server in servers { addresses += try await resolver.addresses(of: server) }
        let found = addresses
        self?.happened { $0.resolved(found, now: MonotonicClock.now) }
      } catch {
        let failure = RPCError(
          .unavailable, "no address for \(servers.map(\.description).joined(separator: ", "))",
          delivery: .notSent, cause: error)
        self?.happened { $0.resolveFailed(failure, now: MonotonicClock.now) }
      }
    }
    state.withLock { $0.resolving = task }
  }

  private func connect(_ id: Int, _ address: ServerAddress, _ timeoutNanoseconds: Int64) {
    let attempt = establish(address, .nanoseconds(timeoutNanoseconds))
    attempt.whenComplete { [weak self] result in
      switch result {
      case .success(let connection): self?.connected(id, address, connection) ?? Self.retire(connection)
      case .failure(let error):
        let failure = RPCError(
          .unavailable, "no connection to \(address)", delivery: .notSent, cause: error)
        self?.happened { $0.connectFailed(id, failure, now: MonotonicClock.now) }
      }
    }
  }

  /// On the connection's event loop.
  private func connected(_ id: Int, _ address: ServerAddress, _ connection: ClientConnection) {
    opened(connection, to: address)
    happened { $0.connected(id, connection, now: MonotonicClock.now) }
    let lost = { [weak self, weak connection] in
      guard let self, let connection else { return }
      self.ended(connection, to: address)
      if connection.goAway?.isTooManyPings == true { self.askLessOften() }
      let wasIdle = connection.goAway == nil && connection.isIdle
      let end = connection.isOfUse ? Core.End.served : .useless
      self.happened {
        $0.lost(id, connection, wasIdle ? .idle : end, now: MonotonicClock.now)
      }
    }
    if connection.isClosing { lost() } else { connection.onClosing = lost }
  }

  /// The server ends connections over too many PINGs: the next ones ask half as often (A8).
  private func askLessOften() {
    state.withLock { state in
      guard let time = state.keepalive.effectiveTimeMilliseconds else { return }
      state.keepalive.timeMilliseconds = min(time * 2, Self.keepaliveTimeMillisecondsMax)
    }
  }

  /// Doubling ends at a day.
  private static let keepaliveTimeMillisecondsMax = 86_400_000

  /// A connection whose server has sent its SETTINGS.
  private func establish(
    _ address: ServerAddress, _ timeout: TimeAmount
  ) -> EventLoopFuture<ClientConnection> {
    let ready = resources.loop.makePromise(of: ClientConnection.self)
    let timer = resources.loop.scheduleTask(in: timeout) {
      ready.fail(ConnectFailure("the server sent no SETTINGS in time"))
    }
    ready.futureResult.whenComplete { _ in timer.cancel() }
    let keepalive = state.withLock { $0.keepalive }
    // A certificate that was renewed holds from the next connection on; a broken one leaves the old one in place.
    configuration.tls?.reloadIfChanged()
    let make = connectionMaker(keepalive)
    var bootstrap = ClientBootstrap(group: resources.loop)
      .connectTimeout(timeout)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(
        .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 64 * 1024)
      )
      .channelOption(.maxMessagesPerRead, value: 1)
      .channelOption(.writeBufferWaterMark, value: .init(low: 64 * 1024, high: 512 * 1024))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try make(channel, ready) }
      }
    #if os(Linux)
      if keepalive.timeMilliseconds != nil {
        // Also where the kernel has bytes that nobody acknowledges (A18).
        bootstrap = bootstrap.channelOption(
          .tcpOption(NIOBSDSocket.Option(rawValue: Self.tcpUserTimeout)),
          value: NIOCore.ChannelOptions.Types.SocketOption.Value(keepalive.timeoutMilliseconds))
      }
    #endif
    do {
      let socket = try SocketAddress(ipAddress: address.host, port: address.port)
      bootstrap.connect(to: socket).cascadeFailure(to: ready)
    } catch {
      ready.fail(error)
    }
    return ready.futureResult
  }

  /// TCP_USER_TIMEOUT of Linux's tcp.h.
  private static let tcpUserTimeout: CInt = 18

  /// Puts a connection into a new channel of NIO, on its event loop.
  private func connectionMaker(
    _ keepalive: ClientKeepalive
  ) -> @Sendable (any NIOCore.Channel, EventLoopPromise<ClientConnection>) throws -> Void {
    let (resources, configuration, token, server) = (resources, configuration, token, servers[0])
    let authority = configuration.authority ?? server.description
    return { channel, ready in
      let driver = ChannelDriver(resources)
      let connection = try ClientConnection(
        driver: driver,
        headers: RequestHeaders(
          scheme: configuration.tls == nil ? "http" : "https", authority: authority,
          token: token),
        limits: configuration.limits,
        timers: ClientTimers(
          keepalive: keepalive, idleMilliseconds: configuration.idleMilliseconds),
        memory: resources.memory)
      connection.onReady = { ready.succeed(connection) }
      channel.closeFuture.whenComplete { _ in
        ready.fail(ConnectFailure("the connection was closed before it was ready"))
      }
      ready.futureResult.whenFailure { _ in channel.close(promise: nil) }
      try configuration.tls?.addHandlers(
        to: channel, host: server.host,
        handshakeMilliseconds: configuration.connectTimeoutMilliseconds
      ) { ready.fail(ConnectFailure($0.description)) }
      try channel.pipeline.syncOperations.addHandler(
        ClientChannelHandler(connection, driver, resources.output))
    }
  }
}

/// Why there is no connection, beside what the system says.
struct ConnectFailure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
