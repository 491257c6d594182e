internal import RPC
internal import Synchronization

/// The connections of a server, for its bound and its end.
final class ConnectionRegistry: Sendable {
  private struct State {
    var connections: [ObjectIdentifier: (ServerConnection, ChannelDriver)] = [:]
    var reserved = 0
    var byAddress: [String: Int] = [:]
    var emptyWaiter: CheckedContinuation<Void, Never>?
    var accepted = 0
    var refused = 0
  }

  private let state = Mutex(State())

  /// Takes one of the places for connections; false: there is none, or none for this address.
  ///
  /// - Parameter address: nil: not held to a bound of its own.
  func reserve(_ limits: ServerLimits, address: String?) -> Bool {
    state.withLock { state in
      let own = address.flatMap { state.byAddress[$0] } ?? 0
      guard state.reserved < limits.connectionsMax, own < limits.connectionsPerAddressMax else {
        state.refused += 1
        return false
      }
      if let address { state.byAddress[address] = own + 1 }
      state.reserved += 1
      state.accepted += 1
      return true
    }
  }

  func release(address: String?) {
    let waiter: CheckedContinuation<Void, Never>? = state.withLock { state in
      if let address, let own = state.byAddress[address] {
        state.byAddress[address] = own > 1 ? own - 1 : nil
      }
      state.reserved -= 1
      guard state.reserved == 0 else { return nil }
      defer { state.emptyWaiter = nil }
      return state.emptyWaiter
    }
    waiter?.resume()
  }

  func add(_ connection: ServerConnection, _ driver: ChannelDriver) {
    state.withLock { $0.connections[ObjectIdentifier(connection)] = (connection, driver) }
  }

  func remove(_ connection: ServerConnection) {
    _ = state.withLock { $0.connections.removeValue(forKey: ObjectIdentifier(connection)) }
  }

  var all: [(ServerConnection, ChannelDriver)] { state.withLock { Array($0.connections.values) } }
  var open: Int { state.withLock { $0.reserved } }
  var accepted: Int { state.withLock { $0.accepted } }
  var refused: Int { state.withLock { $0.refused } }

  /// Returns once no connection is open.
  func waitUntilEmpty() async {
    await withCheckedContinuation { continuation in
      let empty = state.withLock { state in
        if state.reserved == 0 { return true }
        state.emptyWaiter = continuation
        return false
      }
      if empty { continuation.resume() }
    }
  }
}
