import Events
import Messages
import SwiftProtobuf

/// What a definition is checked against beside the rules.
struct DefinitionSurroundings: Sendable {
  /// The app's page list.
  var pages: Set<String> = []
  /// Types that the app has decided for fields of the definition, by name.
  var decidedTypes: [String: ProtoFieldType] = [:]
  /// The event's Chinese name as it was saved first; nil: the event is new.
  var savedChineseName: String?
  /// Another event of the app that has the Chinese name.
  var chineseNameOwner: String?
}

/// Checks a definition as a whole: everything that is wrong with it, in its order.
struct DefinitionCheck {
  let definition: ProtoEventDefinition
  let surroundings: DefinitionSurroundings
  private var violations: [ProtoPlanViolation] = []

  /// - Parameter definition: normalized.
  static func violations(
    of definition: ProtoEventDefinition, in surroundings: DefinitionSurroundings
  ) -> [ProtoPlanViolation] {
    var check = DefinitionCheck(definition, surroundings)
    check.checkSize()
    check.checkNames()
    check.checkMethod()
    check.checkFields()
    check.checkDefaultFields()
    return Array(check.violations.prefix(Limits.Plan.violationsMax))
  }

  /// Those that keep a definition from being saved even as a draft: its names, for they never change, and too much of
  /// anything.
  static func forbidsSaving(_ violation: ProtoPlanViolation) -> Bool {
    if violation.field == "name" || violation.field == "chinese_name" { return true }
    return [PlanReason.tooLong, .tooMany].contains { $0.rawValue == violation.reason }
  }

  private init(_ definition: ProtoEventDefinition, _ surroundings: DefinitionSurroundings) {
    self.definition = definition
    self.surroundings = surroundings
  }

  mutating func add(_ field: String, _ reason: PlanReason, _ rule: String) {
    violations.append(ProtoPlanViolation(field, reason, rule))
  }

  mutating func checkLength(_ field: String, _ text: String, max: Int) {
    let count = text.utf8.count
    if count > max { add(field, .tooLong, "at most \(max) bytes; got \(count) bytes") }
  }

  mutating func checkCount(_ field: String, _ count: Int, max: Int) {
    if count > max { add(field, .tooMany, "at most \(max); got \(count)") }
  }

  private mutating func checkSize() {
    // Encoding fails only where a required field is missing, and proto3 has none.
    let count = (try? definition.serializedData().count) ?? 0
    guard count > Limits.Plan.definitionBytesMax else { return }
    add(
      "definition", .tooLong,
      "at most \(Limits.Plan.definitionBytesMax) bytes when encoded; got \(count) bytes")
  }

  // MARK: Names

  private mutating func checkNames() {
    checkName("name", definition.name)
    checkChineseName()
    checkLength("description", definition.description_p, max: Limits.Plan.descriptionBytesMax)
  }

  private mutating func checkName(_ field: String, _ name: String) {
    if name.isEmpty { return add(field, .required, "required") }
    let max = EventLimits.nameBytesMax
    guard name.utf8.count <= max else {
      return add(field, .tooLong, "at most \(max) characters; got \(name.unicodeScalars.count)")
    }
    guard Self.isCustomName(name) else {
      return add(
        field, .badName, "must match ^[a-z][a-z0-9_]{0,31}$; got \(Self.quoted(name))")
    }
  }

  static func isCustomName(_ name: String) -> Bool {
    var copy = name
    return copy.withUTF8 { EventName.isCustomName(UnsafeRawBufferPointer($0)) }
  }

  private mutating func checkChineseName() {
    let name = definition.chineseName
    let field = "chinese_name"
    if name.isEmpty {
      return add(field, .required, "required, 1-\(Limits.Plan.chineseNameMax) characters")
    }
    let count = name.unicodeScalars.count
    guard count <= Limits.Plan.chineseNameMax else {
      return add(field, .tooLong, "at most \(Limits.Plan.chineseNameMax) characters; got \(count)")
    }
    guard !name.unicodeScalars.contains(where: Self.isControl) else {
      return add(field, .badName, "no control characters; got \(Self.quoted(name))")
    }
    guard name.first?.isWhitespace == false, name.last?.isWhitespace == false else {
      return add(field, .badName, "no space at either end; got \(Self.quoted(name))")
    }
    if let saved = surroundings.savedChineseName, saved != name {
      return add(
        field, .immutable,
        "never changes once saved; it is \(Self.quoted(saved)), got \(Self.quoted(name))")
    }
    if let owner = surroundings.chineseNameOwner {
      add(field, .taken, "\(Self.quoted(name)) is taken by the event \"\(owner)\"")
    }
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }

  /// At most 64 characters of what came, without what would spoil a terminal.
  static func quoted(_ text: String) -> String {
    let shown = text.unicodeScalars.prefix(64).map { isControl($0) ? "\u{fffd}" : String($0) }
    return "\"\(shown.joined())\(text.unicodeScalars.count > 64 ? "..." : "")\""
  }

  // MARK: Fields

  private mutating func checkFields() {
    checkCount("fields", definition.fields.count, max: Limits.Plan.fieldsMax)
    var names: Set<String> = []
    for (index, field) in definition.fields.prefix(Limits.Plan.fieldsMax).enumerated() {
      let path = "fields[\(index)]"
      checkName("\(path).name", field.name)
      if !field.name.isEmpty, !names.insert(field.name).inserted {
        add("\(path).name", .duplicate, "\(Self.quoted(field.name)) is there twice")
      }
      if let known = ContextField(name: field.name) {
        let kind =
          DefaultFields.names.contains(field.name) ? "a default field" : "a field of the context"
        add("\(path).name", .reserved, "\(known.name) is \(kind)")
      }
      checkType(field, "\(path).type")
      checkLength(
        "\(path).description", field.description_p, max: Limits.Plan.fieldDescriptionBytesMax)
    }
  }

  private mutating func checkType(_ field: ProtoFieldDefinition, _ path: String) {
    guard field.type.kind != nil else {
      let isMissing = field.type == .unspecified
      return add(
        path, isMissing ? .required : .outOfRange,
        "STRING, INTEGER, DOUBLE or BOOLEAN; got \(field.type.word)")
    }
    if let decided = surroundings.decidedTypes[field.name], decided != field.type {
      add(
        path, .wrongType,
        "\(field.name) is \(decided.word) in this app, for ever; got \(field.type.word)")
    }
  }

  private mutating func checkDefaultFields() {
    var names: Set<String> = []
    checkCount("default_fields", definition.defaultFields.count, max: DefaultFields.all.count)
    for (index, name) in definition.defaultFields.prefix(DefaultFields.all.count).enumerated() {
      if !DefaultFields.names.contains(name) {
        add(
          "default_fields[\(index)]", .unknownField,
          "\(Self.quoted(name)) is none of the \(DefaultFields.all.count) default fields")
      } else if !names.insert(name).inserted {
        add("default_fields[\(index)]", .duplicate, "\(Self.quoted(name)) is there twice")
      }
    }
  }
}
