import Messages
import RPC

/// What a caller of event management is told.
enum PlanErrors {
  static func unknownEvent(_ name: String) -> RPCError {
    RPCError(.notFound, "name: the plan has no event \"\(name.prefix(64))\"")
  }

  /// A name that another event has.
  static func taken(_ violation: ProtoPlanViolation) -> RPCError {
    RPCError(.alreadyExists, violation.message)
  }

  static func refused(_ violations: [ProtoPlanViolation]) -> RPCError {
    RPCError(.invalidArgument, told(violations))
  }

  static func notChecked(_ name: String) -> RPCError {
    RPCError(
      .failedPrecondition,
      "definition: this content of \"\(name)\" has not passed CheckFields; check it, then test or publish it"
    )
  }

  static func passesNoLonger(_ violations: [ProtoPlanViolation]) -> RPCError {
    RPCError(.failedPrecondition, "definition: passes no longer: \(told(violations))")
  }

  static func newer(expected: UInt32, actual: UInt32) -> RPCError {
    RPCError(
      .aborted,
      "expected_revision: \(expected), but the event is at revision \(actual): somebody changed it since"
    )
  }

  static func badDocument(_ cause: any Error) -> RPCError {
    RPCError(.invalidArgument, "text: not a PlanDocument in JSON: \(cause)", cause: cause)
  }

  private static func told(_ violations: [ProtoPlanViolation]) -> String {
    let shown = violations.prefix(Limits.Plan.violationsToldMax).map(\.message)
    let rest = violations.count - shown.count
    return shown.joined(separator: "; ") + (rest > 0 ? "; and \(rest) more" : "")
  }
}

/// The words of `PlanViolation.reason`.
enum PlanReason: String {
  case required
  case tooLong = "too_long"
  case badName = "bad_name"
  case outOfRange = "out_of_range"
  case wrongType = "wrong_type"
  case tooMany = "too_many"
  case taken
  case immutable
  case unknownPage = "unknown_page"
  case unknownField = "unknown_field"
  case duplicate
  case unmapped
  case reserved
  case notAllowed = "not_allowed"
  /// Of an observed event only: a declared field that it has not.
  case missing
}

extension ProtoPlanViolation {
  /// - Parameter rule: what the rule allows and what came; the message puts the field in front.
  init(_ field: String, _ reason: PlanReason, _ rule: String) {
    self.init()
    self.field = field
    self.reason = reason.rawValue
    message = "\(field): \(rule)"
  }

  var isTaken: Bool { reason == PlanReason.taken.rawValue }
}
