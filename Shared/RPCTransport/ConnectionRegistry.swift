internal import RPC
internal import Synchronization

/// The connections of a server, for its bound and its end.
final class ConnectionRegistry: Sendable {
  private struct State {
    var connections: [ObjectIdentifier: (ServerConnection, ChannelDriver)] = [:]
    var reserved = 0
    var emptyWaiter: CheckedContinuation<Void, Never>?
    var accepted = 0
    var refused = 0
  }

  private let state = Mutex(State())

  /// Takes one of `limit` places; false: there is none.
  func reserve(limit: Int) -> Bool {
    state.withLock { state in
      guard state.reserved < limit else {
        state.refused += 1
        return false
      }
      state.reserved += 1
      state.accepted += 1
      return true
    }
  }

  func release() {
    let waiter: CheckedContinuation<Void, Never>? = state.withLock { state in
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
