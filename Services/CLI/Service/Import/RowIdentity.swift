import Crypto

/// Names every row of a file by its content, so that the same row gets the same `event_id` in each import of it.
///
/// ```
/// event_id = hex(first 16 bytes of SHA-256(row bytes, 0x0A, ordinal as decimal text))
/// ```
///
/// The ordinal tells equal rows apart: 0 for the first, 1 for the second ... It does not depend on where in the file a row stands,
/// so rows that are added to a file later, before or behind, leave the others' names alone.
///
/// Memory is bounded: equal rows are recognised over the last `windowRows` rows at least (about 100 MB at most). One that returns after
/// more rows than that counts as the row seen before.
package struct RowIdentity {
  /// Different rows within which an equal one is told apart.
  package static let windowRows = 2_000_000

  private let window: Int
  // Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
  private var young: [UInt64: UInt32] = [:]
  private var old: [UInt64: UInt32] = [:]

  package init(windowRows: Int = RowIdentity.windowRows) {
    precondition(windowRows > 0)
    window = windowRows
  }

  /// The row's `event_id`: 32 hexadecimal digits. To be called once for every row, in order.
  package mutating func eventID(of row: [UInt8]) -> String {
    var hash = SHA256()
    hash.update(data: row)
    let first = Self.prefix(hash.finalize())
    let seen = young[first] ?? old[first] ?? 0
    young[first] = seen &+ 1
    if young.count >= window {
      old = young
      young = [:]
    }
    hash.update(data: Array("\n\(seen)".utf8))
    var text: [UInt8] = []
    text.reserveCapacity(32)
    for byte in hash.finalize().prefix(16) {
      text.append(Self.digit(byte >> 4))
      text.append(Self.digit(byte & 15))
    }
    return String(decoding: text, as: UTF8.self)
  }

  private static func prefix(_ digest: SHA256.Digest) -> UInt64 {
    digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
  }

  private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
}
