internal import NIOCore
package import RPC
internal import Synchronization

/// An address of a channel, as channelz shows it.
package struct ChannelzSubchannel: Sendable {
  package let id: Int
  /// `127.0.0.1:7001`.
  package let target: String
  package let state: ConnectivityState
  /// All calls so far over connections to it, each attempt once.
  package let figures: ConnectionFigures
  /// nil: there is none now.
  package let connection: ConnectionSnapshot?
}

extension Channel {
  /// What channelz tells of one address.
  struct AddressRecord {
    let id = ChannelzID.next()
    /// Of connections that are gone.
    var past = ConnectionFigures()
    var connection: ClientConnection?
  }

  package var target: String { servers.map(\.description).joined(separator: ",") }

  /// On the event loop.
  func opened(_ connection: ClientConnection, to address: ServerAddress) {
    state.withLock { state in
      state.records[address, default: AddressRecord()].connection = connection
      guard state.records.count > ChannelConfiguration.addressesMax else { return }
      // Addresses come and go with the names that are asked.
      let known = Set(state.balancer.addresses.map(\.address))
      state.records = state.records.filter { known.contains($0.key) || $0.value.connection != nil }
    }
  }

  /// On the event loop. The connection takes no more calls.
  func ended(_ connection: ClientConnection, to address: ServerAddress) {
    let figures = connection.snapshot.figures
    state.withLock { state in
      guard state.records[address]?.connection === connection else { return }
      state.records[address]?.connection = nil
      state.records[address]?.past.add(figures)
    }
  }

  /// The channel's addresses. Cost: a turn of the event loop per connection.
  package var subchannels: [ChannelzSubchannel] {
    get async {
      let found = state.withLock { state in
        state.balancer.addresses.map { entry -> (ServerAddress, ConnectivityState, AddressRecord) in
          let record = state.records[entry.address, default: AddressRecord()]
          state.records[entry.address] = record
          return (entry.address, entry.state, record)
        }
      }
      var subchannels: [ChannelzSubchannel] = []
      for (address, state, record) in found {
        let connection = await snapshot(of: record.connection)
        var figures = record.past
        if let connection { figures.add(connection.figures) }
        subchannels.append(
          ChannelzSubchannel(
            id: record.id, target: address.description, state: state, figures: figures,
            connection: connection))
      }
      return subchannels
    }
  }

  private func snapshot(of connection: ClientConnection?) async -> ConnectionSnapshot? {
    guard let connection else { return nil }
    return try? await resources.loop.submit { connection.snapshot }.get()
  }
}
