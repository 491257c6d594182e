import Messages

/// What differs between two contents of an event, as lines for people.
enum DefinitionDiff {
  /// - Parameter old: nil: there was none.
  static func lines(from old: ProtoEventDefinition?, to new: ProtoEventDefinition) -> [String] {
    guard let old else { return added(new) }
    var lines: [String] = []
    compare("chinese_name", old.chineseName, new.chineseName, &lines)
    compare("description", old.description_p, new.description_p, &lines)
    if old.method != new.method {
      lines.append("method: \(old.method.word) -> \(new.method.word)")
    }
    compareManual(old.manual, new.manual, &lines)
    compareFields(old.fields, new.fields, &lines)
    if old.defaultFields != new.defaultFields {
      lines.append(
        "default_fields: \(shown(old.defaultFields)) -> \(shown(new.defaultFields))")
    }
    return Array(lines.prefix(Limits.Plan.detailsMax))
  }

  private static func added(_ new: ProtoEventDefinition) -> [String] {
    var lines = ["chinese_name: \"\(new.chineseName)\"", "method: \(new.method.word)"]
    if !new.manual.actions.isEmpty { lines.append("manual.actions: \(new.manual.actions.count)") }
    lines += new.fields.map { "fields.\($0.name): added (\($0.type.word))" }
    return Array(lines.prefix(Limits.Plan.detailsMax))
  }

  private static func compare(
    _ field: String, _ old: String, _ new: String, _ lines: inout [String]
  ) {
    if old != new { lines.append("\(field): \"\(old)\" -> \"\(new)\"") }
  }

  private static func compareManual(
    _ old: ProtoManualConfiguration, _ new: ProtoManualConfiguration, _ lines: inout [String]
  ) {
    if old.template != new.template { lines.append("manual.template: changed") }
    if old.reportType != new.reportType { lines.append("manual.report_type: changed") }
    for index in 0..<max(old.actions.count, new.actions.count) {
      let path = "manual.actions[\(index)]"
      if index >= old.actions.count {
        lines.append("\(path): added (\(place(new.actions[index])))")
      } else if index >= new.actions.count {
        lines.append("\(path): removed (\(place(old.actions[index])))")
      } else if old.actions[index] != new.actions[index] {
        let (before, after) = (place(old.actions[index]), place(new.actions[index]))
        lines.append(
          before == after ? "\(path): changed (\(after))" : "\(path): \(before) -> \(after)")
      }
    }
  }

  private static func place(_ action: ProtoEventAction) -> String {
    [action.trigger.word, action.pagePath, action.element].filter { !$0.isEmpty }
      .joined(separator: " ")
  }

  private static func compareFields(
    _ old: [ProtoFieldDefinition], _ new: [ProtoFieldDefinition], _ lines: inout [String]
  ) {
    for field in old where !new.contains(where: { $0.name == field.name }) {
      lines.append("fields.\(field.name): removed")
    }
    for field in new {
      guard let before = old.first(where: { $0.name == field.name }) else {
        lines.append("fields.\(field.name): added (\(field.type.word))")
        continue
      }
      if before.type != field.type {
        lines.append("fields.\(field.name): \(before.type.word) -> \(field.type.word)")
      }
      compare(
        "fields.\(field.name).description", before.description_p, field.description_p, &lines)
    }
    let isReordered = old != new && Set(old) == Set(new)
    if isReordered { lines.append("fields: in another order") }
  }

  private static func shown(_ names: [String]) -> String {
    names.isEmpty ? "all" : names.joined(separator: " ")
  }
}

extension ProtoConfigurationMethod {
  var word: String {
    switch self {
    case .api, .unspecified: "API"
    case .manual: "manual"
    case .UNRECOGNIZED(let number): "\(number)"
    }
  }
}
