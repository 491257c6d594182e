import Foundation

/// Tells a file from another one, and from itself after a change.
package struct FileIdentity: Sendable, Equatable {
  /// Absolute path, size and time of the last change.
  package let text: String

  package init(path: String) throws(InputError) {
    let url = URL(fileURLWithPath: path).standardizedFileURL
    do {
      let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
      let size = attributes[.size].map { "\($0)" } ?? ""
      let changed = (attributes[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
      text = "\(url.path)\n\(size)\n\(changed)"
    } catch {
      throw InputError("\(path): cannot be read")
    }
  }
}
