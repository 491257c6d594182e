package import Events
package import Store

/// The users of a range of days, grouped by attribute, before anything is suppressed.
package struct RawPortrait: Sendable, Equatable {
  package var users: UInt64 = 0
  /// By attribute: name of the value (empty: unknown) -> users.
  package var groups: [ContextField: [String: UInt64]] = [:]

  package init() {}
}

/// Answers the portrait from the columns. Memory: 1 bit for each user of the app, and one chunk.
package struct PortraitReader {
  private let connection: StoreConnection
  private let app: Int64

  package init(_ connection: StoreConnection, app: Int64) {
    self.connection = connection
    self.app = app
  }

  /// Users active on any of the days.
  package func active(_ days: ClosedRange<Int32>) throws -> RawPortrait {
    try portrait(.active, days)
  }

  /// Users whose first active event ever lies on one of the days.
  package func new(_ days: ClosedRange<Int32>) throws -> RawPortrait {
    try portrait(.new, days)
  }

  private func portrait(_ kind: DayUsersKind, _ days: ClosedRange<Int32>) throws -> RawPortrait {
    let users = try users(kind, days)
    var portrait = RawPortrait()
    portrait.users = users.reduce(0) { $0 + UInt64($1.nonzeroBitCount) }
    for attribute in PortraitColumns.attributes {
      portrait.groups[attribute] = try groups(attribute, of: users)
    }
    return portrait
  }

  /// A bitmap over all users of the app.
  private func users(_ kind: DayUsersKind, _ days: ClosedRange<Int32>) throws -> [UInt64] {
    let wordsPerChunk = ProfileLimits.chunkUsers / 64
    var users: [UInt64] = []
    let rows = try connection.statement(
      "SELECT chunk, bits FROM day_users WHERE app = ? AND kind = ? AND day BETWEEN ? AND ?")
    defer { rows.reset() }
    try rows.bind([
      .integer(app), .integer(kind.rawValue), .integer(Int(days.lowerBound)),
      .integer(Int(days.upperBound)),
    ])
    while try rows.step() {
      let first = rows.int(0) * wordsPerChunk
      let bits = rows.blob(1)
      guard first >= 0, bits.count == PortraitColumns.chunkBytes else { throw PackedError() }
      while users.count < first + wordsPerChunk { users.append(0) }
      for word in 0..<wordsPerChunk {
        users[first + word] |= UInt64(
          littleEndian: bits.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self))
      }
    }
    return users
  }

  private func groups(_ attribute: ContextField, of users: [UInt64]) throws -> [String: UInt64] {
    var counts: [UInt16: UInt64] = [:]
    let wordsPerChunk = ProfileLimits.chunkUsers / 64
    for first in stride(from: 0, to: users.count, by: wordsPerChunk) {
      let chunk = users[first..<first + wordsPerChunk]
      if chunk.allSatisfy({ $0 == 0 }) { continue }
      try count(chunk, attribute, chunk: first / wordsPerChunk, into: &counts)
    }
    return try named(counts, attribute)
  }

  private func count(
    _ users: ArraySlice<UInt64>, _ attribute: ContextField, chunk: Int,
    into counts: inout [UInt16: UInt64]
  ) throws {
    let codes = try connection.first(
      "SELECT codes FROM user_codes WHERE app = ? AND attribute = ? AND chunk = ?",
      [.integer(app), .integer(Int(attribute.rawValue)), .integer(chunk)]
    ) { $0.bytes(0) } ?? []
    for (place, word) in users.enumerated() {
      var rest = word
      while rest != 0 {
        let byte = (place * 64 + rest.trailingZeroBitCount) * 2
        let code =
          byte + 1 < codes.count ? UInt16(codes[byte]) | UInt16(codes[byte + 1]) << 8 : 0
        counts[code, default: 0] += 1
        rest &= rest - 1
      }
    }
  }

  private func named(
    _ counts: [UInt16: UInt64], _ attribute: ContextField
  ) throws -> [String: UInt64] {
    var named: [String: UInt64] = [:]
    for (code, users) in counts {
      let name =
        switch code {
        case 0: ""
        case PortraitColumns.otherCode: PortraitColumns.otherName
        default: try value(of: code, attribute)
        }
      named[name, default: 0] += users
    }
    return named
  }

  private func value(of code: UInt16, _ attribute: ContextField) throws -> String {
    let value = try connection.first(
      "SELECT value FROM code_value WHERE app = ? AND attribute = ? AND code = ?",
      [.integer(app), .integer(Int(attribute.rawValue)), .integer(Int(code))]
    ) { $0.string(0) }
    guard let value else { throw PackedError() }
    return value
  }
}
