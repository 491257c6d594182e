import Events
import Store

/// A row of `log` in place: valid until its statement's next step.
struct LogRow {
  /// The columns that a statement must answer for it, the payload last: NULL where it is left out.
  static let columns = """
    first_offset, app_id, kind, count, received_ms, clock_offset_ms, import, checksum, bytes_before, length(payload)
    """
  static let payloadColumn = 10

  private let statement: StoreStatement
  let header: LogRowHeader
  private let checksum: Int64

  init(_ statement: StoreStatement) {
    self.statement = statement
    header = LogRowHeader(
      firstOffset: UInt64(bitPattern: statement.int64(0)), count: statement.int64(3),
      receivedMilliseconds: statement.int64(4), clockOffsetMilliseconds: statement.int64(5),
      bytesBefore: statement.int64(8), kind: statement.int64(2), importFlag: statement.int64(6),
      payloadBytes: statement.int64(9))
    checksum = statement.int64(7)
  }

  /// Follows the row's last offset.
  var end: UInt64 { header.firstOffset &+ UInt64(bitPattern: header.count) }

  /// The record's kind; nil for a number that no release has written.
  var kind: RecordKind? { RecordKind(rawValue: header.kind) }

  /// In place, as the payload.
  func withAppID<T>(_ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
    try statement.withText(1, body)
  }

  var hasPayload: Bool { !statement.isNull(Self.payloadColumn) }
  var payload: UnsafeRawBufferPointer { statement.blob(Self.payloadColumn) }

  /// Whether the row's checksum fits what it covers.
  ///
  /// - Parameter computed: CRC-32C of the payload, or of its index.
  func matches(_ computed: UInt32) -> Bool {
    withAppID { RowChecksum.matches(checksum, header, appID: $0, payload: computed) }
  }

  /// Whether everything but the payload is as it was written, as far as the row's version can tell.
  func verifiesHeader() -> Bool {
    isPlausible && withAppID { RowChecksum.matchesHeader(checksum, header, appID: $0) }
  }

  /// What holds of every row, whatever its version.
  var isPlausible: Bool {
    guard let kind else { return false }
    let most = kind == .batches ? UInt32.max : UInt32(EventLimits.eventsPerBatchMax)
    return (1...Int64(most)).contains(header.count)
  }
}
