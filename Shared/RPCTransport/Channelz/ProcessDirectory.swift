package import RPC
internal import Synchronization

/// The servers and channels that live in this process, for channelz. They enter and leave by themselves.
package final class ProcessDirectory: Sendable {
  package static let shared = ProcessDirectory()

  private struct Weak<Object: AnyObject & Sendable>: Sendable {
    weak var object: Object?
  }

  private struct State {
    var servers: [Int: Weak<RPCServer>] = [:]
    var channels: [Int: Weak<Channel>] = [:]
  }

  private let state = Mutex(State())

  func add(_ server: RPCServer) { state.withLock { $0.servers[server.id] = Weak(object: server) } }
  func add(_ channel: Channel) { state.withLock { $0.channels[channel.id] = Weak(object: channel) } }
  func removeServer(_ id: Int) { _ = state.withLock { $0.servers.removeValue(forKey: id) } }
  func removeChannel(_ id: Int) { _ = state.withLock { $0.channels.removeValue(forKey: id) } }

  /// Those of this number and above, in ascending order.
  package func servers(from id: Int) -> [RPCServer] {
    let found = state.withLock { state in
      state.servers.filter { $0.key >= id }.compactMap(\.value.object)
    }
    return found.sorted { $0.id < $1.id }
  }

  /// Those of this number and above, in ascending order.
  package func channels(from id: Int) -> [Channel] {
    let found = state.withLock { state in
      state.channels.filter { $0.key >= id }.compactMap(\.value.object)
    }
    return found.sorted { $0.id < $1.id }
  }

  /// A connection of any server or channel; nil: there is none of this number, or it has just gone.
  package func connection(_ id: Int) async -> ConnectionSnapshot? {
    for server in servers(from: 0) {
      if let found = await server.connection(id) { return found }
    }
    for channel in channels(from: 0) {
      for subchannel in await channel.subchannels {
        if let found = subchannel.connection, found.id == id { return found }
      }
    }
    return nil
  }
}

extension RPCServer {
  /// Open connections of this number and above, in ascending order.
  package func connectionIDs(from id: Int) -> [Int] {
    registry.all.map { $0.0.id }.filter { $0 >= id }.sorted()
  }

  /// An open connection as it is now; nil: there is none of this number. Cost: a turn of its event loop.
  package func connection(_ id: Int) async -> ConnectionSnapshot? {
    guard let (connection, driver) = registry.all.first(where: { $0.0.id == id }) else { return nil }
    return await driver.ask { connection.snapshot }
  }

  /// All calls so far: those that reached a method.
  package var callFigures: ConnectionFigures {
    var figures = ConnectionFigures()
    for method in core.router.methods {
      let calls = method.statistics.callsByStatus
      figures.callsStarted += method.statistics.calls
      figures.callsSucceeded += calls[StatusCode.ok.rawValue]
      figures.callsFailed += calls.reduce(0, +) - calls[StatusCode.ok.rawValue]
      figures.lastCallStarted = max(figures.lastCallStarted, method.statistics.lastCallStarted)
    }
    return figures
  }
}
