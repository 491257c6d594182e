package import SwiftProtobuf

/// Why a text is not the JSON of a message, in the words of JSON.
package enum JSONProblem {
  package static func text(_ error: any Error) -> String {
    guard let error = error as? JSONDecodingError else { return "\(error)" }
    switch error {
    case .unknownField(let name): return "no field is named \"\(name.prefix(64))\""
    case .unrecognizedEnumValue: return "a name is none of those that its field may have"
    case .malformedNumber, .numberRange, .leadingZero: return "a number is not of its field's type or range"
    case .malformedBool: return "where true or false must stand there is something else"
    case .malformedString, .invalidUTF8: return "a text is damaged, or something else stands in its place"
    case .illegalNull: return "null stands where a value must"
    case .conflictingOneOf: return "of fields that exclude each other more than one is given"
    case .messageDepthLimit: return "it is nested too deep"
    case .truncated: return "it ends too early"
    case .trailingGarbage: return "something stands behind its end"
    default: return "it is not well-formed, or a value is not of its field's type"
    }
  }
}
