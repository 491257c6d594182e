#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The id of a mini program: `^[a-z0-9][a-z0-9_-]{0,63}$` (ingest.proto, `App.app_id`).
package struct AppID: Hashable, Sendable, CustomStringConvertible {
  package let text: String

  package init?(_ text: String) {
    var copy = text
    guard copy.withUTF8({ Self.isValid(UnsafeRawBufferPointer($0)) }) else { return nil }
    self.text = text
  }

  package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let first = bytes.first, bytes.count <= EventLimits.appIDBytesMax else { return false }
    guard ASCII.isLowerOrDigit(first) else { return false }
    return bytes.dropFirst().allSatisfy { ASCII.isLowerOrDigit($0) || $0 == 0x5f || $0 == 0x2d }
  }

  package var description: String { text }
}

/// A user within one app: 1-128 bytes of UTF-8 (SEMANTICS 1). Never compared across apps.
package struct OpenID: Hashable, Sendable, CustomStringConvertible {
  package let text: String

  package init?(_ text: String) {
    guard !text.isEmpty, text.utf8.count <= EventLimits.openIDBytesMax else { return nil }
    self.text = text
  }

  package var description: String { text }
}

/// The path of a page without its query: at most 512 bytes (SEMANTICS 1).
package struct PagePath: Hashable, Sendable, CustomStringConvertible {
  package let text: String

  package init?(_ text: String) {
    guard !text.isEmpty, text.utf8.count <= EventLimits.pagePathBytesMax else { return nil }
    guard !text.utf8.contains(0x3f) else { return nil }
    self.text = text
  }

  package var description: String { text }
}

/// The name of an event: one of `BuiltInEvent`, or a custom one, `^[a-z][a-z0-9_]{0,31}$` (SEMANTICS 1).
package struct EventName: Hashable, Sendable, CustomStringConvertible {
  package let text: String

  package init?(_ text: String) {
    var copy = text
    guard copy.withUTF8({ Self.isValid(UnsafeRawBufferPointer($0)) }) else { return nil }
    self.text = text
  }

  package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count > 0, bytes[0] == ASCII.dollar else { return isCustomName(bytes) }
    return BuiltInEvent(bytes) != nil
  }

  /// The rule of custom events' and of fields' names.
  package static func isCustomName(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress, bytes.count > 0, bytes.count <= EventLimits.nameBytesMax,
      ASCII.isLower(start.load(as: UInt8.self))
    else { return false }
    var allowed = true
    for index in 1..<max(bytes.count, 1) {
      let byte = start.load(fromByteOffset: index, as: UInt8.self)
      allowed = allowed && (ASCII.isLowerOrDigit(byte) || byte == 0x5f)
    }
    return allowed
  }

  package var builtIn: BuiltInEvent? {
    var copy = text
    return copy.withUTF8 { BuiltInEvent(UnsafeRawBufferPointer($0)) }
  }

  package var description: String { text }
}

/// The events whose meaning is fixed (SEMANTICS 1). The raw values are stored by others: never change one.
package enum BuiltInEvent: UInt8, CaseIterable, Sendable {
  case launch = 1
  case foreground = 2
  case background = 3
  case pageView = 4
  case pageLeave = 5
  case share = 6
  case click = 7
  case pullDownRefresh = 8
  case switchTab = 9
  case error = 10
  case performance = 11

  /// nil: a custom event, or a name that breaks the rule. Cost: a few ns.
  package init?(_ name: UnsafeRawBufferPointer) {
    guard name.count >= 6, name[0] == ASCII.dollar else { return nil }
    let candidate: BuiltInEvent
    // Length and first letter together are unique.
    switch (name.count, name[1]) {
    case (7, 0x6c): candidate = .launch
    case (11, 0x66): candidate = .foreground
    case (11, 0x62): candidate = .background
    case (10, 0x70): candidate = .pageView
    case (11, 0x70): candidate = .pageLeave
    case (6, 0x73): candidate = .share
    case (6, 0x63): candidate = .click
    case (18, 0x70): candidate = .pullDownRefresh
    case (11, 0x73): candidate = .switchTab
    case (6, 0x65): candidate = .error
    case (12, 0x70): candidate = .performance
    default: return nil
    }
    guard candidate.hasName(name) else { return nil }
    self = candidate
  }

  private func hasName(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let name = staticName
    guard name.utf8CodeUnitCount == bytes.count else { return false }
    return ASCII.equal(UnsafeRawBufferPointer(start: name.utf8Start, count: bytes.count), bytes)
  }

  private var staticName: StaticString {
    switch self {
    case .launch: "$launch"
    case .foreground: "$foreground"
    case .background: "$background"
    case .pageView: "$page_view"
    case .pageLeave: "$page_leave"
    case .share: "$share"
    case .click: "$click"
    case .pullDownRefresh: "$pull_down_refresh"
    case .switchTab: "$switch_tab"
    case .error: "$error"
    case .performance: "$performance"
    }
  }

  package var name: String { staticName.description }
}

/// The few questions about bytes that the rules ask.
enum ASCII {
  static let dollar: UInt8 = 0x24
  static let question: UInt8 = 0x3f

  @inline(__always)
  static func isLower(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 }

  @inline(__always)
  static func isLowerOrDigit(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 || byte &- 0x30 < 10 }

  /// Whether two runs hold the same bytes.
  static func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    guard let left = a.baseAddress, let right = b.baseAddress else { return true }
    return memcmp(left, right, a.count) == 0
  }

  static func contains(_ bytes: UnsafeRawBufferPointer, _ byte: UInt8) -> Bool {
    guard let start = bytes.baseAddress else { return false }
    return memchr(start, Int32(byte), bytes.count) != nil
  }
}
