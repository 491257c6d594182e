/// An event's meaning for opens, as it is stored: never change a raw value.
package enum OpenMark: UInt8, Sendable {
  case none = 0
  case launch = 1
  case foreground = 2
  case background = 3

  /// - Parameter event: nil: a custom event.
  package init(_ event: BuiltInEvent?) {
    switch event {
    case .launch: self = .launch
    case .foreground: self = .foreground
    case .background: self = .background
    default: self = .none
    }
  }

  @inline(__always)
  var kind: OpenCutter.Kind {
    switch self {
    case .none: .other
    case .launch: .launch
    case .foreground: .foreground
    case .background: .background
    }
  }
}
