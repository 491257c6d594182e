import Foundation
import ServiceKit
import Testing

@Suite("Settings")
struct SettingsTests {
  private static let port = Setting<Int>.integer(
    "port", default: 7001, in: 0...65_535, unit: "ports", help: "A port.")
  private static let mode = Setting<String>.choice(
    "sync-mode", default: "full", of: ["full", "normal"], help: "A mode.")
  private static let folder = Setting<String>.path("data", default: "here", help: "A folder.")
  private static let loud = Setting<Bool>.toggle("loud", help: "A switch.")
  private static let definitions = [
    SettingsReader.file.definition, port.definition, mode.definition, folder.definition,
    loud.definition,
  ]

  private static func read(
    _ arguments: [String], _ environment: [String: String] = [:]
  ) throws(SettingsError) -> Settings {
    try SettingsReader(definitions: definitions)
      .read(arguments: arguments, environment: environment)
  }

  private static func problems(
    _ arguments: [String], _ environment: [String: String] = [:]
  ) -> [String] {
    do throws(SettingsError) {
      _ = try read(arguments, environment)
      return []
    } catch {
      return error.problems
    }
  }

  private static func withFile<T>(_ json: String, _ body: (String) throws -> T) throws -> T {
    let path = NSTemporaryDirectory() + "settings-\(UUID().uuidString).json"
    try json.write(toFile: path, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
  }

  @Test("Defaults hold where nothing is given")
  func defaults() throws {
    let settings = try Self.read([])
    #expect(settings[Self.port] == 7001)
    #expect(settings[Self.mode] == "full")
    #expect(settings[Self.folder] == "here")
    #expect(!settings[Self.loud])
    #expect(settings.sources.isEmpty)
  }

  @Test("A flag goes before a variable, a variable before the file, the file before the default")
  func precedence() throws {
    try Self.withFile(#"{"port": 1, "sync-mode": "normal", "data": "a,b", "loud": true}"#) { path in
      let settings = try Self.read(
        ["--config", path, "--port=3"],
        ["FOOTFALL_PORT": "2", "FOOTFALL_SYNC_MODE": "full", "FOOTFALL_LOUD": ""])
      #expect(settings[Self.port] == 3)
      #expect(settings[Self.mode] == "full")
      #expect(settings[Self.folder] == "a,b")
      #expect(settings[Self.loud])
      #expect(settings.sources["port"] == "--port")
      #expect(settings.sources["sync-mode"] == "FOOTFALL_SYNC_MODE")
      #expect(settings.sources["data"] == "\(path): data")
    }
  }

  @Test("The file may be named by its variable")
  func fileByVariable() throws {
    try Self.withFile(#"{"port": 99}"#) { path in
      let settings = try Self.read([], ["FOOTFALL_CONFIG": path])
      #expect(settings[Self.port] == 99)
    }
  }

  @Test("Values may stand behind a space or an equals sign, and hold commas and dashes")
  func forms() throws {
    let settings = try Self.read(["--data", "/a,b/c-d", "--loud", "--port", "80"])
    #expect(settings[Self.folder] == "/a,b/c-d")
    #expect(settings[Self.loud])
    #expect(settings[Self.port] == 80)
    #expect(try Self.read(["--data=--x=y"])[Self.folder] == "--x=y")
    #expect(try !Self.read(["--loud=false"])[Self.loud])
  }

  @Test(
    "A wrong value names where it stands, itself and the limit",
    arguments: [
      (["--port", "70000"], "--port: 70000 is not within 0-65535 ports"),
      (["--port", "-1"], "--port: -1 is not within 0-65535 ports"),
      (["--port", "ten"], "--port: \"ten\" is not a whole number"),
      (["--port="], "--port: \"\" is not a whole number"),
      (["--port"], "--port: needs a value (0-65535)"),
      (["--sync-mode", "off"], "--sync-mode: \"off\" is none of full, normal"),
      (["--loud=1"], "--loud: \"1\" is neither true nor false"),
      (["--prot", "1"], "--prot: unknown flag; --help lists all"),
      (["extra"], "\"extra\": not a flag; flags begin with --"),
      (["--port", "1", "--port", "2"], "--port: given more than once"),
    ])
  func wrongFlags(arguments: [String], problem: String) {
    #expect(Self.problems(arguments) == [problem])
  }

  @Test("A wrong variable is named, and all problems come at once")
  func wrongVariables() {
    let problems = Self.problems(
      ["--nope", "1"], ["FOOTFALL_PORT": "x", "FOOTFALL_SYNC_MODE": "y", "OTHER_PORT": "z"])
    #expect(
      problems == [
        "--nope: unknown flag; --help lists all", "FOOTFALL_PORT: \"x\" is not a whole number",
        "FOOTFALL_SYNC_MODE: \"y\" is none of full, normal",
      ])
  }

  @Test(
    "A wrong file is refused",
    arguments: [
      (#"{"prot": 1}"#, "prot: unknown setting; --help lists all"),
      (#"{"port": 70000}"#, "port: 70000 is not within 0-65535 ports"),
      (#"{"port": [1]}"#, "not a JSON object"), (#"{"port": null}"#, "not a JSON object"),
      ("[]", "not a JSON object"), ("{", "not a JSON object"), ("", "not a JSON object"),
    ])
  func wrongFile(json: String, problem: String) throws {
    try Self.withFile(json) { path in
      let problems = Self.problems(["--config", path])
      #expect(problems.count == 1)
      #expect(problems.first?.hasPrefix("\(path): ") == true)
      #expect(problems.first?.contains(problem) == true)
    }
  }

  @Test("A file that is missing is refused")
  func missingFile() {
    #expect(Self.problems(["--config", "/nonexistent/x.json"]).count == 1)
  }

  @Test("Help and table name every setting, its variable, limit and default")
  func help() {
    let text = SettingsHelp.text(program: "x", summary: "Does x.", definitions: Self.definitions)
    let table = SettingsHelp.markdown(Self.definitions)
    for definition in Self.definitions {
      #expect(text.contains(definition.flag))
      #expect(text.contains(definition.variable))
      #expect(table.contains("| `\(definition.flag)` | `\(definition.variable)` |"))
    }
    #expect(text.contains("<0-65535 ports>"))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
    #expect(table.contains("full\\|normal"))
  }
}
