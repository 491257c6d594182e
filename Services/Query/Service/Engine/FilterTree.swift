/// One value of a field, as questions and answers hold it.
package enum FieldValue: Hashable, Sendable {
  case text(String)
  case integer(Int64)
  case double(Double)
  case boolean(Bool)

  /// As error messages call its type.
  var typeName: String {
    switch self {
    case .text: "string"
    case .integer: "integer"
    case .double: "double"
    case .boolean: "boolean"
    }
  }
}

/// What a condition asks of a value (SEMANTICS 5).
package enum FilterOperator: String, Sendable, CaseIterable {
  case eq, ne, `in`, notIn = "not_in", lt, le, gt, ge, between, contains
  case notContains = "not_contains", prefix, regex, exists, notExists = "not_exists"

  /// How many values it takes.
  var valueCounts: ClosedRange<Int> {
    switch self {
    case .exists, .notExists: 0...0
    case .between: 2...2
    case .in, .notIn: 1...Limits.inValuesMax
    default: 1...1
    }
  }

  /// Whether it holds where the field is missing.
  var holdsWhereMissing: Bool {
    switch self {
    case .ne, .notIn, .notContains, .notExists: true
    default: false
    }
  }

  /// Whether it fits a field of a type.
  func fits(_ type: FieldType) -> Bool {
    switch self {
    case .exists, .notExists, .eq, .ne, .in, .notIn: true
    case .lt, .le, .gt, .ge, .between: type == .number
    case .contains, .notContains, .prefix, .regex: type == .text
    }
  }
}

/// A field's type as far as operators care.
enum FieldType: String, Sendable {
  case text = "string"
  case number = "number"
  case boolean = "boolean"

  func accepts(_ value: FieldValue) -> Bool {
    switch (self, value) {
    case (.text, .text), (.number, .integer), (.number, .double), (.boolean, .boolean): true
    default: false
    }
  }
}

package struct FilterCondition: Sendable, Hashable {
  package var field: String
  package var filterOperator: FilterOperator
  package var values: [FieldValue]

  package init(_ field: String, _ filterOperator: FilterOperator, _ values: [FieldValue] = []) {
    self.field = field
    self.filterOperator = filterOperator
    self.values = values
  }
}

/// A tree of conditions as it was asked.
package indirect enum FilterTree: Sendable, Hashable {
  case and([FilterTree])
  case or([FilterTree])
  case not(FilterTree)
  case condition(FilterCondition)
}
