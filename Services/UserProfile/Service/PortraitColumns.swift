import Events
import Store

/// Writes the portrait's columns: gathers what changes, then rewrites each chunk once.
struct PortraitColumns {
  /// The fields that a portrait shows.
  static let attributes: [ContextField] = [.gender, .province]
  /// Stands for the values beyond `ProfileLimits.portraitValuesMax`.
  static let otherCode: UInt16 = 1
  static let otherName = "(other)"
  private static let firstCode: UInt16 = 2
  static let chunkBytes = ProfileLimits.chunkUsers / 8

  private struct BitsKey: Hashable {
    let app: Int64
    let kind: DayUsersKind
    let day: Int32
    let chunk: Int
  }

  private struct CodesKey: Hashable {
    let app: Int64
    let attribute: ContextField
    let chunk: Int
  }

  private struct ValueKey: Hashable {
    let app: Int64
    let attribute: ContextField
    let value: String
  }

  private var bits: [BitsKey: [(index: Int, isSet: Bool)]] = [:]
  private var codes: [CodesKey: [(index: Int, code: UInt16)]] = [:]
  private var knownCodes: [ValueKey: UInt16] = [:]

  mutating func set(_ kind: DayUsersKind, app: Int64, day: Int32, user: UInt32, _ isSet: Bool) {
    let (chunk, index) = Self.place(user)
    bits[BitsKey(app: app, kind: kind, day: day, chunk: chunk), default: []].append((index, isSet))
  }

  mutating func set(
    _ attribute: ContextField, app: Int64, user: UInt32, value: String, _ connection: StoreConnection
  ) throws {
    let code = try code(ValueKey(app: app, attribute: attribute, value: value), connection)
    let (chunk, index) = Self.place(user)
    let key = CodesKey(app: app, attribute: attribute, chunk: chunk)
    codes[key, default: []].append((index, code))
  }

  static func place(_ user: UInt32) -> (chunk: Int, index: Int) {
    (Int(user) / ProfileLimits.chunkUsers, Int(user) % ProfileLimits.chunkUsers)
  }

  private mutating func code(_ key: ValueKey, _ connection: StoreConnection) throws -> UInt16 {
    if key.value.isEmpty { return 0 }
    if let known = knownCodes[key] { return known }
    let code = try storedCode(key, connection)
    if knownCodes.count >= ProfileLimits.portraitValuesMax * 4 { knownCodes.removeAll() }
    knownCodes[key] = code
    return code
  }

  private func storedCode(_ key: ValueKey, _ connection: StoreConnection) throws -> UInt16 {
    let found = try connection.first(
      "SELECT code FROM code_value WHERE app = ? AND attribute = ? AND value = ?",
      [.integer(key.app), .integer(Int(key.attribute.rawValue)), .text(key.value)]
    ) { UInt16(truncatingIfNeeded: $0.int64(0)) }
    if let found { return found }
    let last = try connection.first(
      "SELECT max(code) FROM code_value WHERE app = ? AND attribute = ?",
      [.integer(key.app), .integer(Int(key.attribute.rawValue))]
    ) { $0.int64(0) } ?? 0
    let next = max(last + 1, Int64(Self.firstCode))
    guard next < Int64(Self.firstCode) + Int64(ProfileLimits.portraitValuesMax) else {
      return Self.otherCode
    }
    try connection.execute(
      "INSERT INTO code_value (app, attribute, code, value) VALUES (?, ?, ?, ?)",
      [
        .integer(key.app), .integer(Int(key.attribute.rawValue)), .integer(next), .text(key.value),
      ])
    return UInt16(next)
  }

  // MARK: Writing

  mutating func flush(_ connection: StoreConnection) throws {
    for (key, changes) in bits { try flush(key, changes, connection) }
    bits.removeAll(keepingCapacity: true)
    for (key, changes) in codes { try flush(key, changes, connection) }
    codes.removeAll(keepingCapacity: true)
  }

  /// Forgets what a transaction that was rolled back would have kept.
  mutating func discard() {
    bits.removeAll()
    codes.removeAll()
    knownCodes.removeAll()
  }

  /// Forgets the values of an app that no user has. Cost: looks at every user. Precondition: all is flushed.
  mutating func dropUnusedValues(app: Int64, _ connection: StoreConnection) throws {
    precondition(bits.isEmpty && codes.isEmpty, "what is not flushed uses values too")
    knownCodes.removeAll()
    for attribute in Self.attributes {
      let place: [StoreValue] = [.integer(app), .integer(Int(attribute.rawValue))]
      var isUsed = [Bool](repeating: false, count: Int(UInt16.max) + 1)
      _ = try connection.query(
        "SELECT codes FROM user_codes WHERE app = ? AND attribute = ?", place
      ) { row in
        let codes = row.blob(0)
        for index in stride(from: 0, to: codes.count - 1, by: 2) {
          isUsed[Int(codes[index]) | Int(codes[index + 1]) << 8] = true
        }
      }
      let known = try connection.query(
        "SELECT code FROM code_value WHERE app = ? AND attribute = ?", place
      ) { $0.int(0) }
      for code in known where isUsed.indices.contains(code) && !isUsed[code] {
        try connection.execute(
          "DELETE FROM code_value WHERE app = ? AND attribute = ? AND code = ?",
          place + [.integer(code)])
      }
    }
  }

  private func flush(
    _ key: BitsKey, _ changes: [(index: Int, isSet: Bool)], _ connection: StoreConnection
  ) throws {
    let place: [StoreValue] = [
      .integer(key.app), .integer(key.kind.rawValue), .integer(Int(key.day)), .integer(key.chunk),
    ]
    var stored = try connection.first(
      "SELECT bits FROM day_users WHERE app = ? AND kind = ? AND day = ? AND chunk = ?", place
    ) { $0.bytes(0) } ?? []
    Self.pad(&stored, to: Self.chunkBytes)
    for (index, isSet) in changes {
      let bit: UInt8 = 1 << UInt8(index & 7)
      if isSet { stored[index >> 3] |= bit } else { stored[index >> 3] &= ~bit }
    }
    guard stored.contains(where: { $0 != 0 }) else {
      return try connection.execute(
        "DELETE FROM day_users WHERE app = ? AND kind = ? AND day = ? AND chunk = ?", place)
    }
    try connection.execute(
      "INSERT OR REPLACE INTO day_users (app, kind, day, chunk, bits) VALUES (?, ?, ?, ?, ?)",
      place + [.blob(stored)])
  }

  private func flush(
    _ key: CodesKey, _ changes: [(index: Int, code: UInt16)], _ connection: StoreConnection
  ) throws {
    let place: [StoreValue] = [
      .integer(key.app), .integer(Int(key.attribute.rawValue)), .integer(key.chunk),
    ]
    var stored = try connection.first(
      "SELECT codes FROM user_codes WHERE app = ? AND attribute = ? AND chunk = ?", place
    ) { $0.bytes(0) } ?? []
    let last = changes.reduce(0) { max($0, $1.index) }
    Self.pad(&stored, to: (last + 1) * 2)
    for (index, code) in changes {
      stored[index * 2] = UInt8(truncatingIfNeeded: code)
      stored[index * 2 + 1] = UInt8(truncatingIfNeeded: code >> 8)
    }
    try connection.execute(
      "INSERT OR REPLACE INTO user_codes (app, attribute, chunk, codes) VALUES (?, ?, ?, ?)",
      place + [.blob(stored)])
  }

  private static func pad(_ bytes: inout [UInt8], to count: Int) {
    if bytes.count < count { bytes += [UInt8](repeating: 0, count: count - bytes.count) }
  }
}
