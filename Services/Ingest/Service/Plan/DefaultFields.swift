import Events
import Messages

/// The 16 fields that every event has (SEMANTICS 1), in its order.
enum DefaultFields {
  static let all: [ContextField] = [
    .openID, .country, .province, .city, .gender, .device, .networkType, .deviceWidth,
    .deviceHeight,
    .osName, .osVersion, .language, .manufacturer, .deviceModel, .deviceBrand, .pagePath,
  ]

  static let names = Set(all.map(\.name))

  static let rows: [ProtoFieldRow] = all.map { field in
    var row = ProtoFieldRow()
    row.name = field.name
    row.type = field.kind == .integer ? .integer : .string
    row.source = .default
    row.description_p = description(field)
    row.typeDecided = true
    return row
  }

  private static func description(_ field: ContextField) -> String {
    switch field {
    case .openID: "the user within the app"
    case .device: "device class"
    case .deviceWidth, .deviceHeight: "of the screen, pixels"
    case .pagePath: "the page without its query"
    default: ""
    }
  }
}

/// An event's table of fields: what CheckFields answers.
enum FieldTable {
  /// - Parameter decided: types that the app's fields have already.
  static func rows(
    of definition: ProtoEventDefinition, decided: [String: ProtoFieldType]
  ) -> [ProtoFieldRow] {
    let chosen = Set(definition.defaultFields)
    let defaults = DefaultFields.rows.filter { chosen.isEmpty || chosen.contains($0.name) }
    return defaults
      + definition.fields.map { field in
        var row = ProtoFieldRow()
        row.name = field.name
        row.type = field.type
        row.source = .custom
        row.description_p = field.description_p
        row.typeDecided = decided[field.name] != nil
        return row
      }
  }
}

extension ProtoFieldType {
  init(_ kind: BatchField.Kind) {
    switch kind {
    case .missing: self = .unspecified
    case .text: self = .string
    case .integer: self = .integer
    case .double: self = .double
    case .boolean: self = .boolean
    }
  }

  /// nil: no type of a field.
  var kind: BatchField.Kind? {
    switch self {
    case .string: .text
    case .integer: .integer
    case .double: .double
    case .boolean: .boolean
    case .unspecified, .UNRECOGNIZED: nil
    }
  }

  var word: String {
    switch self {
    case .string: "string"
    case .integer: "integer"
    case .double: "double"
    case .boolean: "boolean"
    case .unspecified: "unspecified"
    case .UNRECOGNIZED(let number): "\(number)"
    }
  }
}
