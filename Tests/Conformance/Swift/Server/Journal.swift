import Foundation
import Synchronization

/// The names of the calls whose handlers have begun: of those, none may fail while the server ends.
final class Journal: Sendable {
  private static let namesMax = 1_000_000
  private let names = Mutex<[String]>([])

  func began(_ name: String) {
    names.withLock { if $0.count < Self.namesMax { $0.append(name) } }
  }

  /// One name a line.
  func write(to path: String) throws {
    let text = names.withLock { $0.joined(separator: "\n") }
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }
}
