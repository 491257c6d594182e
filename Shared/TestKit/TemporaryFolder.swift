internal import Foundation

/// A folder that lives as long as its owner.
package final class TemporaryFolder: Sendable {
  package let path: String

  package init(_ name: String = "test") throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "footfall-\(name)-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  // A folder that stays behind harms nobody.
  deinit { try? FileManager.default.removeItem(atPath: path) }

  package func file(_ name: String) -> String { path + "/" + name }
}
