import Events
import Foundation
import Messages
import RPC
import Store

/// Which events of quarantine a call is about: checked.
struct QuarantineQuery: Sendable {
  let app: AppEntry
  /// Bit n: `EventReason` n. 0: every reason.
  private let reasons: Int64
  private let name: String
  private let from: Int64
  private let to: Int64

  /// - Throws: INVALID_ARGUMENT that names the field.
  init(_ filter: ProtoQuarantineFilter, app: AppEntry) throws(RPCError) {
    self.app = app
    reasons = try Self.reasons(filter.reasons)
    name = filter.eventName
    from = filter.receivedFromMs
    to = filter.receivedToMs
    if !name.isEmpty {
      var name = name
      guard name.withUTF8({ EventName.isValid(UnsafeRawBufferPointer($0)) }) else {
        throw IngestErrors.invalid(
          "filter.event_name",
          "must match ^[a-z][a-z0-9_]{0,31}$ or be a built-in event; got \"\(name.prefix(64))\"")
      }
    }
    for (field, value) in [("received_from_ms", from), ("received_to_ms", to)] {
      guard (0...EventLimits.timeMillisecondsMax).contains(value) else {
        throw IngestErrors.invalid(
          "filter.\(field)", "from 0 to \(EventLimits.timeMillisecondsMax); got \(value)")
      }
    }
    guard to == 0 || to > from else {
      throw IngestErrors.invalid(
        "filter.received_to_ms", "0 or later than received_from_ms (\(from)); got \(to)")
    }
  }

  private static func reasons(_ words: [String]) throws(RPCError) -> Int64 {
    // A replay may leave an event with any of them.
    let known = EventReason.allCases
    guard words.count <= Limits.quarantineFilterReasonsMax else {
      throw IngestErrors.invalid(
        "filter.reasons", "at most \(Limits.quarantineFilterReasonsMax); got \(words.count)")
    }
    var reasons: Int64 = 0
    for word in words {
      let meant = known.filter { $0.word == word }
      guard !meant.isEmpty else {
        throw IngestErrors.invalid(
          "filter.reasons",
          "\"\(word.prefix(64))\" is none of \(known.map(\.word).joined(separator: " "))")
      }
      for reason in meant { reasons |= 1 << Int64(reason.rawValue) }
    }
    return reasons
  }

  /// The condition over the rows that are kept, with five parameters; a sixth is the id that `beyond` names.
  static func condition(_ beyond: String) -> String {
    """
    app = ?1 AND state = 0 AND id \(beyond) ?6 AND (?2 = 0 OR ?2 >> reason & 1) AND (?3 = '' OR name = ?3)
    AND received_ms >= ?4 AND (?5 = 0 OR received_ms < ?5)
    """
  }

  func values(beyond id: Int64) -> [StoreValue] {
    [.integer(app.number), .integer(reasons), .text(name), .integer(from), .integer(to), .integer(id)]
  }

  // MARK: Cursors

  /// Where the next page begins: an id, and a hash of it with the app and the filter, so that a cursor of something else is
  /// refused instead of giving wrong pages.
  func cursor(beyond id: Int64, _ hash: KeyedHash) -> String {
    var bytes = withUnsafeBytes(of: id.littleEndian) { Data($0) }
    bytes.append(contentsOf: withUnsafeBytes(of: seal(id, hash).littleEndian) { Data($0) })
    return bytes.base64EncodedString()
      .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
  }

  /// - Returns: nil for an empty cursor.
  /// - Throws: INVALID_ARGUMENT.
  func id(of cursor: String, _ hash: KeyedHash) throws(RPCError) -> Int64? {
    guard !cursor.isEmpty else { return nil }
    let text = cursor.replacing("-", with: "+").replacing("_", with: "/") + "=="
    guard cursor.utf8.count == Self.cursorBytes, let bytes = Data(base64Encoded: text),
      bytes.count == 16
    else { throw Self.badCursor }
    let (id, seal) = bytes.withUnsafeBytes {
      (
        Int64(littleEndian: $0.loadUnaligned(as: Int64.self)),
        UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      )
    }
    guard seal == self.seal(id, hash) else { throw Self.badCursor }
    return id
  }

  /// 16 bytes in base64 without padding.
  private static let cursorBytes = 22

  private static let badCursor = IngestErrors.invalid(
    "cursor", "must be empty or the next_cursor of an answer to the same app and filter")

  private func seal(_ id: Int64, _ hash: KeyedHash) -> UInt64 {
    let text = "\(app.number) \(reasons) \(name) \(from) \(to) \(id)"
    return Array(text.utf8).withUnsafeBytes { hash.id($0).low }
  }
}

/// The events that a call changes: by their ids, or the oldest that a filter finds.
enum QuarantineSelection: Sendable {
  case ids([Int64])
  case matching(QuarantineQuery, limit: Int)

  /// - Throws: INVALID_ARGUMENT that names the field.
  init(
    ids: [UInt64], filter: ProtoQuarantineFilter?, limit: UInt32, app: AppEntry
  ) throws(RPCError) {
    guard ids.isEmpty != (filter == nil) else {
      throw IngestErrors.invalid("ids", "either ids or a filter, and not both")
    }
    guard let filter else {
      guard limit == 0 else { throw IngestErrors.invalid("limit", "only with a filter") }
      self = .ids(try Self.ids(ids))
      return
    }
    guard limit <= UInt32(Limits.quarantineSelectionMax) else {
      throw IngestErrors.invalid("limit", "at most \(Limits.quarantineSelectionMax); got \(limit)")
    }
    self = .matching(
      try QuarantineQuery(filter, app: app),
      limit: limit == 0 ? Limits.quarantineSelectionDefault : Int(limit))
  }

  private static func ids(_ ids: [UInt64]) throws(RPCError) -> [Int64] {
    guard ids.count <= Limits.quarantineIDsMax else {
      throw IngestErrors.invalid("ids", "at most \(Limits.quarantineIDsMax); got \(ids.count)")
    }
    var seen: Set<UInt64> = []
    var checked: [Int64] = []
    for id in ids {
      guard id > 0, id <= UInt64(Int64.max) else {
        throw IngestErrors.invalid("ids", "from 1 to \(Int64.max); got \(id)")
      }
      if seen.insert(id).inserted { checked.append(Int64(id)) }
    }
    return checked
  }
}
