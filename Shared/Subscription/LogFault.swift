/// What came from the log and cannot be applied. The stream is begun anew from the stored position: a fault of one
/// connection heals, a fault of the log itself is repeated, logged each time, and visible as a position that stands still.
package enum LogFault: Error, Sendable, Equatable, CustomStringConvertible {
  /// A record does not begin at the offset that must follow.
  case gap(expected: UInt64, found: UInt64)
  /// A record's body is not the bytes that ingest stored.
  case badChecksum(offset: UInt64, stored: UInt32, computed: UInt32)
  /// A record's body cannot be decoded, or disagrees with its record.
  case badRecord(offset: UInt64, reason: String)
  case badApp(String)
  /// A batch of an app that no earlier record has described.
  case unknownApp(offset: UInt64, appID: String)
  /// Nothing was heard for so long, not even a sign of life.
  case silent(milliseconds: Int)
  /// Ingest ended the stream with OK.
  case ended
  /// Another process follows the log under this one's name.
  case replaced(name: String, reason: String)

  package var description: String {
    switch self {
    case .gap(let expected, let found): "the log goes on at offset \(found) instead of \(expected)"
    case .badChecksum(let offset, let stored, let computed):
      "the record at offset \(offset) has the checksum \(computed) instead of \(stored)"
    case .badRecord(let offset, let reason): "the record at offset \(offset) is broken: \(reason)"
    case .badApp(let reason): "an app cannot be used here: \(reason)"
    case .unknownApp(let offset, let appID):
      "the record at offset \(offset) is of the app \"\(appID)\", which no earlier record describes"
    case .silent(let milliseconds): "nothing was heard from ingest for \(milliseconds) ms"
    case .ended: "ingest ended the stream"
    case .replaced(let name, let reason): "another process follows the log as \(name): \(reason)"
    }
  }
}
