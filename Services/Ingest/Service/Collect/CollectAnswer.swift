import Events
import Messages
import RPC
import SwiftProtobuf

/// Makes the `CollectResponse` of a batch.
enum CollectAnswer {
  /// By hand where every event is in the log, which is nearly always: field 1 `accepted`, 2 `duplicates`, 5 `batch`.
  ///
  /// - Parameter problems: of the events that are not, in their order.
  static func encode(
    accepted: Int, duplicates: Int, number: UInt64, problems: [EventProblem], removals: [Removal]
  ) throws -> [UInt8] {
    guard problems.isEmpty, removals.isEmpty else {
      var response = ProtoCollectResponse()
      response.accepted = UInt32(accepted)
      response.duplicates = UInt32(duplicates)
      response.batch = number
      response.rejected = problems.filter(\.fate.isRejected).map(event)
      response.quarantined = problems.filter(\.fate.isQuarantined).map(event)
      response.removedFields = removals.map(removed)
      return try response.serializedBytes()
    }
    var bytes = ProtoBytes(capacity: 16)
    bytes.varint(field: 1, UInt64(accepted))
    bytes.varint(field: 2, UInt64(duplicates))
    bytes.varint(field: 5, number)
    return bytes.bytes
  }

  /// Of a stream: the batch was refused as a whole.
  static func encode(_ error: RPCError, number: UInt64) throws -> [UInt8] {
    var response = ProtoCollectResponse()
    response.batch = number
    response.error.code = Int32(error.code.rawValue)
    response.error.message = error.message
    return try response.serializedBytes()
  }

  private static func removed(_ removal: Removal) -> ProtoRemovedField {
    var field = ProtoRemovedField()
    if let index = removal.removal.event { field.index = UInt32(index) }
    field.field = removal.path
    field.rule = removal.rule.word
    return field
  }

  private static func event(_ problem: EventProblem) -> ProtoRejectedEvent {
    var event = ProtoRejectedEvent()
    event.index = UInt32(problem.index)
    event.field = problem.text.field
    event.reason = problem.fate.reason?.word ?? ""
    event.message = problem.text.message
    event.quarantineID = UInt64(problem.quarantineID)
    return event
  }
}

extension EventProblem.Text {
  init(_ violation: RuleViolation) {
    self.init(field: violation.field, message: violation.message)
  }

  init(_ problem: FieldProblem) {
    self.init(field: problem.field, message: problem.message)
  }

  /// - Parameter bound: the app's, ms.
  static func late(_ bound: Int64) -> Self {
    let isDays = bound % 86_400_000 == 0
    let limit = isDays ? "\(bound / 86_400_000) days" : "\(bound) ms"
    return Self(field: "time_ms", message: "time_ms: at most \(limit) before receipt; kept aside")
  }

  static let noConsent = Self(
    field: "context.open_id", message: "context.open_id: the user has not agreed to analytics; not stored")

  static func conflict(isNumbered: Bool) -> Self {
    let field = isNumbered ? "sequence" : "event_id"
    return Self(
      field: field, message: "\(field): taken by an event of other content; kept aside")
  }

  static func belowWindow(_ sequence: UInt64) -> Self {
    Self(
      field: "sequence",
      message: """
        sequence: at most \(DeviceWindow.span - 1) below the device's highest, \(sequence) is further; \
        it cannot be told whether it was counted; kept aside
        """)
  }
}

/// Writes protobuf fields one after another. A value of 0 is not written, as proto3 has it.
struct ProtoBytes {
  private(set) var bytes: [UInt8] = []

  init(capacity: Int) { bytes.reserveCapacity(capacity) }

  mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

  mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

  mutating func varint(field: Int, _ value: UInt64) {
    guard value != 0 else { return }
    varint(UInt64(field) << 3)
    varint(value)
  }

  mutating func bytes(field: Int, _ value: UnsafeRawBufferPointer) {
    varint(UInt64(field) << 3 | 2)
    varint(UInt64(value.count))
    bytes.append(contentsOf: value)
  }

  mutating func append(_ other: ProtoBytes) { bytes.append(contentsOf: other.bytes) }

  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  /// Bytes that a varint takes.
  static func count(_ value: UInt64) -> Int { max((64 - value.leadingZeroBitCount + 6) / 7, 1) }
}
