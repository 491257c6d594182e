/// What `--help` and the documents say about a list of settings.
package enum SettingsHelp {
  /// Text of at most 100 columns for a terminal.
  package static func text(
    program: String, summary: String, definitions: [SettingDefinition]
  ) -> String {
    var lines = [
      summary, "", "Usage: \(program) [--flag value ...]", "",
      "A flag goes before its variable, the variable before the file of --config.", "",
    ]
    for definition in definitions {
      let value = definition.isSwitch ? "" : " <\(definition.allowed)\(unit(definition))>"
      lines.append("  \(definition.flag)\(value)")
      lines += wrap(definition.help, width: 92).map { "        \($0)" }
      let standard = definition.defaultText.isEmpty ? "none" : definition.defaultText
      lines.append("        default: \(standard); variable: \(definition.variable)")
    }
    lines += [
      "  --help", "        Prints this.", "  --help-markdown", "        Prints this as a table.",
    ]
    return lines.joined(separator: "\n")
  }

  /// A table for docs/.
  package static func markdown(_ definitions: [SettingDefinition]) -> String {
    var lines = ["| flag | variable | allowed | default | meaning |", "|---|---|---|---|---|"]
    for definition in definitions {
      let allowed = (definition.allowed + unit(definition)).replacing("|", with: "\\|")
      let standard = definition.defaultText.isEmpty ? "none" : "`\(definition.defaultText)`"
      lines.append(
        "| `\(definition.flag)` | `\(definition.variable)` | \(allowed) | \(standard) | "
          + "\(definition.help.replacing("|", with: "\\|")) |")
    }
    return lines.joined(separator: "\n")
  }

  private static func unit(_ definition: SettingDefinition) -> String {
    definition.unit.isEmpty ? "" : " \(definition.unit)"
  }

  private static func wrap(_ text: String, width: Int) -> [String] {
    var lines = [""]
    for word in text.split(separator: " ") {
      let last = lines[lines.count - 1]
      if last.isEmpty {
        lines[lines.count - 1] = String(word)
      } else if last.count + 1 + word.count <= width {
        lines[lines.count - 1] = "\(last) \(word)"
      } else {
        lines.append(String(word))
      }
    }
    return lines
  }
}
