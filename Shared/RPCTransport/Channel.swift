internal import NIOCore
internal import NIOPosix
package import RPC
internal import Synchronization

/// Calls to one service, wherever its servers are. Connects when the first call comes, and again when a connection was lost.
///
/// Safe from any thread. Cost of a call beside the message: a lock, a hop to the event loop and one back.
package final class Channel: ClientTransport {
  typealias Core = Balancer<ServerAddress, ClientConnection>

  struct State {
    var balancer: Core
    /// What `callsWaiting` holds, by number, oldest first.
    var waiters: [Int: Waiter] = [:]
    var nextWaiter = 0
    var watchers: [Int: AsyncStream<ConnectivityState>.Continuation] = [:]
    var nextWatcher = 0
    /// The state that watchers have been told.
    var toldState = ConnectivityState.idle
    /// Doubled when a server says that we ask too often.
    var keepalive: ClientKeepalive
    var resolving: Task<Void, Never>?
    /// For channelz: what the channel knows of each address, beside what the balancer does.
    var records: [ServerAddress: AddressRecord] = [:]
    /// When the balancer's timer fires.
    var wakeAt = Int64.max
  }

  /// A call that waits for a connection.
  struct Waiter {
    let continuation: CheckedContinuation<ClientConnection, any Error>
    let waitForReady: Bool
    let deadline: Scheduled<Void>?
  }

  /// For channelz.
  package let id = ChannelzID.next()
  let servers: [ServerAddress]
  let configuration: ChannelConfiguration
  let resources: LoopResources
  let token: String?
  let state: Mutex<State>
  let counters = CallCounters()

  /// - Parameters:
  ///   - host: a name, which stands for all its addresses, or a numeric address.
  ///   - token: sent as `authorization: Bearer ...` with every call; never logged.
  package convenience init(
    host: String, port: Int, token: String?,
    configuration: ChannelConfiguration = ChannelConfiguration()
  ) {
    self.init([ServerAddress(host: host, port: port)], token: token, configuration: configuration)
  }

  /// - Parameter servers: at least one; names stand for all their addresses.
  package init(
    _ servers: [ServerAddress], token: String?,
    configuration: ChannelConfiguration = ChannelConfiguration()
  ) {
    precondition(!servers.isEmpty, "a channel needs a server")
    self.servers = servers
    self.token = token
    self.configuration = configuration
    resources = LoopResources(MultiThreadedEventLoopGroup.singleton.next())
    state = Mutex(
      State(balancer: Core(configuration), keepalive: configuration.keepalive))
    ProcessDirectory.shared.add(self)
  }

  deinit {
    ProcessDirectory.shared.removeChannel(id)
    let (actions, resolving) = state.withLock { ($0.balancer.shutdown(), $0.resolving) }
    resolving?.cancel()
    for case .close(let connection) in actions { Self.close(connection) }
  }

  /// Ends the connections; calls fail with UNAVAILABLE, now and later.
  package func close() async {
    let actions = change { $0.shutdown() }
    state.withLock { $0.resolving }?.cancel()
    settle()
    for case .close(let connection) in actions {
      await withCheckedContinuation { continuation in
        connection.driver.execute {
          connection.driver.close()
          continuation.resume()
        }
      }
    }
  }

  private static func close(_ connection: ClientConnection) {
    connection.driver.execute { connection.driver.close() }
  }

  /// Closes a connection that is not wanted any more once its calls have ended.
  static func retire(_ connection: ClientConnection) {
    connection.driver.execute {
      connection.beginClosing()
      connection.driver.flush()
    }
  }

  // MARK: - State

  /// What the channel is doing. Cost: a lock.
  package var connectivity: ConnectivityState { state.withLock { $0.balancer.state } }

  /// Begins to connect, if the channel is idle.
  package func connect() {
    happened { $0.exitIdle(MonotonicClock.now) }
  }

  /// The state now and each that follows; a reader that is slow misses some, never the last. Ends after `shutdown`.
  package var connectivityChanges: AsyncStream<ConnectivityState> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: ConnectivityState.self, bufferingPolicy: .bufferingNewest(16))
    let number = state.withLock { state in
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = continuation
      continuation.yield(state.toldState)
      return state.nextWatcher
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { _ = $0.watchers.removeValue(forKey: number) }
    }
    return stream
  }

  /// After so long without a byte new connections ask whether their server is there, ms: as configured, or longer where a
  /// server has found that too often. nil: never.
  package var keepaliveMilliseconds: Int? { state.withLock { $0.keepalive.effectiveTimeMilliseconds } }

  /// What the channel has done so far, and what it knows of each address.
  package var statistics: ChannelStatistics {
    let (state, addresses, waiting) = state.withLock {
      ($0.balancer.state, $0.balancer.addresses, $0.waiters.count)
    }
    return ChannelStatistics(
      servers: servers, state: state,
      addresses: addresses.map { ($0.address, $0.state) }, callsWaiting: waiting,
      callsStarted: counters.started.load(ordering: .relaxed),
      callsSucceeded: counters.succeeded.load(ordering: .relaxed),
      callsFailed: counters.failed.load(ordering: .relaxed))
  }
}

/// Figures of a channel.
package struct ChannelStatistics: Sendable {
  package let servers: [ServerAddress]
  package let state: ConnectivityState
  /// The addresses that the servers' names have, and what the channel does about each.
  package let addresses: [(ServerAddress, ConnectivityState)]
  /// Calls that wait for a connection.
  package let callsWaiting: Int
  package let callsStarted: Int
  package let callsSucceeded: Int
  package let callsFailed: Int
}

/// Counts calls, once each, however many attempts they take.
final class CallCounters: Sendable {
  let started = Atomic<Int>(0)
  let succeeded = Atomic<Int>(0)
  let failed = Atomic<Int>(0)

  func ended(_ error: RPCError?) {
    if error == nil {
      succeeded.wrappingAdd(1, ordering: .relaxed)
    } else {
      failed.wrappingAdd(1, ordering: .relaxed)
    }
  }
}
