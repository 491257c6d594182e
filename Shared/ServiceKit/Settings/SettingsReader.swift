internal import Configuration
internal import Foundation

/// Reads settings: flags before `FOOTFALL_*` variables before the JSON file before defaults. Refuses what it does not know.
package struct SettingsReader: Sendable {
  /// Names the JSON file; every list of settings that may come from a file contains it.
  package static let file = Setting<String>.path(
    "config", help: "JSON file with settings: {\"port\": 7001}. Flags and variables go before it.")
  static let fileBytesMax = 1 << 20

  private let definitions: [String: SettingDefinition]

  package init(definitions: [SettingDefinition]) {
    self.definitions = Dictionary(uniqueKeysWithValues: definitions.map { ($0.name, $0) })
  }

  /// - Parameters:
  ///   - arguments: without the program's name.
  /// - Throws: `SettingsError` with all problems.
  package func read(
    arguments: [String], environment: [String: String]
  ) throws(SettingsError) -> Settings {
    var problems: [String] = []
    let flags = readFlags(arguments, &problems)
    // A variable that is set but empty counts as not set: that is how compose files leave one out.
    let variables = environment.filter { !$0.value.isEmpty }
    var sources = [
      Source(provider: provider(of: flags, "flags")) { $0.flag },
      Source(
        provider: EnvironmentVariablesProvider(environmentVariables: variables)
          .prefixKeys(with: "footfall")
      ) { $0.variable },
    ]
    if let path = value(of: Self.file.definition, in: sources)?.text {
      let values = readFile(path, &problems)
      sources.append(Source(provider: provider(of: values, "file")) { "\(path): \($0.name)" })
    }
    let settings = resolve(sources, &problems)
    guard problems.isEmpty else { throw SettingsError(problems: problems) }
    return settings
  }

  private struct Source {
    let provider: any ConfigProvider
    let name: (SettingDefinition) -> String
  }

  private func resolve(_ sources: [Source], _ problems: inout [String]) -> Settings {
    var texts: [String: String] = [:]
    var origins: [String: String] = [:]
    for definition in definitions.values.sorted(by: { $0.name < $1.name }) {
      guard let found = value(of: definition, in: sources) else {
        texts[definition.name] = definition.defaultText
        continue
      }
      do {
        try definition.check(found.text)
        texts[definition.name] = found.text
        origins[definition.name] = found.source
      } catch {
        problems.append("\(found.source): \(error)")
      }
    }
    return Settings(texts: texts, sources: origins)
  }

  private func value(
    of definition: SettingDefinition, in sources: [Source]
  ) -> (text: String, source: String)? {
    for source in sources {
      let key = AbsoluteConfigKey([definition.name])
      // All values are kept as text, so that a lookup as text cannot fail.
      let result = try? source.provider.value(forKey: key, type: .string)
      if case .string(let text)? = result?.value?.content {
        return (text, source.name(definition))
      }
    }
    return nil
  }

  private func provider(of values: [String: String], _ name: String) -> InMemoryProvider {
    InMemoryProvider(
      name: name,
      values: Dictionary(
        uniqueKeysWithValues: values.map {
          (AbsoluteConfigKey([$0.key]), ConfigValue(.string($0.value), isSecret: false))
        }))
  }

  // The library's own reader of flags ignores unknown ones and cuts values at commas.
  private func readFlags(_ arguments: [String], _ problems: inout [String]) -> [String: String] {
    var values: [String: String] = [:]
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      guard argument.hasPrefix("--") else {
        problems.append("\"\(argument)\": not a flag; flags begin with --")
        continue
      }
      let parts = argument.dropFirst(2).split(
        separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard let definition = definitions[name] else {
        problems.append("--\(name): unknown flag; --help lists all")
        if parts.count == 1, let next = rest.first, !next.hasPrefix("--") { rest.removeFirst() }
        continue
      }
      let text: String
      if parts.count == 2 {
        text = String(parts[1])
      } else if definition.isSwitch {
        text = "true"
      } else if let next = rest.first, !next.hasPrefix("--") {
        text = next
        rest.removeFirst()
      } else {
        problems.append("--\(name): needs a value (\(definition.allowed))")
        continue
      }
      if values.updateValue(text, forKey: name) != nil {
        problems.append("--\(name): given more than once")
      }
    }
    return values
  }

  private func readFile(_ path: String, _ problems: inout [String]) -> [String: String] {
    var values: [String: String] = [:]
    do {
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? handle.close() }  // Reading is over: nothing can be lost by a failed close.
      let data = try handle.read(upToCount: Self.fileBytesMax + 1) ?? Data()
      guard data.count <= Self.fileBytesMax else {
        problems.append("\(path): larger than \(Self.fileBytesMax) bytes")
        return [:]
      }
      let object = try JSONDecoder().decode([String: FileValue].self, from: data)
      for (name, value) in object.sorted(by: { $0.key < $1.key }) {
        if definitions[name] == nil {
          problems.append("\(path): \(name): unknown setting; --help lists all")
        } else {
          values[name] = value.text
        }
      }
    } catch is DecodingError {
      problems.append("\(path): not a JSON object whose values are texts, numbers, true or false")
    } catch {
      problems.append("\(path): \(error.localizedDescription)")
    }
    return values
  }
}

/// A value in the JSON file, as the text that a flag would have.
private struct FileValue: Decodable {
  let text: String

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let value = try? container.decode(Bool.self) {
      text = value ? "true" : "false"
    } else if let value = try? container.decode(Int.self) {
      text = "\(value)"
    } else if let value = try? container.decode(Double.self) {
      text = "\(value)"
    } else {
      text = try container.decode(String.self)
    }
  }
}
