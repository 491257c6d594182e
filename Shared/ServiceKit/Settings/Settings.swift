/// The values of a service's settings, all checked. Made by `SettingsReader`.
package struct Settings: Sendable {
  private let texts: [String: String]
  /// Where each value comes from that is not the default: `--port`, `FOOTFALL_PORT`, `footfall.json: port`.
  package let sources: [String: String]

  init(texts: [String: String], sources: [String: String]) {
    self.texts = texts
    self.sources = sources
  }

  /// The value of a setting of the list that was read. Another one is a mistake of ours.
  package subscript<Value>(_ setting: Setting<Value>) -> Value {
    guard let text = texts[setting.definition.name] else {
      preconditionFailure("setting \(setting.definition.name) is not in the service's list")
    }
    do {
      return try setting.parse(text)
    } catch {
      preconditionFailure("setting \(setting.definition.name) was not checked: \(error)")
    }
  }

  /// Values for a test: defaults but for those given by name.
  ///
  /// - Throws: `SettingsError` where a name is unknown or a value is not allowed.
  package static func defaults(
    _ definitions: [SettingDefinition], _ values: [String: String] = [:]
  ) throws(SettingsError) -> Settings {
    let arguments = values.flatMap { ["--\($0.key)=\($0.value)"] }
    return try SettingsReader(definitions: definitions)
      .read(arguments: arguments, environment: [:])
  }
}

/// What is wrong with flags, variables and file: every problem, one line each.
package struct SettingsError: Error, CustomStringConvertible, Equatable {
  package let problems: [String]

  package var description: String { problems.joined(separator: "\n") }
}
