import Events

/// What a row of `log` says beside its payload. All of it is covered by the row's checksum.
struct LogRowHeader: Sendable {
  var firstOffset: UInt64
  /// Events, or 1 for a change.
  var count: Int64
  var receivedMilliseconds: Int64
  var clockOffsetMilliseconds: Int64
  var bytesBefore: Int64
  /// Raw: what a damaged row says is checked as it stands there.
  var kind: Int64
  var importFlag: Int64
  var payloadBytes: Int64
}

/// The column `checksum` of `log`, in two versions:
///
/// ```
///  bits 63-56   bits 55-32                     bits 31-0
/// +-----------+------------------------------+----------------------------------------+
/// | 0 (1)     | 0                            | CRC-32C of the payload                 |
/// | 2         | low 24 bits of the CRC-32C   | CRC-32C of the payload, then the       |
/// |           | of the header and the app    | header, then the app                   |
/// +-----------+------------------------------+----------------------------------------+
/// header, 64 bytes, little-endian: first_offset, count, received_ms, clock_offset_ms, bytes_before, kind, import, payload bytes
/// ```
///
/// Version 2 is written. Of version 1, which protects the payload only, rows are read as they are. The 24 bits let a reader pass
/// over another app's row without reading its payload, and still find a wrong app or count.
enum RowChecksum {
  private static let versionShift: Int64 = 56
  private static let current: Int64 = 2
  private static let headerMask: UInt32 = 0xff_ffff

  /// - Parameter payload: the payload's own CRC-32C.
  static func stored(_ header: LogRowHeader, appID: String, payload: UInt32) -> Int64 {
    var appID = appID
    return appID.withUTF8 { stored(header, appID: UnsafeRawBufferPointer($0), payload: payload) }
  }

  static func stored(
    _ header: LogRowHeader, appID: UnsafeRawBufferPointer, payload: UInt32
  ) -> Int64 {
    let own = extend(0, header, appID) & headerMask
    let whole = extend(payload, header, appID)
    return current << versionShift | Int64(own) << 32 | Int64(whole)
  }

  /// Whether the stored checksum fits the row. `payload`: the payload's own CRC-32C.
  static func matches(
    _ stored: Int64, _ header: LogRowHeader, appID: UnsafeRawBufferPointer, payload: UInt32
  ) -> Bool {
    // Version 1 has 32 bits and nothing above them.
    if stored >> 32 == 0 { return UInt32(truncatingIfNeeded: stored) == payload }
    return stored == self.stored(header, appID: appID, payload: payload)
  }

  /// Whether the row's header is what was written, as far as its version can tell.
  static func matchesHeader(
    _ stored: Int64, _ header: LogRowHeader, appID: UnsafeRawBufferPointer
  ) -> Bool {
    if stored >> 32 == 0 { return true }
    let own = Int64(extend(0, header, appID) & headerMask)
    return stored >> 32 == current << (versionShift - 32) | own
  }

  private static func extend(
    _ checksum: UInt32, _ header: LogRowHeader, _ appID: UnsafeRawBufferPointer
  ) -> UInt32 {
    let words = (
      header.firstOffset.littleEndian, header.count.littleEndian,
      header.receivedMilliseconds.littleEndian, header.clockOffsetMilliseconds.littleEndian,
      header.bytesBefore.littleEndian, header.kind.littleEndian, header.importFlag.littleEndian,
      header.payloadBytes.littleEndian
    )
    let own = withUnsafeBytes(of: words) { CRC32C.extend(checksum, $0) }
    return CRC32C.extend(own, appID)
  }
}
