internal import Foundation
internal import Synchronization

/// Ends the process at a named moment, as SIGKILL from outside would, where a test started it with `CRASH_AT=NAME:COUNT`: when it
/// comes there for the COUNT-th time. Without the variable a point costs a comparison.
package enum CrashPoint {
  private struct Target: Sendable {
    let name: String
    var left: Int
  }

  private static let target = Mutex<Target?>(readTarget())
  private static let isSet = target.withLock { $0 != nil }

  private static func readTarget() -> Target? {
    guard let value = ProcessInfo.processInfo.environment["CRASH_AT"] else { return nil }
    let parts = value.split(separator: ":")
    guard parts.count == 2, let count = Int(parts[1]), count > 0 else {
      preconditionFailure("CRASH_AT is NAME:COUNT")
    }
    return Target(name: String(parts[0]), left: count)
  }

  /// - Parameter name: `part.moment`, unique within a service.
  @inline(__always)
  package static func reached(_ name: StaticString) {
    if isSet { count(name) }
  }

  private static func count(_ name: StaticString) {
    let isDue = target.withLock { target in
      guard target?.name == name.description else { return false }
      target?.left -= 1
      return target?.left == 0
    }
    if isDue { kill(getpid(), SIGKILL) }
  }
}
