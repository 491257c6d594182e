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
    var heading = ""
    for definition in grouped(definitions) {
      if definition.group != heading {
        heading = definition.group
        lines += ["", "\(heading):", ""]
      }
      let value = definition.isSwitch ? "" : " <\(definition.allowed)\(unit(definition))>"
      lines.append("  \(definition.flag)\(value)")
      lines += wrap(definition.help, width: 92).map { "        \($0)" }
      let standard = definition.defaultText.isEmpty ? "none" : definition.defaultText
      lines.append("        default: \(standard); variable: \(definition.variable)")
    }
    lines += [
      "", "  --help", "        Prints this.", "  --help-markdown", "        Prints this as a table.",
    ]
    return lines.joined(separator: "\n")
  }

  /// A table for docs/.
  package static func markdown(_ definitions: [SettingDefinition]) -> String {
    let head = ["| flag | variable | allowed | default | meaning |", "|---|---|---|---|---|"]
    var lines = head
    var heading = ""
    for definition in grouped(definitions) {
      if definition.group != heading {
        heading = definition.group
        lines += ["", "### \(heading)", ""] + head
      }
      let allowed = (definition.allowed + unit(definition)).replacing("|", with: "\\|")
      let standard = definition.defaultText.isEmpty ? "none" : "`\(definition.defaultText)`"
      lines.append(
        "| `\(definition.flag)` | `\(definition.variable)` | \(allowed) | \(standard) | "
          + "\(definition.help.replacing("|", with: "\\|")) |")
    }
    return lines.joined(separator: "\n")
  }

  /// Those without a heading first, then heading by heading, in the order in which they come.
  private static func grouped(_ definitions: [SettingDefinition]) -> [SettingDefinition] {
    var headings = [""]
    for definition in definitions where !headings.contains(definition.group) {
      headings.append(definition.group)
    }
    return headings.flatMap { heading in definitions.filter { $0.group == heading } }
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
