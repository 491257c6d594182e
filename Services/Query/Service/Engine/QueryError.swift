/// Why a question was not answered.
package struct QueryError: Error, CustomStringConvertible, Sendable {
  package enum Kind: Sendable, Equatable {
    /// The question breaks a rule: the message names the field, the limit and the value.
    case invalidArgument
    case notFound
    /// More memory or more waiting queries than allowed.
    case resourceExhausted
    case deadlineExceeded
    case cancelled
  }

  package let kind: Kind
  package let description: String

  package init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  static func invalid(_ field: String, _ rule: String) -> QueryError {
    QueryError(.invalidArgument, "\(field): \(rule)")
  }
}
