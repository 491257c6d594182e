package import RPC

/// The part of a channel that decides: which addresses to connect to, when, and which connection takes a call. No I/O, no clock: it
/// is told what happened and says what to do.
package struct Balancer<Address: Hashable & Sendable, Connection: AnyObject & Sendable>: Sendable {
  package enum Action: Sendable {
    /// Find the addresses; the answer is `resolved` or `resolveFailed`.
    case resolve
    /// The answer is `connected` or `connectFailed`.
    case connect(id: Int, Address, timeoutNanoseconds: Int64)
    /// A connection that is not wanted.
    case close(Connection)
    /// Call `wake` then. The earliest wish is enough: `wake` repeats the later ones.
    case wake(atNanoseconds: Int64)
  }

  package enum Pick: Sendable {
    case connection(Connection)
    /// None yet: wait for a change.
    case wait
    case fail(RPCError)
  }

  /// What a connection was good for.
  package enum End: Sendable {
    /// Nobody had used it: there is no hurry to have another.
    case idle
    /// It has answered calls, or was answering some.
    case served
    /// Not one: soon after its beginning that is a failure like any other, or a server that takes connections and no calls
    /// would be met with a loop of connecting.
    case useless
  }

  private enum Phase: Sendable {
    /// -> connecting
    case idle
    /// -> ready, waiting, idle (another address was faster)
    case connecting
    /// -> idle, waiting
    case ready(Connection)
    /// Until a moment; -> connecting
    case waiting(until: Int64)
  }

  private struct Subchannel: Sendable {
    /// Of its latest attempt.
    var id = 0
    let address: Address
    var phase = Phase.idle
    var backoff: ConnectionBackoff
    var attemptBegan: Int64 = 0
    /// The earliest beginning of the next attempt.
    var nextAttempt: Int64 = 0
    /// It has failed, and not been ready since.
    var hasFailed = false
  }

  private let configuration: ChannelConfiguration
  private var subchannels: [Subchannel] = []
  private var nextID = 0
  /// `pickFirst`: the next address of a first round through all.
  private var cursor = 0
  private var nextAddressAt = Int64.max
  private var isResolving = false
  private var mustResolve = true
  private var resolvedAt: Int64?
  private var resolveBackoff: ConnectionBackoff
  private var nextResolve: Int64 = 0
  private var rotation = 0
  private var connections: [Connection] = []
  package private(set) var state = ConnectivityState.idle
  package private(set) var lastError = RPCError(
    .unavailable, "no connection has been made", delivery: .notSent)

  package init(_ configuration: ChannelConfiguration) {
    self.configuration = configuration
    resolveBackoff = Self.backoff(configuration)
  }

  private static func backoff(_ configuration: ChannelConfiguration) -> ConnectionBackoff {
    ConnectionBackoff(
      initialMilliseconds: configuration.backoffInitialMilliseconds,
      maxMilliseconds: configuration.backoffMaxMilliseconds)
  }

  // MARK: - Calls

  /// The connection for a call, if there is one now. The way of nearly every call.
  @inline(__always)
  package mutating func readyConnection() -> Connection? {
    guard connections.count > 1 else { return connections.first }
    rotation = rotation &+ 1 < connections.count ? rotation &+ 1 : 0
    return connections[rotation]
  }

  /// The same for any state; an idle channel begins to connect.
  package mutating func pick(waitForReady: Bool, now: Int64) -> (Pick, [Action]) {
    if let connection = readyConnection() { return (.connection(connection), []) }
    switch state {
    case .idle: return (.wait, exitIdle(now))
    case .connecting, .ready: return (.wait, [])
    case .transientFailure: return (waitForReady ? .wait : .fail(lastError), [])
    case .shutdown: return (.fail(RPCError(.unavailable, "the channel is closed", delivery: .notSent)), [])
    }
  }

  package mutating func exitIdle(_ now: Int64) -> [Action] {
    guard state == .idle else { return [] }
    state = .connecting
    if resolvedAt == nil { return resolve() }
    return (mustResolve && mayResolve(now) ? resolve() : []) + beginRound(now)
  }

  // MARK: - Names

  private func mayResolve(_ now: Int64) -> Bool {
    guard !isResolving, now >= nextResolve else { return false }
    return resolvedAt.map { now - $0 >= Int64(configuration.resolveIntervalMilliseconds) * 1_000_000 } ?? true
  }

  private mutating func resolve() -> [Action] {
    guard !isResolving else { return [] }
    isResolving = true
    return [.resolve]
  }

  /// Asks again where that has not been done for a while: the servers may have moved.
  private mutating func resolveIfDue(_ now: Int64) -> [Action] {
    mustResolve = true
    return mayResolve(now) ? resolve() : []
  }

  package mutating func resolved(_ addresses: [Address], now: Int64) -> [Action] {
    guard state != .shutdown else { return [] }
    guard !addresses.isEmpty else {
      return resolveFailed(RPCError(.unavailable, "the name has no address", delivery: .notSent), now: now)
    }
    isResolving = false
    mustResolve = false
    resolvedAt = now
    resolveBackoff.reset()
    var actions = adopt(addresses)
    switch (state, configuration.balancing) {
    case (.idle, _), (.shutdown, _): break
    case (.ready, .pickFirst): break
    case (.connecting, .pickFirst): actions += beginRound(now)
    case (.transientFailure, _), (.connecting, .roundRobin), (.ready, .roundRobin):
      actions += connectDue(now)
    }
    update()
    return actions
  }

  package mutating func resolveFailed(_ error: RPCError, now: Int64) -> [Action] {
    isResolving = false
    mustResolve = true
    nextResolve = now + Int64(resolveBackoff.next() * 1_000_000)
    guard state == .connecting || state == .transientFailure else { return [] }
    if subchannels.isEmpty {
      lastError = error
      state = .transientFailure
    } else if state == .connecting {
      // The addresses that we know may still be good.
      return beginRound(now) + [.wake(atNanoseconds: nextResolve)]
    }
    return [.wake(atNanoseconds: nextResolve)]
  }

  /// Takes a new list, in its order; keeps what is known of addresses that stay.
  private mutating func adopt(_ addresses: [Address]) -> [Action] {
    var old: [Address: Subchannel] = [:]
    for subchannel in subchannels { old[subchannel.address] = subchannel }
    var seen: Set<Address> = []
    subchannels = addresses.filter { seen.insert($0).inserted }
      .prefix(ChannelConfiguration.addressesMax)
      .map { address in
        if let kept = old.removeValue(forKey: address) { return kept }
        return Subchannel(address: address, backoff: Self.backoff(configuration))
      }
    cursor = 0
    var actions: [Action] = []
    for gone in old.values {
      // `pickFirst` lets its connection live as long as it is good.
      guard case .ready(let connection) = gone.phase else { continue }
      if configuration.balancing == .pickFirst {
        subchannels.append(gone)
      } else {
        actions.append(.close(connection))
      }
    }
    return actions
  }

  // MARK: - Connecting

  private mutating func beginRound(_ now: Int64) -> [Action] {
    cursor = 0
    let actions = configuration.balancing == .pickFirst ? connectNext(now) : connectDue(now)
    update()
    return actions
  }

  /// `pickFirst`: the next address of the round that may be tried now.
  private mutating func connectNext(_ now: Int64) -> [Action] {
    nextAddressAt = .max
    while cursor < subchannels.count {
      let index = cursor
      cursor += 1
      guard isDue(index, now) else { continue }
      var actions = [connect(index, now)]
      if cursor < subchannels.count {
        nextAddressAt = now + Int64(configuration.nextAddressMilliseconds) * 1_000_000
        actions.append(.wake(atNanoseconds: nextAddressAt))
      }
      return actions
    }
    return wakeForWaiting()
  }

  /// Every address that may be tried now.
  private mutating func connectDue(_ now: Int64) -> [Action] {
    var actions: [Action] = []
    for index in subchannels.indices where isDue(index, now) { actions.append(connect(index, now)) }
    return actions + wakeForWaiting()
  }

  private func isDue(_ index: Int, _ now: Int64) -> Bool {
    switch subchannels[index].phase {
    case .idle: true
    case .waiting(let until): now >= until
    case .connecting, .ready: false
    }
  }

  private mutating func connect(_ index: Int, _ now: Int64) -> Action {
    let backoff = Int64(subchannels[index].backoff.next() * 1_000_000)
    nextID += 1
    subchannels[index].id = nextID
    subchannels[index].phase = .connecting
    subchannels[index].attemptBegan = now
    subchannels[index].nextAttempt = now + backoff
    return .connect(
      id: subchannels[index].id, subchannels[index].address,
      timeoutNanoseconds: max(Int64(configuration.connectTimeoutMilliseconds) * 1_000_000, backoff))
  }

  private func wakeForWaiting() -> [Action] {
    // Until an attempt of its first round has ended `pickFirst` does nothing with those that wait.
    if configuration.balancing == .pickFirst, state != .transientFailure, isConnecting { return [] }
    let moments = subchannels.compactMap { subchannel in
      if case .waiting(let until) = subchannel.phase { until } else { nil as Int64? }
    }
    return moments.min().map { [.wake(atNanoseconds: $0)] } ?? []
  }

  package mutating func connected(_ id: Int, _ connection: Connection, now: Int64) -> [Action] {
    guard state != .shutdown, let index = subchannels.firstIndex(where: { $0.id == id }),
      case .connecting = subchannels[index].phase
    else { return [.close(connection)] }
    subchannels[index].phase = .ready(connection)
    subchannels[index].hasFailed = false
    subchannels[index].backoff.reset()
    if configuration.balancing == .pickFirst {
      nextAddressAt = .max
      // What is still on its way to the others is closed when it arrives.
      for other in subchannels.indices where other != index { settle(other) }
    }
    update()
    return []
  }

  private mutating func settle(_ index: Int) {
    switch subchannels[index].phase {
    case .connecting, .waiting: subchannels[index].phase = .idle
    case .idle, .ready: break
    }
    subchannels[index].hasFailed = false
  }

  package mutating func connectFailed(_ id: Int, _ error: RPCError, now: Int64) -> [Action] {
    guard state != .shutdown, let index = subchannels.firstIndex(where: { $0.id == id }),
      case .connecting = subchannels[index].phase
    else { return [] }
    subchannels[index].phase = .waiting(until: subchannels[index].nextAttempt)
    subchannels[index].hasFailed = true
    lastError = error
    var actions: [Action] = []
    if configuration.balancing == .pickFirst, state == .connecting { actions += connectNext(now) }
    update()
    return actions + wakeForWaiting() + resolveIfDue(now)
  }

  /// A connection takes no more calls.
  package mutating func lost(_ id: Int, _ connection: Connection, _ end: End, now: Int64) -> [Action] {
    guard state != .shutdown, let index = subchannels.firstIndex(where: { $0.id == id }),
      case .ready(let current) = subchannels[index].phase, current === connection
    else { return [] }
    subchannels[index].phase = .idle
    if configuration.balancing == .pickFirst {
      if end == .useless, now < subchannels[index].nextAttempt { return uselessEnded(index, now) }
      mustResolve = mustResolve || end != .idle
      state = .idle
      update()
      return []
    }
    if end == .idle {
      update()
      return []
    }
    // A server that closes every connection at once is not met with a loop of connecting.
    let calm = subchannels[index].attemptBegan + Int64(configuration.backoffInitialMilliseconds * 1_000_000)
    subchannels[index].phase = .waiting(until: max(now, calm))
    let actions = connectDue(now)
    update()
    return actions + resolveIfDue(now)
  }

  /// `pickFirst`: a connection that has ended at once.
  private mutating func uselessEnded(_ index: Int, _ now: Int64) -> [Action] {
    subchannels[index].phase = .waiting(until: subchannels[index].nextAttempt)
    subchannels[index].hasFailed = true
    lastError = RPCError(
      .unavailable, "the server ended the connection before it had answered a call",
      delivery: .notSent)
    state = .connecting
    return beginRound(now) + resolveIfDue(now)
  }

  package mutating func wake(now: Int64) -> [Action] {
    guard state != .shutdown, state != .idle else { return [] }
    var actions: [Action] = []
    if now >= nextAddressAt { actions += connectNext(now) }
    // Within its first round `pickFirst` goes on by itself.
    if configuration.balancing == .roundRobin || state == .transientFailure || !isConnecting {
      if !(configuration.balancing == .pickFirst && state == .ready) { actions += connectDue(now) }
    }
    if mustResolve, state != .ready, mayResolve(now) { actions += resolve() }
    update()
    return actions + nextWake
  }

  /// The next moment at which something is due, whatever earlier wishes have been forgotten.
  private var nextWake: [Action] {
    let address = state == .connecting ? nextAddressAt : .max
    let name = mustResolve && subchannels.isEmpty && !isResolving ? nextResolve : .max
    let next = min(address, name)
    return (next == .max ? [] : [.wake(atNanoseconds: next)]) + wakeForWaiting()
  }

  private var isConnecting: Bool {
    subchannels.contains { if case .connecting = $0.phase { true } else { false } }
  }

  package mutating func shutdown() -> [Action] {
    let open = connections
    state = .shutdown
    connections = []
    subchannels = []
    return open.map { .close($0) }
  }

  // MARK: - State

  /// The state that the addresses' phases make together.
  private mutating func update() {
    guard state != .shutdown else { return }
    connections = subchannels.compactMap { subchannel in
      if case .ready(let connection) = subchannel.phase { connection } else { nil }
    }
    if !connections.isEmpty {
      state = .ready
    } else if state == .idle || subchannels.isEmpty {
      return
    } else if subchannels.allSatisfy(\.hasFailed) {
      state = .transientFailure
    } else if state == .ready, configuration.balancing == .roundRobin, allIdle {
      state = .idle
    } else if state == .ready {
      state = .connecting
    }
  }

  private var allIdle: Bool {
    subchannels.allSatisfy { if case .idle = $0.phase { true } else { false } }
  }

  /// What is known of each address, in order.
  package var addresses: [(address: Address, state: ConnectivityState)] {
    subchannels.map { subchannel in
      let state: ConnectivityState =
        switch subchannel.phase {
        case .idle: .idle
        case .connecting: .connecting
        case .ready: .ready
        case .waiting: subchannel.hasFailed ? .transientFailure : .connecting
        }
      return (subchannel.address, state)
    }
  }
}
