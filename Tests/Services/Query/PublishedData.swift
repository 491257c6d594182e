import Foundation

/// Data whose figures others published. It is not part of the project: it is looked for beside the checkout.
enum PublishedData {
  static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("shared/data/\(name)").path
  }

  static func isThere(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }

  /// The lines of a gzip file behind its line of names.
  static func rows(_ name: String) throws -> [Substring] {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["gzip", "-dc", path(name)]
    process.standardOutput = output
    try process.run()
    let data = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    let lines = String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline)
    return Array(lines.dropFirst())
  }
}
