/// How far the store has come in the log, as of one snapshot.
package struct LogPosition: Sendable, Equatable {
  /// Everything before it is counted.
  package var nextOffset: UInt64
  /// Receipt time of the last applied record, ms since 1970.
  package var lastReceivedMilliseconds: Int64

  package init(nextOffset: UInt64 = 0, lastReceivedMilliseconds: Int64 = 0) {
    self.nextOffset = nextOffset
    self.lastReceivedMilliseconds = lastReceivedMilliseconds
  }
}
