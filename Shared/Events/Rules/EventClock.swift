/// When an event happened (SEMANTICS 1, Time): the device's clock corrected by one offset for the whole batch, so that order
/// within a device never changes.
package struct EventClock: Sendable, Equatable {
  /// Clocks that differ by no more than this are left alone, ms.
  package static let toleranceMilliseconds: Int64 = 60_000
  /// An event may lie this far after its receipt, ms.
  package static let futureMilliseconds: Int64 = 300_000
  /// An event further back than this is quarantined as `late`, ms, unless its app has another bound.
  package static let latenessMilliseconds: Int64 = 7 * 86_400_000

  /// The server's clock when the batch came, ms since 1970.
  package let receivedMilliseconds: Int64
  /// Added to every event's time, ms.
  package let offsetMilliseconds: Int64
  /// The batch came by an import: nothing is corrected, nothing is late.
  package let isImport: Bool

  /// At ingest.
  ///
  /// - Parameter sent: the device's clock when it sent the batch; 0: not known, no correction.
  package init(received: Int64, sent: Int64, isImport: Bool) {
    let difference = received &- sent
    let corrects = !isImport && sent > 0 && difference.magnitude > Self.toleranceMilliseconds.magnitude
    self.init(received: received, offset: corrects ? difference : 0, isImport: isImport)
  }

  /// From a record of the log.
  package init(received: Int64, offset: Int64, isImport: Bool) {
    receivedMilliseconds = received
    offsetMilliseconds = offset
    self.isImport = isImport
  }

  /// The event's time, corrected and clamped, ms since 1970.
  ///
  /// - Parameter deviceTime: `time_ms` as it was sent.
  package func time(_ deviceTime: Int64) -> Int64 {
    guard !isImport else { return deviceTime }
    let corrected = deviceTime &+ offsetMilliseconds
    return corrected > receivedMilliseconds &+ Self.futureMilliseconds
      ? receivedMilliseconds : corrected
  }

  /// Whether the event lies further back than the lateness bound; exactly at the bound it does not.
  ///
  /// - Parameter bound: the app's, ms.
  package func isLate(_ deviceTime: Int64, bound: Int64 = latenessMilliseconds) -> Bool {
    guard !isImport else { return false }
    return time(deviceTime) < receivedMilliseconds &- bound
  }
}
