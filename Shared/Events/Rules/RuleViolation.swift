/// A rule that an event or a batch breaks: where, how, and by how much.
package struct RuleViolation: Error, Sendable, Equatable, CustomStringConvertible {
  /// The words of `RejectedEvent.reason`.
  package enum Reason: String, Sendable, CaseIterable {
    case required
    case tooLong = "too_long"
    case badName = "bad_name"
    case badUTF8 = "bad_utf8"
    case outOfRange = "out_of_range"
    case wrongType = "wrong_type"
    case tooMany = "too_many"
    case notFinite = "not_finite"
  }

  /// As the sender knows it: `name`, `context.open_id`, `fields.price`.
  package let field: String
  package let reason: Reason
  /// What the rule allows, for people: `at most 128 bytes`.
  package let limit: String
  /// What came, for people: `200 bytes`. Empty where nothing came.
  package let actual: String

  package init(field: String, reason: Reason, limit: String, actual: String = "") {
    self.field = field
    self.reason = reason
    self.limit = limit
    self.actual = actual
  }

  /// A sentence that names field, limit and value: `fields.price: at most 1024 bytes; got 2000 bytes`.
  package var message: String {
    actual.isEmpty ? "\(field): \(limit)" : "\(field): \(limit); got \(actual)"
  }

  package var description: String { message }
}

extension RuleViolation {
  static func required(_ field: String, because reason: String = "") -> RuleViolation {
    RuleViolation(
      field: field, reason: .required, limit: reason.isEmpty ? "required" : "required, \(reason)")
  }

  static func tooLong(_ field: String, bytes: UInt32, max: Int) -> RuleViolation {
    RuleViolation(
      field: field, reason: .tooLong, limit: "at most \(max) bytes", actual: "\(bytes) bytes")
  }

  static func badUTF8(_ field: String) -> RuleViolation {
    RuleViolation(
      field: field, reason: .badUTF8, limit: "must be UTF-8", actual: "other bytes")
  }

  static func outOfRange<Value>(_ field: String, _ value: Value, min: Value, max: Value)
    -> RuleViolation
  where Value: CustomStringConvertible {
    RuleViolation(
      field: field, reason: .outOfRange, limit: "from \(min) to \(max)",
      actual: value.description)
  }

  /// - Parameter name: what came; shown up to 64 bytes, with anything unprintable replaced.
  static func badName(_ field: String, _ rule: String, name: UnsafeRawBufferPointer)
    -> RuleViolation
  {
    RuleViolation(field: field, reason: .badName, limit: rule, actual: quoted(name))
  }

  static func quoted(_ bytes: UnsafeRawBufferPointer) -> String {
    let shown = String(decoding: bytes.prefix(64), as: UTF8.self).unicodeScalars.map { scalar in
      scalar.properties.generalCategory == .control ? "\u{fffd}" : String(scalar)
    }
    return "\"\(shown.joined())\(bytes.count > 64 ? "..." : "")\""
  }
}
