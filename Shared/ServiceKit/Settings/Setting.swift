/// One value that a person can set: by flag, variable or file. Everything that is said about it, in `--help` and the documents,
/// comes from here.
package struct Setting<Value: Sendable>: Sendable {
  package private(set) var definition: SettingDefinition
  let parse: @Sendable (String) throws(SettingProblem) -> Value

  init(
    _ definition: SettingDefinition,
    parse: @escaping @Sendable (String) throws(SettingProblem) -> Value
  ) {
    var definition = definition
    definition.check = { text throws(SettingProblem) in _ = try parse(text) }
    self.definition = definition
    self.parse = parse
  }

  /// The same under a heading of the help.
  package func grouped(_ heading: String) -> Setting {
    var copy = self
    copy.definition.group = heading
    return copy
  }
}

/// A setting without its type: what lists, help and checks need.
package struct SettingDefinition: Sendable {
  /// `ingest-host`: the flag `--ingest-host`, the variable `FOOTFALL_INGEST_HOST`, the file's key `ingest-host`.
  package let name: String
  /// What may be given: `0-65535`, `full|normal`, `path`.
  package let allowed: String
  /// `ms`, `bytes`; empty where there is none.
  package let unit: String
  package let defaultText: String
  package let help: String
  /// A flag without a value means true.
  let isSwitch: Bool
  /// The heading of the help under which it stands; empty: among the first, without one.
  package internal(set) var group = ""
  var check: @Sendable (String) throws(SettingProblem) -> Void = { _ throws(SettingProblem) in }

  init(
    name: String, allowed: String, unit: String = "", defaultText: String, help: String,
    isSwitch: Bool = false
  ) {
    precondition(
      name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 },
      "setting \(name): a-z, 0-9 and - only")
    self.name = name
    self.allowed = allowed
    self.unit = unit
    self.defaultText = defaultText
    self.help = help
    self.isSwitch = isSwitch
  }

  package var flag: String { "--\(name)" }

  package var variable: String {
    "FOOTFALL_" + name.uppercased().replacing("-", with: "_")
  }
}

/// Why a text is no value of a setting: names the limit and the text.
package struct SettingProblem: Error, CustomStringConvertible {
  package let description: String
}

extension Setting where Value == Int {
  /// A whole number. `unit` belongs into the name too: `drain-seconds`.
  package static func integer(
    _ name: String, default value: Int, in range: ClosedRange<Int>, unit: String = "",
    help: String
  ) -> Setting {
    precondition(range.contains(value), "setting \(name): default \(value) is out of range")
    let definition = SettingDefinition(
      name: name, allowed: "\(range.lowerBound)-\(range.upperBound)", unit: unit,
      defaultText: "\(value)", help: help)
    return Setting(definition) { text throws(SettingProblem) in
      guard let number = Int(text) else {
        throw SettingProblem(description: "\"\(text)\" is not a whole number")
      }
      guard range.contains(number) else {
        let unit = unit.isEmpty ? "" : " \(unit)"
        throw SettingProblem(
          description: "\(number) is not within \(range.lowerBound)-\(range.upperBound)\(unit)")
      }
      return number
    }
  }
}

extension Setting where Value == Double {
  /// A part of a whole: 0...1.
  package static func share(_ name: String, default value: Double, help: String) -> Setting {
    precondition((0...1).contains(value), "setting \(name): default \(value) is no share")
    let definition = SettingDefinition(
      name: name, allowed: "0.0-1.0", defaultText: "\(value)", help: help)
    return Setting(definition) { text throws(SettingProblem) in
      guard let number = Double(text), (0...1).contains(number) else {
        throw SettingProblem(description: "\"\(text)\" is no number within 0.0-1.0")
      }
      return number
    }
  }
}

extension Setting where Value == String {
  /// Any text of at most `bytesMax` bytes. An empty default means that there is none.
  package static func text(
    _ name: String, default value: String = "", bytesMax: Int = 256, allowed: String = "text",
    help: String
  ) -> Setting {
    let definition = SettingDefinition(
      name: name, allowed: allowed, defaultText: value, help: help)
    return Setting(definition) { text throws(SettingProblem) in
      guard text.utf8.count <= bytesMax else {
        throw SettingProblem(
          description: "\(text.utf8.count) bytes are more than the \(bytesMax) allowed")
      }
      return text
    }
  }

  /// A file or folder. An empty default means that there is none.
  package static func path(_ name: String, default value: String = "", help: String) -> Setting {
    .text(name, default: value, bytesMax: 4_096, allowed: "path", help: help)
  }

  /// One of a few words.
  package static func choice(
    _ name: String, default value: String, of choices: [String], help: String
  ) -> Setting {
    precondition(choices.contains(value), "setting \(name): default \(value) is no choice")
    let definition = SettingDefinition(
      name: name, allowed: choices.joined(separator: "|"), defaultText: value, help: help)
    return Setting(definition) { text throws(SettingProblem) in
      guard choices.contains(text) else {
        throw SettingProblem(
          description: "\"\(text)\" is none of \(choices.joined(separator: ", "))")
      }
      return text
    }
  }
}

extension Setting where Value == Bool {
  /// True where the flag stands; the variable and the file say `true` or `false`.
  package static func toggle(_ name: String, help: String) -> Setting {
    let definition = SettingDefinition(
      name: name, allowed: "true|false", defaultText: "false", help: help, isSwitch: true)
    return Setting(definition) { text throws(SettingProblem) in
      switch text {
      case "true": return true
      case "false": return false
      default: throw SettingProblem(description: "\"\(text)\" is neither true nor false")
      }
    }
  }
}
