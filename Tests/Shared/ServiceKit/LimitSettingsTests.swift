import Foundation
import HTTP2
import RPC
import ServiceKit
import Testing

@Suite("Settings of limits")
struct LimitSettingsTests {
  /// `connectionsMax`, `http2.headerBytesMax` ...: every whole number of a value.
  private static func names(_ value: Any, _ prefix: String = "") -> [String] {
    Mirror(reflecting: value).children.flatMap { child -> [String] in
      let name = prefix + (child.label ?? "")
      return child.value is Int || child.value is Bool ? [name] : names(child.value, name + ".")
    }
  }

  @Test("Every limit of the RPC layer can be set")
  func complete() throws {
    let changes: [ServerLimits] =
      LimitSettings.rows.map { row in
        var limits = ServerLimits()
        limits[keyPath: row.limit] -= 1
        return limits
      }
      + LimitSettings.switches.map { one in
        var limits = ServerLimits()
        limits[keyPath: one.limit].toggle()
        return limits
      }
    let changed = changes.map { limits in
      zip(Self.values(ServerLimits()), Self.values(limits)).enumerated()
        .filter { $0.element.0 != $0.element.1 }.map(\.offset)
    }
    #expect(changed.allSatisfy { $0.count == 1 })
    let missing = Set(Self.names(ServerLimits()).indices).subtracting(changed.flatMap { $0 })
    #expect(missing.isEmpty, "without a setting: \(missing.map { Self.names(ServerLimits())[$0] })")
    #expect(Set(changed.flatMap { $0 }).count == changes.count)
  }

  private static func values(_ value: Any) -> [Int] {
    Mirror(reflecting: value).children.flatMap { child -> [Int] in
      if let value = child.value as? Bool { return [value ? 1 : 0] }
      return (child.value as? Int).map { [$0] } ?? values(child.value)
    }
  }

  @Test("What is set is what the server gets; defaults are those of the code")
  func read() throws {
    let none = try Settings.defaults(LimitSettings.definitions)
    #expect(try Self.values(LimitSettings.limits(none)) == Self.values(ServerLimits()))
    let some = try Settings.defaults(
      LimitSettings.definitions, ["header-bytes-max": "16384", "message-bytes-max": "1048576"])
    #expect(try LimitSettings.limits(some).http2.headerBytesMax == 16_384)
    #expect(try LimitSettings.limits(some).messageBytesMax == 1_048_576)
    #expect(try LimitSettings.limits(some).compressResponsesFromBytes == .max)
  }

  @Test("Limits that contradict each other are refused")
  func contradiction() throws {
    let settings = try Settings.defaults(
      LimitSettings.definitions, ["outbound-frames-max": "100", "connection-unsent-bytes-max": "65536"])
    let error = #expect(throws: SettingsError.self) { try LimitSettings.limits(settings) }
    #expect(error?.problems.count == 2)
  }

  @Test("docs/rpc.md shows each limit with its range and default")
  func documented() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../..")
    let page = try String(contentsOf: root.appendingPathComponent("docs/rpc.md"), encoding: .utf8)
    for row in LimitSettings.rows {
      let setting = row.setting.definition
      let line = "| `\(setting.flag)` | \(setting.allowed) \(setting.unit) | \(setting.defaultText) |"
      #expect(page.contains(line), "docs/rpc.md lacks: \(line) \(setting.help) |")
    }
    for one in LimitSettings.switches {
      #expect(page.contains("| `\(one.setting.definition.flag)` |"))
    }
  }

  @Test("A share is a number within 0-1", arguments: [("0", 0.0), ("0.25", 0.25), ("1", 1.0)])
  func share(text: String, value: Double) throws {
    let setting = Setting<Double>.share("part", default: 0.5, help: "A part.")
    #expect(try Settings.defaults([setting.definition], ["part": text])[setting] == value)
  }

  @Test("Anything else is refused", arguments: ["-0.1", "1.1", "nan", "x", "inf"])
  func noShare(text: String) {
    let setting = Setting<Double>.share("part", default: 0.5, help: "A part.")
    #expect(throws: SettingsError.self) {
      try Settings.defaults([setting.definition], ["part": text])
    }
  }
}
