internal import HTTP2
internal import NIOCore
internal import NIOPosix
package import RPC
internal import Synchronization

/// Bounds and waits of a client.
package struct ChannelConfiguration: Sendable {
  package var limits = ClientLimits()
  /// Until the server's SETTINGS have come, ms.
  package var connectTimeoutMilliseconds = 10_000
  /// Wait after a failed connection, ms; grows by 1.6 up to the maximum, each +-20 % (grpc/doc/connection-backoff.md).
  package var backoffInitialMilliseconds = 1_000.0
  package var backoffMaxMilliseconds = 120_000.0

  package init() {}
}

/// Calls to one server. Connects when the first call comes and again when the connection was lost.
package final class Channel: ClientTransport {
  private struct State {
    var connection: ClientConnection?
    var connecting: Task<ClientConnection, any Error>?
    var failures = 0
    /// No attempt before this; calls that do not wait fail with `lastError`.
    var retryAt = Deadline(nanoseconds: 0)
    var lastError: RPCError?
    var closed = false
  }

  private let host: String
  private let port: Int
  private let token: String?
  private let configuration: ChannelConfiguration
  private let resources: LoopResources
  private let state = Mutex(State())

  /// - Parameter token: sent as `authorization: Bearer ...` with every call; never logged.
  package init(
    host: String, port: Int, token: String?,
    configuration: ChannelConfiguration = ChannelConfiguration()
  ) {
    self.host = host
    self.port = port
    self.token = token
    self.configuration = configuration
    resources = LoopResources(MultiThreadedEventLoopGroup.singleton.next())
  }

  package func unary(
    _ method: MethodDescriptor, _ request: [UInt8], options: CallOptions
  ) async throws -> [UInt8] {
    let call = try await call(method, options)
    try call.queue(request)
    call.start()
    guard let response = try await call.next() else {
      throw RPCError(.internal, "the server answered OK without a message")
    }
    guard try await call.next() == nil else {
      call.cancel()
      throw RPCError(.internal, "the server sent more than one message")
    }
    return response
  }

  package func open(
    _ method: MethodDescriptor, options: CallOptions
  ) async throws -> any ClientStream {
    let call = try await call(method, options)
    call.start()
    return call
  }

  /// A call on a connection that stands, not yet started.
  private func call(
    _ method: MethodDescriptor, _ options: CallOptions
  ) async throws -> ClientCall {
    let timeout =
      options.timeoutMilliseconds
      ?? (method.defaultDeadlineMilliseconds > 0 ? method.defaultDeadlineMilliseconds : nil)
    let deadline = timeout.map { Deadline.after(milliseconds: $0) }
    let connection = try await connection(
      waitForReady: options.waitForReady, deadline: deadline)
    var metadata = options.metadata
    if let token { metadata.add("authorization", "Bearer \(token)") }
    return ClientCall(
      connection: connection, method: method, metadata: metadata, deadline: deadline,
      unsentBytesMax: configuration.limits.unsentBytesMax)
  }

  /// Ends the connection; calls fail with UNAVAILABLE.
  package func close() async {
    let (connection, connecting) = state.withLock { state in
      state.closed = true
      defer { state.connection = nil }
      return (state.connection, state.connecting)
    }
    connecting?.cancel()
    if let connection {
      await withCheckedContinuation { continuation in
        connection.driver.execute {
          connection.driver.close()
          continuation.resume()
        }
      }
    }
  }

  // MARK: - Connecting

  private func connection(
    waitForReady: Bool, deadline: Deadline?
  ) async throws -> ClientConnection {
    while true {
      switch try step(waitForReady) {
      case .ready(let connection): return connection
      case .wait(let milliseconds):
        if let deadline, deadline.remainingMilliseconds < milliseconds {
          throw RPCError(.deadlineExceeded, "no connection to \(host):\(port) within the deadline")
        }
        try await Task.sleep(for: .milliseconds(milliseconds))
      case .connect(let task):
        do {
          return try await task.value
        } catch {
          if !waitForReady { throw error }
        }
      }
    }
  }

  private enum Step {
    case ready(ClientConnection)
    case connect(Task<ClientConnection, any Error>)
    case wait(Int)
  }

  private func step(_ waitForReady: Bool) throws -> Step {
    try state.withLock { state in
      if state.closed { throw RPCError(.unavailable, "the channel is closed") }
      if let connection = state.connection { return .ready(connection) }
      if let task = state.connecting { return .connect(task) }
      let waiting = state.retryAt.remainingMilliseconds
      if waiting > 0 {
        if waitForReady { return .wait(waiting) }
        throw state.lastError ?? RPCError(.unavailable, "no connection to \(host):\(port)")
      }
      let task = Task { try await self.connect() }
      state.connecting = task
      return .connect(task)
    }
  }

  private func connect() async throws -> ClientConnection {
    do {
      let connection = try await establish()
      state.withLock { state in
        state.connecting = nil
        state.failures = 0
        state.retryAt = Deadline(nanoseconds: 0)
        state.connection = connection
      }
      watch(connection)
      return connection
    } catch {
      let failure = RPCError(
        .unavailable, "no connection to \(host):\(port)", cause: error)
      state.withLock { state in
        state.connecting = nil
        state.lastError = failure
        let wait = min(
          configuration.backoffMaxMilliseconds,
          configuration.backoffInitialMilliseconds * Self.power(1.6, state.failures))
        state.failures += 1
        state.retryAt = .after(milliseconds: Int(wait * Double.random(in: 0.8...1.2)))
      }
      throw failure
    }
  }

  private static func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    for _ in 0..<min(exponent, 40) { result *= base }
    return result
  }

  /// Forgets a connection that takes no more calls; the next call makes a new one.
  private func watch(_ connection: ClientConnection) {
    connection.driver.execute {
      let forget = { [weak self, weak connection] in
        self?.state.withLock { state in
          if state.connection === connection { state.connection = nil }
        }
        return ()
      }
      if connection.isClosing { forget() } else { connection.onClosing = forget }
    }
  }

  private func establish() async throws -> ClientConnection {
    let ready = resources.loop.makePromise(of: ClientConnection.self)
    let (resources, configuration) = (resources, configuration)
    let authority = "\(host):\(port)"
    let timeout = TimeAmount.milliseconds(Int64(configuration.connectTimeoutMilliseconds))
    let timer = resources.loop.scheduleTask(in: timeout) {
      ready.fail(RPCError(.unavailable, "the server sent no SETTINGS in time"))
    }
    ClientBootstrap(group: resources.loop)
      .connectTimeout(timeout)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(
        .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 64 * 1024)
      )
      .channelOption(.maxMessagesPerRead, value: 1)
      .channelOption(.writeBufferWaterMark, value: .init(low: 64 * 1024, high: 512 * 1024))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let driver = ChannelDriver(resources)
          let connection = try ClientConnection(
            driver: driver, authority: authority, limits: configuration.limits,
            memory: resources.memory)
          connection.onReady = { ready.succeed(connection) }
          channel.closeFuture.whenComplete { _ in
            ready.fail(RPCError(.unavailable, "the connection was closed before it was ready"))
          }
          ready.futureResult.whenFailure { _ in channel.close(promise: nil) }
          try channel.pipeline.syncOperations.addHandler(ClientChannelHandler(connection, driver))
        }
      }
      .connect(host: host, port: port).cascadeFailure(to: ready)
    defer { timer.cancel() }
    return try await ready.futureResult.get()
  }
}
