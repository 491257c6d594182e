import Messages
import Synchronization

/// Who follows the log and how far they are, the last ones of each name.
final class SubscriberList: Sendable {
  private struct Entry {
    var next: UInt64
    var connections: Int
  }

  private let entries = Mutex<[String: Entry]>([:])

  /// - Returns: false where there are too many.
  func connect(_ name: String, from offset: UInt64) -> Bool {
    entries.withLock { entries in
      if entries[name] == nil, entries.count >= Limits.subscribersMax {
        // A name that nobody uses any more makes room.
        guard let gone = entries.first(where: { $0.value.connections == 0 })?.key else {
          return false
        }
        entries[gone] = nil
      }
      entries[name, default: Entry(next: offset, connections: 0)].connections += 1
      entries[name]?.next = offset
      return true
    }
  }

  func advance(_ name: String, to offset: UInt64) { entries.withLock { $0[name]?.next = offset } }

  func disconnect(_ name: String) { entries.withLock { $0[name]?.connections -= 1 } }

  var statuses: [ProtoSubscriberStatus] {
    entries.withLock { entries in
      entries.sorted { $0.key < $1.key }.map { name, entry in
        var status = ProtoSubscriberStatus()
        status.name = name
        status.nextOffset = entry.next
        status.connected = entry.connections > 0
        return status
      }
    }
  }
}
