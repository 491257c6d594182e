internal import HTTP2

/// Why the server ended a connection; what metrics and logs tell them apart by. A fixed set.
package enum ConnectionEnd: Int, Sendable, CaseIterable {
  // The client did something too often.
  case resets, provokedResets, continuations, settings, pings, emptyFrames, priorities, unknownFrames
  case windowUpdates, headerFlood, headerLimits, failedAuthentications, unreadAnswers
  /// It broke HTTP/2.
  case protocolError
  /// It sent no preface or SETTINGS in time.
  case prefaceTimeout
  /// It did not acknowledge our SETTINGS in time.
  case settingsTimeout
  /// It did not end a header block in time.
  case headerTimeout
  /// It does not take what it has asked for.
  case writeStall
  /// It did not answer a PING in time.
  case keepaliveTimeout
  /// Ended gracefully: no call for long.
  case idle
  /// Ended gracefully: old enough.
  case age
  /// Calls were cut, because the grace after that had passed.
  case ageGrace
  /// Ended gracefully: the identifiers of streams run out.
  case streamsUsedUp

  /// Whether the client is to blame; worth a line in the log.
  package var isAbuse: Bool {
    switch self {
    case .idle, .age, .ageGrace, .streamsUsedUp: false
    default: true
    }
  }

  init(_ abuse: PeerAbuse) {
    self =
      switch abuse {
      case .resets: .resets
      case .provokedResets: .provokedResets
      case .continuations: .continuations
      case .settings: .settings
      case .pings: .pings
      case .emptyFrames: .emptyFrames
      case .priorities: .priorities
      case .unknownFrames: .unknownFrames
      case .windowUpdates: .windowUpdates
      case .headerFlood: .headerFlood
      case .headerLimits: .headerLimits
      case .failedAuthentications: .failedAuthentications
      case .unreadAnswers: .unreadAnswers
      }
  }
}

/// Counts what happens to all connections of a server. Safe from any thread.
package final class ConnectionStatistics: Sendable {
  private let ends: [AtomicCounter] = ConnectionEnd.allCases.map { _ in AtomicCounter() }
  /// Streams that were reset because the client did not take their messages.
  let stalledStreams = AtomicCounter()
  /// Calls answered early because too many ran.
  let refusedCalls = AtomicCounter()
  /// Requests without `te: trailers`: from a client that is not gRPC, or through a proxy that drops it.
  let requestsWithoutTE = AtomicCounter()

  func ended(_ end: ConnectionEnd) { ends[end.rawValue].add(1) }

  /// Connections ended by the server so far, by cause.
  package var endsByCause: [(ConnectionEnd, Int)] {
    ConnectionEnd.allCases.map { ($0, ends[$0.rawValue].value) }
  }
  package var stalledStreamsCount: Int { stalledStreams.value }
  package var refusedCallsCount: Int { refusedCalls.value }
  package var requestsWithoutTECount: Int { requestsWithoutTE.value }
}
