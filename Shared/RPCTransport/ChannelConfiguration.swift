package import RPC

/// Over which of its addresses a channel makes its calls.
package enum BalancingPolicy: Sendable {
  /// All over the first that can be reached, in order.
  case pickFirst
  /// One after the other over all that can be reached.
  case roundRobin
}

/// Bounds and waits of a client. All finite, but for what says "nil: never".
package struct ChannelConfiguration: Sendable {
  /// Addresses of one channel; more of a list or of a name are left out.
  package static let addressesMax = 64

  package var limits = ClientLimits()
  package var balancing = BalancingPolicy.pickFirst
  /// Until the server's SETTINGS have come, ms. An attempt also has as long as its backoff (grpc/doc/connection-backoff.md).
  package var connectTimeoutMilliseconds = 20_000
  /// From one failed attempt to the next at the same address, ms; grows by 1.6 up to the maximum, each +-20 %.
  package var backoffInitialMilliseconds = 1_000.0
  package var backoffMaxMilliseconds = 120_000.0
  /// An attempt that takes longer is joined by one at the next address, ms (RFC 8305, 5). Of `pickFirst`.
  package var nextAddressMilliseconds = 250
  /// Between two questions to the resolver, ms, however often connections fail.
  package var resolveIntervalMilliseconds = 30_000
  /// Calls that wait for a connection; more fail with RESOURCE_EXHAUSTED.
  package var waitingCallsMax = 10_000
  package var keepalive = ClientKeepalive()
  /// A connection without calls for so long, up to twice as long, is closed, ms; the next call makes a new one. nil: never.
  package var idleMilliseconds: Int? = 30 * 60 * 1_000
  /// How failed calls are repeated, of methods that allow it. nil: only where the server certainly did not run them.
  package var retry: RetryPolicy?
  /// Stops repetitions while much fails. nil: never.
  package var retryThrottle: RetryThrottle? = RetryThrottle()
  package var interceptors: [any ClientInterceptor] = []
  package var resolver: any NameResolver = SystemResolver()
  /// What `:authority` says. nil: the first of the addresses that the channel was given.
  package var authority: String?
  /// nil: plain HTTP/2.
  package var tls: TLSContext?

  package init() {}
}
